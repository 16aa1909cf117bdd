"""One HTTP exchange with a model server in OpenAI's style, and the typed errors that its failures become.

`BusyError` means too many requests, with the time after which to retry; `RefusedError` means that a retry is pointless;
`BackendError`, with its subclasses `UnreachableError`, `LateError` and `RequestFaultError`, is any other failure and
may pass. This module does not know what the requests mean and sends each once; `failover` retries.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import trio

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.backends.connections import RoutedTransport
from gems_actors.backends.failover import (
    BusyError,
    GatewayTimeoutError,
    LateError,
    RequestFaultError,
    UnreachableError,
)
from gems_actors.backends.proxies import check_address, route_to
from gems_actors.config import ModelServerConfig
from gems_actors.errors import BackendError, ConfigError, ModelOutputError, RefusedError, RequestError
from gems_actors.files import os_reason, read_regular
from gems_actors.ops.tracing import traceparent
from gems_actors.terminal_text import without_passwords

_CONNECT_S: Final = 10.0
_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MAX_QUOTED: Final = 300
_MAX_WAIT_S: Final = 60.0
_BUSY: Final = (429, 503)
_RETRYABLE: Final = (408, 409, 425)
"""Client errors (4xx) that are retried, because they do not say that the request is wrong."""
_NOT_IMPLEMENTED: Final = 501
_REFUSING_ALL: Final = (401, 402, 404)
"""Client errors that any request would get: a wrong key, spent credit, an unknown model. Others are about the request;
some services refuse a prompt with 403."""
_CODES: Final = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "unavailable": 503,
    "resource_exhausted": 429,
    "timeout": 408,
    "invalid_request_error": 400,
    "invalid_request": 400,
    "invalid_argument": 400,
    "badrequesterror": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "model_not_found": 404,
}
"""Statuses of the codes and types of errors that some servers send with status 200, in lower case.

Source: the error references of OpenAI, Anthropic, Google, OpenRouter and vLLM.
"""
_UNSUPPORTED: Final = re.compile(r"\b(is|are) not supported\b|input is unsupported", re.IGNORECASE)
"""What a server answers with 500 and can never do, as llama.cpp to a picture for a model that reads only text."""
_DURATION: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
"""A duration as Go and OpenAI's headers write it: `6m0s`, `1.5s`, `20ms`."""


FormFile = tuple[str, tuple[str, bytes, str]]
"""A file of a form: the name of its field, then its own name, its bytes and its media type."""


