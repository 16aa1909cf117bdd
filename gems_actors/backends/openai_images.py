"""Pictures from any server with OpenAI's Images API: vLLM-Omni, SGLang Diffusion, hosted models.

What a server says on a bad day is told apart here: too much to do, and when to come again (`OverloadedError`); no, and
never (`RefusedError`); anything else, which may pass (`BackendError`). A reply is a picture only if Pillow says so.

Source: platform.openai.com, POST /v1/images/generations; `seed` and further fields as vLLM-Omni and SGLang take them.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, Final

import httpx
import msgspec
from PIL import Image as Pillow

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.config import ImageConfig
from gems_actors.errors import BackendError, ConfigError, OverloadedError, RefusedError, RequestError

_CONNECT_S: Final = 10.0
_MAX_CONNECTIONS: Final = 1024
"""As many as a generator may take requests; its capacity is the limit that matters."""
_MAX_REPLY_BYTES: Final = 128 * 1024 * 1024
_MAX_QUOTED: Final = 300
_MAX_RETRY_AFTER_S: Final = 60.0
_MEDIA_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_BUSY: Final = (429, 503)
_PASSING: Final = (408, 409, 425)
"""Of the 4xx, those that say nothing against the request."""


@asynccontextmanager
async def open_openai_images(config: ImageConfig) -> AsyncIterator[OpenAIImageModel]:
    """Open the connections to the server that the settings name.

    Raises:
        ConfigError: the key is not where the settings say.
    """
    headers = {}
    if config.api_key_env is not None:
        key = os.environ.get(config.api_key_env)
        if not key:
            raise ConfigError(f"image.api_key_env: expected a key in the environment variable {config.api_key_env}")
        headers["Authorization"] = f"Bearer {key}"
    timeout = httpx.Timeout(config.timeout_s, connect=min(_CONNECT_S, config.timeout_s))
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS)
    async with httpx.AsyncClient(timeout=timeout, limits=limits) as client:
        yield OpenAIImageModel(config, client, headers)


class OpenAIImageModel:
    """Asks for one picture a request; safe to call from many tasks at once."""

    def __init__(self, config: ImageConfig, client: httpx.AsyncClient, headers: Mapping[str, str]) -> None:
        """Use a client that stays open meanwhile; `headers` go to the server, and to nobody else."""
        if config.url is None:
            raise ConfigError("image.url: expected the address of a server, came none")
        self._config = config
        self._url = f"{config.url.rstrip('/')}/images/generations"
        self._client = client
        self._headers = headers

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request, in the size and format that the server chose to give.

        Raises:
            OverloadedError: the server has too much to do; says when to ask again.
            RefusedError: the server will never draw this; in its words.
            BackendError: the server failed, or what it sent is no picture.
        """
        reply = await self._fetch("POST", self._url, json=self._body_of(request), headers=self._headers)
        data = await self._picture_in(reply)
        try:
            with Pillow.open(BytesIO(data), formats=tuple(_MEDIA_TYPES)) as picture:
                return GeneratedImage(data, _MEDIA_TYPES[picture.format or ""], *picture.size)
        except (OSError, ValueError, KeyError, Pillow.DecompressionBombError) as error:
            raise self._unexpected("a PNG, JPEG or WebP picture", data) from error

    def _body_of(self, request: ImageRequest) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "prompt": request.prompt,
            "n": 1,
            "size": f"{request.width_px}x{request.height_px}",
            "seed": request.seed,
            "response_format": "b64_json",
        }
        if self._config.model is not None:
            fields["model"] = self._config.model
        fields |= self._config.extra
        return {name: value for name, value in fields.items() if name not in self._config.omit}

    async def _picture_in(self, reply: bytes) -> bytes:
        try:
            found = msgspec.json.decode(reply, type=_Reply).data[0]
            if found.b64_json:
                return base64.b64decode(found.b64_json, validate=True)
        except (ValueError, IndexError, binascii.Error, RecursionError) as error:
            raise self._unexpected('JSON with a picture in "data"', reply) from error
        if found.url is None:
            raise self._unexpected('a picture in "data", as b64_json or as url', reply)
        return await self._fetch("GET", found.url)  # another host, as a rule, to whom the key is nothing

    async def _fetch(self, method: str, url: str, **options: Any) -> bytes:
        """Return the body of an answer that says that all is well.

        Raises:
            RequestError: what it says instead, or that there is none.
        """
        try:
            async with self._client.stream(method, url, **options) as response:
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():  # to its end: what is left off half-way is httpx's to clear
                    size += len(chunk)
                    if size <= _MAX_REPLY_BYTES:
                        chunks.append(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BackendError(f"{self._who}: {type(error).__name__}: {error}".rstrip(": ")) from error
        if size > _MAX_REPLY_BYTES:
            raise BackendError(f"{self._who}: expected at most {_MAX_REPLY_BYTES} bytes, came {size}")
        body = b"".join(chunks)
        if response.status_code != 200:
            raise self._failure_of(response, body)
        return body

    def _failure_of(self, response: httpx.Response, body: bytes) -> RequestError:
        code = response.status_code
        words = f"{self._who}: answered {code}: {said_in(body)}"
        if code in _BUSY:
            return OverloadedError(words, retry_after_of(response.headers.get("Retry-After")))
        if 400 <= code < 500 and code not in _PASSING:
            return RefusedError(words)
        return BackendError(words)

    def _unexpected(self, expected: str, body: bytes) -> BackendError:
        return BackendError(f"{self._who}: expected {expected}, came {len(body)} bytes: {_quote(body)}")

    @property
    def _who(self) -> str:
        return f"image server at {self._config.url}"


class _Item(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Reply(msgspec.Struct):
    data: list[_Item]


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
        parts = [item for item in said if isinstance(item, dict)]
        said = "; ".join(f"{'.'.join(map(str, item.get('loc', ())))}: {item.get('msg', '')}" for item in parts)
    return said[:_MAX_QUOTED] if isinstance(said, str) and said else _quote(body)


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


def _quote(body: bytes) -> str:
    text = " ".join(body[:_MAX_QUOTED].decode(errors="replace").split())
    return repr(text) + (" and more" if len(body) > _MAX_QUOTED else "")
