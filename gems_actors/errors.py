"""Every failure of the mesh, each one class here, one code on the wire, and the same class again on the other side.

GemsError
├── ConfigError               a setting is unknown or impossible
├── UsageError                options or arguments do not fit together
├── MeshUnavailableError      no router answers at an address
├── MeshRefusedError          a router does not take a process in
├── AddressInUseError         somebody else listens at an address
├── SupervisorError           the supervisor gave up
└── RequestError              a request was not answered with a reply
    ├── DeadlineError         its time was over
    ├── OverloadedError       too many wait for the role; says when to ask again
    ├── PoisonedError         it took down every actor that it was given to
    ├── CancelledRequestError the asker withdrew it, or somebody cancelled its run or trajectory
    ├── RefusedError          it cannot be read, or asks for what cannot be done
    ├── ForbiddenError        the sender's key does not allow it
    ├── UnansweredError       the actor does not answer this type of request
    ├── BackendError          a model server or library failed
    ├── ModelOutputError      a model answered something that is not an answer
    ├── BlobError             a picture could not be stored, found or verified
    ├── LogError              memory could not keep or read a record
    └── InternalError         a fault of ours
"""

from __future__ import annotations

from typing import ClassVar

from protocol.messages import Failure


class GemsError(Exception):
    """Base of all failures that a user may meet; its text is one clear line."""


class ConfigError(GemsError):
    """A setting is unknown or impossible; names the source, the key, what was expected and what was found."""


class UsageError(GemsError):
    """An option or argument is impossible, or does not go with another; the command line exits with code 2."""


class MeshUnavailableError(GemsError):
    """No router answers at the address."""


class MeshRefusedError(GemsError):
    """A router does not take this process in, such as one of another version; asking again would end the same way."""


class AddressInUseError(GemsError):
    """Somebody else listens at the address already."""


class SupervisorError(GemsError):
    """The supervisor gave up; says which role ended, how often and how."""


class RequestError(GemsError):
    """A request was answered with a failure."""

    code: ClassVar[str] = "request"
    is_retryable: ClassVar[bool] = False


class DeadlineError(RequestError):
    """The request's time was over before it was answered."""

    code = "deadline"


class OverloadedError(RequestError):
    """Too many requests wait for the role."""

    code = "overloaded"
    is_retryable = True

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PoisonedError(RequestError):
    """The request took down every actor that it was given to, and is given to no more."""

    code = "poisoned"


class CancelledRequestError(RequestError):
    """The asker withdrew the request, or somebody cancelled its run or trajectory; says who."""

    code = "cancelled"


class RefusedError(RequestError):
    """The request is not one that can be answered: unreadable, of another version, or for what cannot be done."""

    code = "refused"


class ForbiddenError(RequestError):
    """The sender's key does not allow what it sent."""

    code = "forbidden"


class UnansweredError(RequestError):
    """The role does not answer requests of this type."""

    code = "unanswered"


class BackendError(RequestError):
    """A model server or library failed; says which and how."""

    code = "backend"
    is_retryable = True


class ModelOutputError(RequestError):
    """A model's words were not an answer."""

    code = "model_output"
    is_retryable = True


class BlobError(RequestError):
    """A picture could not be stored, found or verified."""

    code = "blob"


class LogError(RequestError):
    """Memory could not keep or read a record."""

    code = "log"


class InternalError(RequestError):
    """A fault of ours, met while a request was answered."""

    code = "internal"


_BY_CODE: dict[str, type[RequestError]] = {
    error.code: error
    for error in (
        DeadlineError, OverloadedError, PoisonedError, CancelledRequestError, RefusedError, ForbiddenError,
        UnansweredError, BackendError, ModelOutputError, BlobError, LogError, InternalError,
    )
}  # fmt: skip


def failure_of(error: RequestError) -> Failure:
    """Return the message in which a failure crosses the wire."""
    return Failure(
        code=error.code,
        message=str(error)[:2000].encode(errors="replace").decode(),
        retryable=error.is_retryable,
        retry_after_s=error.retry_after_s if isinstance(error, OverloadedError) else None,
    )


def error_of(failure: Failure) -> RequestError:
    """Return the exception that a failure was before it crossed the wire; a code of a later version is its base."""
    kind = _BY_CODE.get(failure.code)
    if kind is None:
        return RequestError(f"{failure.code}: {failure.message}")
    if kind is OverloadedError:
        return OverloadedError(failure.message, failure.retry_after_s or 1.0)
    return kind(failure.message)