class StatusError(RefusedError):
    """A server refused a request with a status, which says whether the request may be accepted in another form."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ModelServer:
    """A server that many tasks may call at once; made by `open_model_server`."""

    def __init__(self, name: str, config: ModelServerConfig, client: httpx.AsyncClient, key: str | None) -> None:
        self.name = name
        self.limit = AdaptiveLimit()
        self.http_version = ""
        """HTTP version of the last answer, empty before it."""
        self.status = 0
        """HTTP status of the latest request; 0 while it has no answer."""
        self._url = (config.url or "").rstrip("/")
        self._timeout_s = config.timeout_s
        self._client = client
        self._key = key

    async def post(self, path: str, fields: Mapping[str, Any], *, max_bytes: int) -> bytes:
        """Send JSON and return the body of the answer.

        A redirect is followed within the server, which may move to https; one to another server is refused, because
        the key and the prompt are meant for this one.

        Raises:
            BusyError, RefusedError, BackendError: the server fails, refuses or does not answer.
        """
        body = msgspec.json.encode(fields)  # of a picture in a tenth of the time that httpx's own encoding takes
        headers = {"Content-Type": "application/json", **self._headers}
        return await self._fetch("POST", f"{self._url}/{path}", max_bytes, content=body, headers=headers)

    async def post_form(
        self, path: str, fields: Mapping[str, str], files: Sequence[FormFile], *, max_bytes: int
    ) -> bytes:
        """Send fields and files as `multipart/form-data`, and return the body of the answer.

        Raises:
            BusyError, RefusedError, BackendError: as for `post`.
        """
        url = f"{self._url}/{path}"
        return await self._fetch("POST", url, max_bytes, data=fields, files=list(files), headers=self._headers)

    async def post_query(self, path: str, fields: Mapping[str, str], *, max_bytes: int) -> bytes:
        """Send fields in the address, without a body, and return the body of the answer.

        Raises:
            BusyError, RefusedError, BackendError: as for `post`.
        """
        return await self._fetch("POST", f"{self._url}/{path}", max_bytes, params=fields, headers=self._headers)

    async def get(self, path: str, *, max_bytes: int) -> bytes:
        """Return the body that the API has at a path.

        Raises:
            BusyError, RefusedError, BackendError: as for `post`.
        """
        return await self._fetch("GET", f"{self._url}/{path}", max_bytes, headers=self._headers)

    async def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """Return the body at an address that the server named, or where that redirects; the key is not sent there.

        Raises:
            RequestFaultError: there is no body: the answer that named the address is unusable, whatever is wrong.
        """
        try:
            return await self._fetch("GET", url, max_bytes, may_leave=True)
        except RequestError as error:  # of another server, or of a malformed address: this one is not down
            is_away = isinstance(error, UnreachableError)
            route = route_to(url, os.environ) if is_away else None
            raise RequestFaultError(f"{error}{f', through {route.shown}' if route else ''}") from error

    def unexpected(self, expected: str, body: bytes) -> RequestError:
        """Return the error for an unexpected body with status 200: the one that it reports, else one that quotes it."""
        if (status := reported_status(body)) is not None:
            return self._failure_for(status, f"answered 200 with an error: {error_text(body)}", None)
        return RequestFaultError(self._message(f"expected {expected}, got {len(body)} bytes: {_quote(body)}"))

    def faulty(self, reason: str) -> RequestFaultError:
        """Return the error for an answer in the right form that cannot be used, which counts against its request."""
        return RequestFaultError(self._message(reason))

    def failed(self, reason: str) -> BackendError:
        """Return the error for a failure that may pass."""
        return BackendError(self._message(reason))

    def unusable(self, reason: str) -> ModelOutputError:
        """Return the error for an answer whose words are unusable."""
        return ModelOutputError(self._message(reason))

    def refused(self, reason: str) -> RefusedError:
        """Return the error for a refusal, which is not retried."""
        return RefusedError(self._message(reason))

    def _message(self, reason: str) -> str:
        """Return an error message with the server's name, and without the key and passwords that servers repeat."""
        return without_passwords(f"{self.name}: {reason.replace(self._key, '***') if self._key else reason}")

    @property
    def _headers(self) -> dict[str, str]:
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return authorization if (parent := traceparent()) is None else {**authorization, "traceparent": parent}

    async def _fetch(self, method: str, url: str, max_bytes: int, *, may_leave: bool = False, **options: Any) -> bytes:
        self.status = 0
        body: bytes | None = None
        with trio.move_on_after(self._timeout_s):  # httpx's timeouts are per read, and a server may send byte by byte
            try:
                response, body = await self._follow(method, url, max_bytes, options, may_leave=may_leave)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise UnreachableError(self._message(_describe(error))) from error
            except httpx.TimeoutException as error:
                raise LateError(self._message(_describe(error))) from error
            except (httpx.HTTPError, httpx.InvalidURL, ConfigError) as error:  # the last: a proxy of `fetch`
                raise self.failed(_describe(error)) from error
        if body is None:
            raise LateError(self._message(f"expected an answer within {self._timeout_s:g} s, got none"))
        if (wait_s := rate_limit_of(response.headers)) is not None:
            used_up = self._message("expected requests left in its rate limit, got none")
            self.limit.pause(trio.current_time(), wait_s, used_up)
        if response.status_code != 200:
            raise self._failure_of(response, body)
        return body

    async def _follow(
        self, method: str, url: str, max_bytes: int, options: dict[str, Any], *, may_leave: bool
    ) -> tuple[httpx.Response, bytes]:
        """Return the answer and its body, after a few redirects: within the server unless the request may leave it."""
        for _ in range(_MAX_REDIRECTS):
            try:
                response, body = await self._exchange(method, url, max_bytes, options)
            except httpx.RemoteProtocolError as error:
                if "location header" in str(error):  # httpx reads it before we do
                    raise self.refused(f"answered with a redirect that cannot be followed: {error}") from error
                raise
            self.http_version, self.status = response.http_version, response.status_code
            code, location = response.status_code, response.headers.get("Location", "")[:_MAX_QUOTED]
            if code not in _REDIRECTS or not location:
                return response, body
            target = response.url.join(location)
            if not may_leave and not _is_same_server(response.url, target):
                refusal = self.refused(
                    f"answered {code}: expected a redirect within the server, got one to {target}; "
                    "name that address in the settings if it is meant"
                )
                refusal.is_outage = True
                raise refusal
            if code == 303:
                method = "GET"
                options = {"headers": self._headers} if "headers" in options else {}
            elif target.query:  # it repeats the fields of the first address
                options = {name: value for name, value in options.items() if name != "params"}
            url = str(target)
        raise self.refused(f"answered {code}: expected up to {_MAX_REDIRECTS} redirects, got another one to {target}")

    async def _exchange(
        self, method: str, url: str, max_bytes: int, options: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        async with self._client.stream(method, url, **options) as response:
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():  # read to the end, so that httpx can reuse the connection
                size += len(chunk)
                if size <= max_bytes:
                    chunks.append(chunk)
        if size > max_bytes:
            raise RequestFaultError(self._message(f"expected at most {max_bytes} bytes, got {size}"))
        return response, b"".join(chunks)

    def _failure_of(self, response: httpx.Response, body: bytes) -> RequestError:
        code = response.status_code
        wait_s = retry_after_of(response.headers.get("Retry-After"))
        return self._failure_for(code, f"answered {code}: {error_text(body)}", wait_s)

    def _failure_for(self, code: int, reason: str, wait_s: float | None) -> RequestError:
        """Return the error of a status."""
        message = self._message(reason)
        if code in _BUSY:
            return BusyError(message, wait_s)
        if code in _RETRYABLE:
            return RequestFaultError(message, is_timeout=code == 408)
        if 300 <= code < 500 or code == _NOT_IMPLEMENTED or (code == 500 and _UNSUPPORTED.search(reason)):
            refusal = StatusError(message, code)
            refusal.is_outage = code in _REFUSING_ALL
            return refusal
        return GatewayTimeoutError(message) if code == 504 else BackendError(message)


@asynccontextmanager
async def open_model_server(kind: str, table: str, config: ModelServerConfig) -> AsyncIterator[ModelServer]:
    """Open the connections to a server, with HTTP/2 if the server offers it.

    Error messages name the kind of server, such as `image`, and the settings table, such as `chat.roles.verifier`.

    Raises:
        ConfigError: there is no address, the key cannot be read, or the environment names a proxy or certificates that
            cannot be used.
    """
    if config.url is None:
        raise ConfigError(f"{table}.url: expected the address of a server, such as http://HOST:8000/v1, got none")
    key = _read_key(table, config)
    check_address(config.url, os.environ)
    route = route_to(config.url, os.environ)
    name = f"{kind} server at {without_passwords(config.url)}" + (f" through {route.shown}" if route else "")
    timeout = httpx.Timeout(config.timeout_s, connect=min(_CONNECT_S, config.timeout_s))
    async with httpx.AsyncClient(timeout=timeout, transport=RoutedTransport(), trust_env=False) as client:
        yield ModelServer(name, config, client, key)


def _is_same_server(one: httpx.URL, other: httpx.URL) -> bool:
    """Return whether two addresses are those of one server; it may move from http to https."""
    if one.host != other.host:
        return False
    if (one.scheme, other.scheme) == ("http", "https"):
        return True
    ports = {"http": 80, "https": 443}
    return one.scheme == other.scheme and (one.port or ports.get(one.scheme)) == (other.port or ports.get(other.scheme))


def _read_key(table: str, config: ModelServerConfig) -> str | None:
    """Return the key from the environment or from a file; None if the settings name neither."""
    if config.api_key_env is not None:
        if not (key := os.environ.get(config.api_key_env, "").strip()):
            raise ConfigError(f"{table}.api_key_env: expected a key in the environment variable {config.api_key_env}")
    elif config.api_key_file is not None:
        try:
            key = read_regular(Path(config.api_key_file).expanduser()).decode("utf-8-sig").strip()
        except OSError as error:
            wanted = f"{config.api_key_file}: expected a readable file"
            raise ConfigError(f"{table}.api_key_file: {wanted}, got: {os_reason(error)}") from error
        except UnicodeDecodeError:  # whose text has bytes of the key
            wanted = f"expected a key in {config.api_key_file}"
            raise ConfigError(f"{table}.api_key_file: {wanted}, got bytes that are not UTF-8") from None
        if not key:
            raise ConfigError(f"{table}.api_key_file: expected a key in {config.api_key_file}, got an empty file")
    else:
        return None
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{table}: expected a key of printable ASCII characters on one line, got other characters")
    return key


def error_text(body: bytes) -> str:
    """Return the message of an error body: OpenAI's `error.message`, FastAPI's `detail`, else the start of the body."""
    try:
        tree = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return _quote(body)
    text: Any = None
    if isinstance(tree, dict):
        error = tree.get("error")
        text = error.get("message") if isinstance(error, dict) else error
        text = text or tree.get("detail") or tree.get("message")
    if isinstance(text, list):  # FastAPI's list of invalid fields
        text = "; ".join(_field_error(item) for item in text if isinstance(item, dict))
    return " ".join(text[:_MAX_QUOTED].split()) if isinstance(text, str) and text else _quote(body)


def reported_status(body: bytes) -> int | None:
    """Return the HTTP status of the error that a body reports by code or type; None if it reports none that is known.

    Gateways such as OpenRouter answer 200 before they know whether the model will answer.
    """
    try:
        tree = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict):
        return None
    error = tree if tree.get("object") == "error" else tree.get("error")
    if not isinstance(error, dict):
        return None
    for said in (error.get("code"), error.get("status"), error.get("type")):
        status = str(said).lower()
        code = int(status) if status.isascii() and status.isdecimal() and len(status) == 3 else _CODES.get(status, 0)
        if 400 <= code < 600:
            return code
    return None


