"""A server of models over HTTP, OpenAI's way: one exchange, what it answers, and what its bad days mean.

Three kinds of no are told apart: too much to do, and when to come again (`BusyError`); no, and never (`RefusedError`);
anything else, which may pass (`BackendError`, among them `UnreachableError` and `LateError`). It does not know what is
asked, and asks once; `patience` asks again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import trio

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.backends.failover import BusyError, LateError, UnreachableError
from gems_actors.config import ModelServerConfig
from gems_actors.errors import BackendError, ConfigError, RefusedError, RequestError

_CONNECT_S: Final = 10.0
_MAX_CONNECTIONS: Final = 1024
"""As many as a role may take requests; the server's pace is the limit that matters."""
_MAX_QUOTED: Final = 300
_MAX_WAIT_S: Final = 60.0
_BUSY: Final = (429, 503)
_PASSING: Final = (408, 409, 425)
"""Of the 4xx, those that say nothing against the request."""
_DURATION: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
"""As Go writes one, and as OpenAI's headers have it: `6m0s`, `1.5s`, `20ms`."""


class ModelServer:
    """A server that can be asked by many tasks at once; made by `open_model_server`."""

    def __init__(self, name: str, config: ModelServerConfig, client: httpx.AsyncClient, key: str | None) -> None:
        self.name = name
        self.pace = AdaptiveLimit()
        self.http_version = ""
        """Of the last answer."""
        self._url = (config.url or "").rstrip("/")
        self._timeout_s = config.timeout_s
        self._client = client
        self._key = key

    async def post(self, path: str, fields: Mapping[str, Any], *, max_bytes: int) -> bytes:
        """Return the body with which the server answers some JSON.

        Raises:
            BusyError, RefusedError, BackendError: it says no, or does not answer.
        """
        return await self._fetch("POST", f"{self._url}/{path}", max_bytes, json=fields, headers=self._headers)

    async def get(self, path: str, *, max_bytes: int) -> bytes:
        """Return what the API has at a path.

        Raises:
            BusyError, RefusedError, BackendError: as for `post`.
        """
        return await self._fetch("GET", f"{self._url}/{path}", max_bytes, headers=self._headers)

    async def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """Return what stands at an address that the server named; the key is not sent there.

        Raises:
            BusyError, RefusedError, BackendError: as for `post`.
        """
        try:
            return await self._fetch("GET", url, max_bytes)
        except UnreachableError as error:  # another server, whose absence says nothing about this one
            raise BackendError(str(error)) from error

    def unexpected(self, expected: str, body: bytes) -> BackendError:
        """Return the error that says what was expected, and how what came begins."""
        return self.failed(f"expected {expected}, got {len(body)} bytes: {_quote(body)}")

    def failed(self, words: str) -> BackendError:
        """Return the error of an answer that is none."""
        return BackendError(self._say(words))

    def refused(self, words: str) -> RefusedError:
        """Return the error of an answer that says no."""
        return RefusedError(self._say(words))

    def _say(self, words: str) -> str:
        """Return a failure in words; a key that the server repeats is left out."""
        return f"{self.name}: {words.replace(self._key, '***') if self._key else words}"

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    async def _fetch(self, method: str, url: str, max_bytes: int, **options: Any) -> bytes:
        body: bytes | None = None
        with trio.move_on_after(self._timeout_s):  # httpx's own limits are for each read, and a server may dribble
            try:
                response, body = await self._exchange(method, url, max_bytes, options)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise UnreachableError(self._say(_words_for(error))) from error
            except httpx.TimeoutException as error:
                raise LateError(self._say(_words_for(error))) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self.failed(_words_for(error)) from error
        if body is None:
            raise LateError(self._say(f"expected an answer within {self._timeout_s:g} s, got none"))
        self.http_version = response.http_version
        if (wait_s := rate_limit_of(response.headers)) is not None:
            self.pace.pause(trio.current_time(), wait_s)
        if response.status_code != 200:
            raise self._failure_of(response, body)
        return body

    async def _exchange(
        self, method: str, url: str, max_bytes: int, options: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        async with self._client.stream(method, url, **options) as response:
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():  # to its end: what is left off half-way is httpx's to clear
                size += len(chunk)
                if size <= max_bytes:
                    chunks.append(chunk)
        if size > max_bytes:
            raise self.failed(f"expected at most {max_bytes} bytes, got {size}")
        return response, b"".join(chunks)

    def _failure_of(self, response: httpx.Response, body: bytes) -> RequestError:
        code = response.status_code
        words = f"answered {code}: {said_in(body)}"
        if code in _BUSY:
            return BusyError(self._say(words), retry_after_of(response.headers.get("Retry-After")))
        if 400 <= code < 500 and code not in _PASSING:
            return self.refused(words)
        return self.failed(words)


@asynccontextmanager
async def open_model_server(what: str, table: str, config: ModelServerConfig) -> AsyncIterator[ModelServer]:
    """Open the connections to a server; HTTP/2 where it offers that.

    Args:
        what: is served there, such as `image`.
        table: of the settings, such as `chat.roles.verifier`.
        config: where it is, with which key.

    Raises:
        ConfigError: there is no address, or the key is not where the settings say.
    """
    if config.url is None:
        raise ConfigError(f"{table}.url: expected the address of a server, such as http://HOST:8000/v1, got none")
    key = _read_key(table, config)
    timeout = httpx.Timeout(config.timeout_s, connect=min(_CONNECT_S, config.timeout_s))
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_MAX_CONNECTIONS)
    async with httpx.AsyncClient(timeout=timeout, limits=limits, http2=True) as client:
        yield ModelServer(f"{what} server at {config.url}", config, client, key)


