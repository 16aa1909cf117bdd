"""Pictures from a model server: decoded whole off the event loop, and asked for again where they are damaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import trio

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.failover import FailoverPool, RetryPolicy
from gems_actors.backends.model_server import ModelServer
from gems_actors.backends.pictures import usable_picture
from gems_actors.config import ImageConfig

MAX_REPLY_BYTES: Final = 128 * 1024 * 1024
_MAX_DECODED_AT_ONCE: Final = 4
"""Maximum pictures decoded at once; a large one takes 256 MiB meanwhile."""

DecodableT = TypeVar("DecodableT")


class ServerImageModel(ABC):
    """Requests one picture per call; safe to call from many tasks at once."""

    capacity = 32
    """Two batches of a server that draws 16 pictures at once: one is drawn, and one waits for it. A server that takes
    fewer gets fewer, by its adaptive concurrency limit."""

    def __init__(self, config: ImageConfig, server: ModelServer, retry: RetryPolicy, max_reply_bytes: int) -> None:
        """Use an open server, which the caller closes."""
        self._config, self._server, self._max_reply_bytes = config, server, max_reply_bytes
        self._servers = FailoverPool((server,), retry)
        self._decoding = trio.CapacityLimiter(_MAX_DECODED_AT_ONCE)

    def figures(self) -> dict[str, float]:
        """Return the state of the server's concurrency limit; the server itself reports elsewhere."""
        return self._servers.figures()

    def note(self) -> str:
        """Return that the server is down or paused, and why."""
        return self._servers.note()

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request, in the size and format that the server chose.

        Requests to a busy or unreachable server, and those answered with a damaged picture, are retried within the
        caller's deadline.

        Raises:
            OverloadedError: the server was busy until the deadline.
            RefusedError: the server refused the request; carries its message.
            BackendError: the server failed or sent something other than a picture.
        """
        return await self._servers.call(partial(self._draw, request), interactive=request.interactive)

    @abstractmethod
    async def _draw(self, request: ImageRequest, server: ModelServer) -> GeneratedImage:
        """Return the picture of one request, which is sent once."""

    async def _decode(self, data: bytes) -> GeneratedImage:
        """Return the picture in a file, decoded whole.

        Raises:
            BackendError: the file cannot be used.
        """
        return await self._in_thread(usable_picture, data)

    async def _in_thread(self, decode: Callable[[DecodableT], GeneratedImage], data: DecodableT) -> GeneratedImage:
        try:
            return await trio.to_thread.run_sync(decode, data, limiter=self._decoding, abandon_on_cancel=True)
        except ValueError as error:
            raise self._server.faulty(str(error)) from error