def retry_after_of(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, 0.1 to 60; None if it is missing or malformed."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return _bounded(seconds)


def rate_limit_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until an `X-RateLimit-*` limit with nothing left resets; None while all have requests left."""
    waits = []
    for ending in ("", "-requests", "-tokens"):
        if headers.get(f"x-ratelimit-remaining{ending}", "").strip() == "0":
            wait_s = _seconds_of(headers.get(f"x-ratelimit-reset{ending}", "").strip())
            waits += [] if wait_s is None else [wait_s]
    return max(waits, default=None)


def _seconds_of(text: str) -> float | None:
    """Return the seconds from now of a duration or of a Unix time; None if the text is neither."""
    try:
        seconds = float(text)
    except ValueError:
        match = _DURATION.fullmatch(text)
        if not text or match is None:
            return None
        hours, minutes, rest, thousandths = (float(part or 0) for part in match.groups())
        seconds = hours * 3600 + minutes * 60 + rest + thousandths / 1000
    return _bounded(seconds - time.time() if seconds > 1e9 else seconds)


def _bounded(seconds: float) -> float | None:
    return min(max(seconds, 0.1), _MAX_WAIT_S) if seconds == seconds else None


def _describe(error: Exception) -> str:
    """Return class and message of an error; some, such as a wrong certificate's, have a message only in their cause."""
    source: BaseException = error
    while not str(source) and (cause := source.__cause__ or source.__context__):
        source = cause
    return f"{type(error).__name__}: {source}".rstrip(": ")


def _field_error(item: dict[str, Any]) -> str:
    location = item.get("loc")
    field = ".".join(map(str, location)) if isinstance(location, list) else str(location or "")
    return f"{field}: {item.get('msg', '')}"


def _quote(body: bytes) -> str:
    text = " ".join(body[:_MAX_QUOTED].decode(errors="replace").split())
    return repr(text) + (" and more" if len(body) > _MAX_QUOTED else "")
