"""Images from any server with OpenAI's Images API: vLLM-Omni, SGLang Diffusion, hosted models.

Source: platform.openai.com, POST /v1/images/generations; `seed` and further fields as vLLM-Omni and SGLang take them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.failover import DEFAULT_RETRY, FailoverPool, RetryPolicy
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ImageConfig

MAX_REPLY_BYTES: Final = 128 * 1024 * 1024


@asynccontextmanager
async def open_openai_images(
    config: ImageConfig, *, retry: RetryPolicy = DEFAULT_RETRY, max_reply_bytes: int = MAX_REPLY_BYTES
) -> AsyncIterator[OpenAIImageModel]:
    """Open the connections to the server in the settings.

    Raises:
        ConfigError: there is no address, or the key cannot be read.
    """
    async with open_model_server("image", "image", config) as server:
        yield OpenAIImageModel(config, server, retry, max_reply_bytes)


class OpenAIImageModel:
    """Requests one picture per call; safe to call from many tasks at once."""

    capacity = 4

    def __init__(self, config: ImageConfig, server: ModelServer, retry: RetryPolicy, max_reply_bytes: int) -> None:
        """Use an open server, which the caller closes."""
        self._config, self._server, self._max_reply_bytes = config, server, max_reply_bytes
        self._servers = FailoverPool((server,), retry)

    def figures(self) -> dict[str, float]:
        """Return the state of the server's concurrency limit; the server itself reports elsewhere."""
        return self._servers.figures()

    def note(self) -> str:
        """Return that the server is down or paused, and why."""
        return self._servers.note()

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request, in the size and format that the server chose.

        Requests to a busy or unreachable server are retried within the caller's deadline.

        Raises:
            OverloadedError: the server was busy until the deadline.
            RefusedError: the server refused the request; carries its message.
            BackendError: the server failed or sent something other than a picture.
        """
        return await self._servers.call(partial(self._draw, request), interactive=request.interactive)

    async def _draw(self, request: ImageRequest, server: ModelServer) -> GeneratedImage:
        reply = await server.post("images/generations", self._fields_of(request), max_bytes=self._max_reply_bytes)
        data = await self._picture_in(reply)
        try:
            return GeneratedImage.from_file(data)
        except ValueError as error:
            raise self._server.unexpected("a PNG, JPEG or WebP picture", data) from error

    def _fields_of(self, request: ImageRequest) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "prompt": request.prompt,
            "n": 1,
            "size": f"{request.width_px}x{request.height_px}",
            "seed": request.seed,
            "response_format": "b64_json",
        }
        if self._config.model is not None:
            fields["model"] = self._config.model
        requested = {  # the request takes precedence over the settings
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance,
            "negative_prompt": request.negative_prompt,
        }
        fields |= self._config.extra | {name: value for name, value in requested.items() if value is not None}
        return {name: value for name, value in fields.items() if name not in self._config.omit}

    async def _picture_in(self, reply: bytes) -> bytes:
        try:
            found = msgspec.json.decode(reply, type=_Reply).data[0]
            if found.b64_json:
                return base64.b64decode(found.b64_json, validate=True)
        except (ValueError, IndexError, binascii.Error, RecursionError) as error:
            raise self._server.unexpected('JSON with a picture in "data"', reply) from error
        if found.url is None:
            raise self._server.unexpected('a picture in "data", as b64_json or as url', reply)
        return await self._server.fetch(found.url, max_bytes=self._max_reply_bytes)


class _Item(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Reply(msgspec.Struct):
    data: list[_Item]
