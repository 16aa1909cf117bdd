"""All failures of the mesh: each is one class here, one code on the wire, and the same class on the other side.

GemsError
├── ConfigError               a setting is unknown or impossible
├── UsageError                options or arguments do not fit together
├── MeshUnavailableError      no router answers at an address
├── MeshRefusedError          a router does not admit a process
├── ResumableError            a run ended early, and the same command continues it
├── AddressInUseError         another process listens at an address
├── SupervisorError           the supervisor gave up
└── RequestError              a request was not answered with a reply
    ├── DeadlineError         its deadline passed
    ├── OverloadedError       too many requests wait for the role; has a time to retry after
    ├── PoisonedError         it crashed every actor that it was given to
    ├── CancelledRequestError it, its run or its trajectory was cancelled
    ├── WithdrawnError        a router told its actor to stop; routers keep this to themselves
    ├── RefusedError          it is unreadable or impossible
    │   └── UnsupportedError  no model of the mesh can do what it asks for
    ├── ForbiddenError        the client's key does not allow it
    ├── UnansweredError       the actor does not answer this type of request
    ├── BackendError          a model server or library failed
    ├── ModelOutputError      a model's output could not be used
    ├── BlobError             a picture could not be stored, found or verified
    ├── LogError              memory could not write or read a record
    └── InternalError         internal error
"""

from __future__ import annotations

from typing import ClassVar

from protocol.messages import Failure

_BY_CODE: dict[str, type[RequestError]] = {}


class GemsError(Exception):
    """Base of all failures that a user may see; its text is one clear line."""


class ConfigError(GemsError):
    """A setting is unknown or impossible; the text names source, key, expected and actual value."""


class UsageError(GemsError):
    """An option or argument is impossible, or does not go with another; the command line exits with code 2."""


class MeshUnavailableError(GemsError):
    """No router answers at the address."""


class MeshRefusedError(GemsError):
    """A router does not admit this process, for instance because of its version; retrying does not help."""


class ResumableError(GemsError):
    """A run ended before its time, and the same command continues it once the cause is gone."""


class AddressInUseError(GemsError):
    """Another process already listens at the address."""


class SupervisorError(GemsError):
    """The supervisor gave up; the text says which role ended, how often and how."""


class RequestError(GemsError):
    """A request was answered with a failure."""

    code: ClassVar[str] = "request"
    is_retryable: bool = False
    """Whether the same request may succeed later."""
    is_outage: bool = False
    """Whether servers were away, overloaded or refused this client, so that any other request would fail as well."""

    def __init_subclass__(cls, code: str | None = None, is_retryable: bool = False) -> None:
        """Give a subclass a code on the wire; one without a code is a case of its base, and travels as that."""
        if code is not None:
            cls.code, cls.is_retryable = code, is_retryable
            _BY_CODE[code] = cls


class DeadlineError(RequestError, code="deadline"):
    """The request's deadline passed before it was answered."""

    is_outage = True


class OverloadedError(RequestError, code="overloaded", is_retryable=True):
    """Too many requests wait for the role."""

    is_outage = True

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PoisonedError(RequestError, code="poisoned"):
    """The request crashed every actor that it was given to, and is not handed out again."""


class CancelledRequestError(RequestError, code="cancelled"):
    """The request, its run or its trajectory was cancelled; the text says by whom."""


class WithdrawnError(RequestError, code="withdrawn"):
    """A router told the actor to stop; the router drops this or, if a client waits again, assigns the request again."""


class RefusedError(RequestError, code="refused"):
    """The request cannot be answered: it is unreadable, of another version, or impossible."""


class UnsupportedError(RefusedError, code="unsupported"):
    """The models of the mesh cannot do what the request asks for, such as drawing from a picture."""


class ForbiddenError(RequestError, code="forbidden"):
    """The client's key does not allow the request."""


class UnansweredError(RequestError, code="unanswered"):
    """The role does not answer requests of this type."""


class BackendError(RequestError, code="backend", is_retryable=True):
    """A model server or library failed; the text says which and how."""


class ModelOutputError(RequestError, code="model_output", is_retryable=True):
    """A model's output could not be used as an answer."""


class BlobError(RequestError, code="blob"):
    """A picture could not be stored, found or verified."""


class LogError(RequestError, code="log"):
    """Memory could not write or read a record."""


class InternalError(RequestError, code="internal"):
    """Internal error while a request was answered."""


def storage_fault(error: BlobError | LogError) -> BlobError | LogError:
    """Return a failure to write or read, marked as one that any other request would meet as well."""
    error.is_outage = True
    return error


def failure_of(error: RequestError) -> Failure:
    """Return the message that carries a failure over the wire."""
    return Failure(
        code=error.code,
        message=str(error)[:2000].encode(errors="replace").decode(),
        retryable=error.is_retryable,
        retry_after_s=error.retry_after_s if isinstance(error, OverloadedError) else None,
        outage=error.is_outage,
    )


def error_of(failure: Failure) -> RequestError:
    """Return the exception of a failure message; an unknown code becomes a plain `RequestError`."""
    kind = _BY_CODE.get(failure.code)
    if kind is None:
        error = RequestError(f"{failure.code}: {failure.message}")
    elif kind is OverloadedError:
        error = OverloadedError(failure.message, failure.retry_after_s or 1.0)
    else:
        error = kind(failure.message)
    error.is_retryable &= failure.retryable
    error.is_outage |= failure.outage  # of older peers, whose failures do not say it, the class decides
    return error
