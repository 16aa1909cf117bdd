"""Images from the servers that come with GEMS' published code: one picture for `POST /generate?prompt=…`.

They take no seed, size or steps, so a picture cannot be drawn again, and has the size that the server chose.

Source: the code published with arXiv 2603.28088.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.failover import DEFAULT_RETRY, RetryPolicy
from gems_actors.backends.image_server import MAX_REPLY_BYTES, ServerImageModel
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ImageConfig


@asynccontextmanager
async def open_gems_images(config: ImageConfig, *, retry: RetryPolicy = DEFAULT_RETRY) -> AsyncIterator[GemsImageModel]:
    """Open the connections to the server in the settings.

    Raises:
        ConfigError: there is no address, the key cannot be read, or the environment does not let it be reached.
    """
    async with open_model_server("image", "image", config) as server:
        yield GemsImageModel(config, server, retry, MAX_REPLY_BYTES)


class GemsImageModel(ServerImageModel):
    """Requests one picture per call by its prompt alone; safe to call from many tasks at once."""

    async def _draw(self, request: ImageRequest, server: ModelServer) -> GeneratedImage:
        fields = {"prompt": request.prompt}
        return await self._decode(await server.post_query("generate", fields, max_bytes=self._max_reply_bytes))
