"""Pictures from any server with OpenAI's Images API: vLLM-Omni, SGLang Diffusion, hosted models.

Source: platform.openai.com, POST /v1/images/generations; `seed` and further fields as vLLM-Omni and SGLang take them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from typing import Any, Final

import msgspec
from PIL import Image as Pillow

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.failover import FailoverPool
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ImageConfig

MAX_REPLY_BYTES: Final = 128 * 1024 * 1024

_MEDIA_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


@asynccontextmanager
async def open_openai_images(config: ImageConfig) -> AsyncIterator[OpenAIImageModel]:
    """Open the connections to the server that the settings name.

    Raises:
        ConfigError: there is no address, or the key is not where the settings say.
    """
    async with open_model_server("image", "image", config) as server:
        yield OpenAIImageModel(config, server)


class OpenAIImageModel:
    """Asks for one picture a request; safe to call from many tasks at once."""

    capacity = 4

    def __init__(self, config: ImageConfig, server: ModelServer) -> None:
        """Use a server that stays open meanwhile."""
        self._config = config
        self._server = server
        self._servers = FailoverPool((server,))

    def figures(self) -> dict[str, float]:
        """Return how hard the server is pressed; what it does with that it tells its own watchers."""
        return self._servers.figures()

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request, in the size and format that the server chose to give.

        A busy and an absent server are waited for within the deadline.

        Raises:
            OverloadedError: the server had too much to do all the time.
            RefusedError: the server will never draw this; in its words.
            BackendError: the server failed, or what it sent is no picture.
        """
        return await self._servers.ask(partial(self._draw, request), interactive=request.interactive)

    async def _draw(self, request: ImageRequest, server: ModelServer) -> GeneratedImage:
        reply = await server.post("images/generations", self._fields_of(request), max_bytes=MAX_REPLY_BYTES)
        data = await self._picture_in(reply)
        try:
            with Pillow.open(BytesIO(data), formats=tuple(_MEDIA_TYPES)) as picture:
                return GeneratedImage(data, _MEDIA_TYPES[picture.format or ""], *picture.size)
        except (OSError, ValueError, KeyError, Pillow.DecompressionBombError) as error:
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
        asked = {  # what this request asks goes before what the settings say of all of them
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance,
            "negative_prompt": request.negative_prompt,
        }
        fields |= self._config.extra | {name: value for name, value in asked.items() if value is not None}
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
        return await self._server.fetch(found.url, max_bytes=MAX_REPLY_BYTES)


class _Item(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Reply(msgspec.Struct):
    data: list[_Item]
