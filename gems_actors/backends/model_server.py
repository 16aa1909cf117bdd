"""A server of models over HTTP, OpenAI's way: what it answers, and what its bad days mean.

Three kinds of no are told apart: too much to do, and when to come again (`OverloadedError`); no, and never
(`RefusedError`); anything else, which may pass (`BackendError`). It does not know what is asked.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec

from gems_actors.errors import BackendError, ConfigError, OverloadedError, RefusedError, RequestError

_CONNECT_S: Final = 10.0
_MAX_CONNECTIONS: Final = 1024
"""As many as a role may take requests; its capacity is the limit that matters."""
_MAX_REPLY_BYTES: Final = 128 * 1024 * 1024
_MAX_QUOTED: Final = 300
_MAX_RETRY_AFTER_S: Final = 60.0
_BUSY: Final = (429, 503)
_PASSING: Final = (408, 409, 425)
"""Of the 4xx, those that say nothing against the request."""


class ModelServer:
    """A server that can be asked by many tasks at once; made by `open_model_server`."""

    def __init__(self, what: str, url: str, client: httpx.AsyncClient, headers: Mapping[str, str]) -> None:
        self._who = f"{what} server at {url}"
        self._url = url.rstrip("/")
        self._client = client
        self._headers = headers

    async def post(self, path: str, fields: Mapping[str, Any]) -> bytes:
        """Return the body with which the server answers some JSON.

        Raises:
            OverloadedError, RefusedError, BackendError: it says no, or does not answer.
        """
        return await self._fetch("POST", f"{self._url}/{path}", json=fields, headers=self._headers)

    async def fetch(self, url: str) -> bytes:
        """Return what stands at an address that the server named; the key is not sent there.

        Raises:
            OverloadedError, RefusedError, BackendError: as for `post`.
        """
        return await self._fetch("GET", url)

    def unexpected(self, expected: str, body: bytes) -> BackendError:
        """Return the error that says what was expected, and how what came begins."""
        return BackendError(f"{self._who}: expected {expected}, came {len(body)} bytes: {_quote(body)}")

    def failed(self, words: str) -> BackendError:
        """Return the error of an answer that is none."""
        return BackendError(f"{self._who}: {words}")

    def refused(self, words: str) -> RefusedError:
        """Return the error of an answer that says no."""
        return RefusedError(f"{self._who}: {words}")

    async def _fetch(self, method: str, url: str, **options: Any) -> bytes:
        try:
            async with self._client.stream(method, url, **options) as response:
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():  # to its end: what is left off half-way is httpx's to clear
                    size += len(chunk)
                    if size <= _MAX_REPLY_BYTES:
                        chunks.append(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.failed(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        if size > _MAX_REPLY_BYTES:
            raise self.failed(f"expected at most {_MAX_REPLY_BYTES} bytes, came {size}")
        body = b"".join(chunks)
        if response.status_code != 200:
            raise self._failure_of(response, body)
        return body

    def _failure_of(self, response: httpx.Response, body: bytes) -> RequestError:
        code = response.status_code
        words = f"answered {code}: {said_in(body)}"
        if code in _BUSY:
            return OverloadedError(f"{self._who}: {words}", retry_after_of(response.headers.get("Retry-After")))
        if 400 <= code < 500 and code not in _PASSING:
            return self.refused(words)
        return self.failed(words)


@asynccontextmanager
async def open_model_server(
    what: str, url: str | None, *, api_key_env: str | None, timeout_s: float
) -> AsyncIterator[ModelServer]:
    """Open the connections to a server.

    Args:
        what: the table of its settings, `image` or `chat`.
        url: of the API, without a path behind `/v1`.
        api_key_env: environment variable with the key, or none.
        timeout_s: for one answer.

    Raises:
        ConfigError: there is no address, or the key is not where the settings say.
    """
    if url is None:
        raise ConfigError(f"{what}.url: expected the address of a server, such as http://HOST:8000/v1, came none")
    headers = {}
    if api_key_env is not None:
        key = os.environ.get(api_key_env)
        if not key:
            raise ConfigError(f"{what}.api_key_env: expected a key in the environment variable {api_key_env}")
        headers["Authorization"] = f"Bearer {key}"
    timeout = httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
    async with httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=_MAX_CONNECTIONS)) as client:
        yield ModelServer(what, url, client, headers)


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


def retry_after_of(header: str | None) -> float:
    """Return for how many seconds a server wants to be left alone, 0.1 to 60; one that does not say gets one."""
    if header is None:
        return 1.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return 1.0
    return min(max(seconds, 0.1), _MAX_RETRY_AFTER_S) if seconds == seconds else 1.0


def _words_of(item: dict[str, Any]) -> str:
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else str(place or "")
    return f"{where}: {item.get('msg', '')}"


def _quote(body: bytes) -> str:
    text = " ".join(body[:_MAX_QUOTED].decode(errors="replace").split())
    return repr(text) + (" and more" if len(body) > _MAX_QUOTED else "")
