"""Opens the memory that a command reads: log folders on this host, or the memory role of a running mesh."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from actors.memory_store.log_folder import LOG_NAME
from actors.memory_store.queries import answer
from actors.memory_store.scatter_gather import answer_from_all_shards
from actors.memory_store.sharding import read_layouts, shard_folder
from actors.memory_store.store import MemoryStore, open_memory_store
from gems_actors.app.bulk.folder import MESH_FOLDER
from gems_actors.app.mesh_requests import ask_within
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError
from gems_actors.locks import LockHeldError
from gems_actors.shards import address_of_shard
from protocol.messages import MemoryRequest, ReplyT

_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class MemoryLocation:
    """Where memory is, as the user named it."""

    config: MeshConfig
    """Settings of the mesh; their `data_path` holds the folders of memory."""
    router: str | None
    """Address of a running mesh to ask instead of reading the folders."""

    @property
    def shards(self) -> int:
        """Number of logs that the memory consists of."""
        return max(read_layouts(self.config.data_path), default=1)

    @property
    def folders(self) -> list[Path]:
        """Folder of each shard that is on this host: its log with archives and index."""
        folders = [shard_folder(self.config.data_path, shard) for shard in range(self.shards)]
        return [folder for folder in folders if (folder / LOG_NAME).exists()]

    def all_folders(self) -> list[Path]:
        """Return the folders of all shards.

        Raises:
            ConfigError: one of them is not on this host.
        """
        folders = [shard_folder(self.config.data_path, shard) for shard in range(self.shards)]
        for folder in folders:
            if not (folder / LOG_NAME).exists():
                raise ConfigError(f"{folder}: expected a memory log, got none; --data names another folder")
        return folders


def locate_memory(config: MeshConfig, data: Path | None, router: str | None) -> MemoryLocation:
    """Return the location of a memory.

    Args:
        config: settings of the mesh.
        data: a data_dir or the output folder of a bulk, instead of the configured data_dir.
        router: address of a running mesh to ask.

    Raises:
        ConfigError: there is no log, and no mesh to ask.
    """
    if data is not None:
        of_bulk = data / MESH_FOLDER
        config = msgspec.structs.replace(config, data_dir=str((of_bulk if of_bulk.is_dir() else data).absolute()))
    location = MemoryLocation(config, router)
    if router is None and not location.folders:
        location.all_folders()  # raises, and names the folder that is missing
    return location


class MemoryReader(Protocol):
    """Answers requests to memory."""

    is_live: bool
    """A running mesh appends to the log."""

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        """Return the reply of memory.

        Raises:
            RequestError: the request failed; the class names the failure.
        """
        ...


class _MeshMemory:
    """The memory role of a running mesh."""

    is_live = True

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        role = None if request.shard is None else address_of_shard(request.shard)
        return await ask_within(self._mesh, request, role=role, within_s=within_s)


class _FolderMemory:
    """Logs that no mesh has open."""

    is_live = False

    def __init__(self, stores: Sequence[MemoryStore]) -> None:
        self._stores = stores

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = math.inf) -> ReplyT:
        if request.shard is None and len(self._stores) > 1:
            return await answer_from_all_shards(request, len(self._stores), self._ask_shard)
        return await self._ask_shard(request)

    async def _ask_shard(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        return answer(self._stores[request.shard or 0], request)


@asynccontextmanager
async def open_memory(location: MemoryLocation) -> AsyncIterator[MemoryReader]:
    """Open memory for reading: in the mesh that was named, in its folders, or in the mesh that has the folders open.

    Raises:
        MeshUnavailableError: no router answers.
        ConfigError: a log cannot be opened.
    """
    router = location.router
    if router is None:
        try:
            with ExitStack() as stack:
                stores = [stack.enter_context(open_memory_store(folder)) for folder in location.all_folders()]
                yield _FolderMemory(stores)
                return
        except ConfigError as error:
            router = _router_of(error)
    async with open_client(router, security=location.config.security) as mesh:
        yield _MeshMemory(mesh)


def _router_of(error: ConfigError) -> str:
    """Return the router's address that the process which holds the lock of a folder left in it."""
    holder = error.__cause__
    if isinstance(holder, LockHeldError) and holder.note:
        return holder.note
    raise error
