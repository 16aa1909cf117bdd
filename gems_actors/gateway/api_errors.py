"""Failures in the shape that clients of OpenAI's API expect, and the HTTP status of every failure of a mesh."""

from __future__ import annotations

import math
from typing import Any, Final

from gems_actors import errors
from gems_actors.errors import GemsError, RequestError
from gems_actors.terminal_text import printable

_STATUS: Final[dict[type[RequestError], int]] = {
    errors.OverloadedError: 429,
    errors.DeadlineError: 504,
    errors.CancelledRequestError: 409,
    errors.UnsupportedError: 501,
    errors.RefusedError: 400,
    errors.BackendError: 502,
    errors.ModelOutputError: 502,
    errors.ForbiddenError: 503,
}
"""Others are 500; a class stands before its base."""
_KINDS: Final = {403: "permission_error", 429: "rate_limit_error"}


class ApiError(GemsError):
    """A request that is answered with an HTTP error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        is_retryable: bool | None = None,
    ) -> None:
        """Describe an error.

        Args:
            status: HTTP status.
            message: one line for people.
            code: word for programs.
            param: field of the request that is wrong.
            retry_after_s: time after which the same request may succeed.
            is_retryable: whether SDKs should repeat the request by themselves; by default if there is such a time.
        """
        super().__init__(printable(message))
        self.status, self.code, self.param = status, code, param
        self.retry_after_s = retry_after_s
        self.is_retryable = retry_after_s is not None if is_retryable is None else is_retryable

    @property
    def tree(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _KINDS.get(self.status) or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer; without the first, SDKs would repeat what cannot succeed."""
        found = {"x-should-retry": "true" if self.is_retryable else "false"}
        if self.retry_after_s is not None:
            found["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        return found


def api_error_of(error: RequestError) -> ApiError:
    """Return a failure of the mesh as the answer to an HTTP request."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if isinstance(error, errors.OverloadedError):
        return ApiError(status, str(error), code=error.code, retry_after_s=error.retry_after_s)
    is_retryable = error.is_retryable and status != 400
    return ApiError(status, str(error), code=error.code, is_retryable=is_retryable)
