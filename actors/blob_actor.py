"""The base of roles that read or write pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gems_actors.actor import Actor
from gems_actors.backends import ImagePart
from gems_actors.blobs import blob_store
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError
from protocol.messages import ImageRef


class BlobActor(Actor):
    """An actor with an open blob store; in a class with further bases it comes first."""

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self.blobs = blob_store(config, mesh.address)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep the store open, and what the other bases open."""
        async with self.blobs.open(), super().open():
            yield

    async def read_picture(self, image: ImageRef) -> ImagePart:
        """Return a picture as a chat model sees it: what is transparent is white.

        Raises:
            BlobError: the picture is missing, or its bytes are not a picture.
        """
        from gems_actors.backends.pictures import visible_picture  # most roles handle no pictures

        def read() -> ImagePart:  # in one thread: another turn through one costs more than most pictures
            return visible_picture(self.blobs.get_from_thread(image), image.media_type)

        try:
            return await trio.to_thread.run_sync(read)
        except ValueError as error:
            raise BlobError(f"picture {image.digest}: {error}") from error
