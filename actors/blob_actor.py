"""The base of roles that read or write pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gems_actors.actor import Actor
from gems_actors.blobs import blob_store
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig


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