def _read_key(table: str, config: ModelServerConfig) -> str | None:
    """Return the key, from the environment or from a file; None where none is wanted."""
    if config.api_key_env is not None:
        if not (key := os.environ.get(config.api_key_env, "").strip()):
            raise ConfigError(f"{table}.api_key_env: expected a key in the environment variable {config.api_key_env}")
    elif config.api_key_file is not None:
        try:
            key = Path(config.api_key_file).expanduser().read_text().strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{table}.api_key_file: {config.api_key_file}: {error}") from error
        if not key:
            raise ConfigError(f"{table}.api_key_file: expected a key in {config.api_key_file}, got an empty file")
    else:
        return None
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{table}: expected a key of printable ASCII characters on one line, got another")
    return key


def said_in(body: bytes) -> str:
    """Return what an error says in words: OpenAI's `error.message`, FastAPI's `detail`, else how the body begins."""
    try:
        tree = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return _quote(body)
    said: Any = None
    if isinstance(tree, dict):
        error = tree.get("error")
        said = error.get("message") if isinstance(error, dict) else error
        said = said or tree.get("detail") or tree.get("message")
    if isinstance(said, list):  # FastAPI's list of what is wrong with which field
        said = "; ".join(_words_of(item) for item in said if isinstance(item, dict))
    return " ".join(said[:_MAX_QUOTED].split()) if isinstance(said, str) and said else _quote(body)


def retry_after_of(header: str | None) -> float | None:
    """Return for how many seconds a server wants to be left alone, 0.1 to 60; None where it does not say."""
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
    """Return for how many seconds nothing more should be asked, where `X-RateLimit-*` say that nothing is left."""
    waits = []
    for ending in ("", "-requests", "-tokens"):
        if headers.get(f"x-ratelimit-remaining{ending}", "").strip() == "0":
            wait_s = _seconds_of(headers.get(f"x-ratelimit-reset{ending}", "").strip())
            waits += [] if wait_s is None else [wait_s]
    return max(waits, default=None)


def _seconds_of(text: str) -> float | None:
    """Read a duration, seconds from now, or seconds since 1970."""
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


def _words_for(error: Exception) -> str:
    """Return an error in words, those of its cause where it has none itself: a wrong certificate is such a one."""
    said: BaseException = error
    while not str(said) and (cause := said.__cause__ or said.__context__):
        said = cause
    return f"{type(error).__name__}: {said}".rstrip(": ")


def _words_of(item: dict[str, Any]) -> str:
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else str(place or "")
    return f"{where}: {item.get('msg', '')}"


def _quote(body: bytes) -> str:
    text = " ".join(body[:_MAX_QUOTED].decode(errors="replace").split())
    return repr(text) + (" and more" if len(body) > _MAX_QUOTED else "")
