"""Opens the memory that a command reads: log folders on this host, or the memory role of a running mesh. Lists it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from actors.memory_store.log_folder import LOG_NAME
from actors.memory_store.queries import answer
from actors.memory_store.scatter_gather import answer_from_all_shards
from actors.memory_store.sharding import read_layouts, shard_folder
from actors.memory_store.store import MemoryStore, open_memory_store
from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.mesh_requests import ask_within
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError, RefusedError
from gems_actors.locks import LockHeldError
from gems_actors.shards import address_of_shard
from protocol import messages as m
from protocol.messages import MemoryRequest, ReplyT

_ANSWER_S = 30.0
_PAGE = 500


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
        return [folder for folder in self._shard_folders() if (folder / LOG_NAME).exists()]

    def all_folders(self) -> list[Path]:
        """Return the folders of all shards.

        Raises:
            ConfigError: one of them is not on this host.
        """
        here = self.folders
        for folder in self._shard_folders():
            if folder not in here:
                raise ConfigError(f"{folder}: expected a memory log, got none; --data names another folder")
        return here

    def _shard_folders(self) -> list[Path]:
        return [shard_folder(self.config.data_path, shard) for shard in range(self.shards)]


def locate_memory(config: MeshConfig, data: Path | None, router: str | None) -> MemoryLocation:
    """Return the location of a memory; `data` is a data_dir or the output folder of a bulk, if one was named.

    Raises:
        ConfigError: there is no log, and no mesh to ask.
    """
    if data is not None:
        of_bulk = data / MESH_FOLDER
        config = msgspec.structs.replace(config, data_dir=str((of_bulk if of_bulk.is_dir() else data).absolute()))
    location = MemoryLocation(config, router)
    if router is None and not location.folders:
        try:
            location.all_folders()  # raises, and names the folder that is missing
        except ConfigError as error:
            if config.data_dir is not None:
                raise
            kept = "a draw keeps a memory only in a mesh or a data_dir; `gems history` lists draws and bulks"
            raise ConfigError(f"{error}; {kept}") from error
    return location


@dataclass(frozen=True, slots=True)
class MeshMemory:
    """The memory role of a running mesh, which appends to the log."""

    mesh: Mesh

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        """Return the reply of memory.

        Raises:
            RequestError: the request failed; the class names the failure.
        """
        role = None if request.shard is None else address_of_shard(request.shard)
        return await ask_within(self.mesh, request, role=role, within_s=within_s)


@dataclass(frozen=True, slots=True)
class FolderMemory:
    """Logs that no mesh has open."""

    stores: Sequence[MemoryStore]

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        """Return the reply of memory; there is no time limit, because nothing is waited for."""
        if request.shard is None and len(self.stores) > 1:
            return await answer_from_all_shards(request, len(self.stores), self._ask_shard)
        return await self._ask_shard(request)

    async def _ask_shard(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        return answer(self.stores[request.shard or 0], request)


MemoryReader = MeshMemory | FolderMemory


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
                yield FolderMemory(stores)
                return
        except ConfigError as error:
            holder = error.__cause__
            if not isinstance(holder, LockHeldError) or not holder.note:
                raise
            router = holder.note  # the process that has the folder open left the address of its router in the lock
    async with open_client(router, security=location.config.security) as mesh:
        yield MeshMemory(mesh)


async def list_runs(memory: MemoryReader) -> list[m.RunSummary]:
    """Return all runs, latest first."""
    page = await memory.ask(m.ListRuns(limit=_PAGE))
    found = list(page.runs)
    while page.next is not None:
        page = await memory.ask(m.ListRuns(limit=_PAGE, before=page.next))
        found += page.runs
    return sorted(found, key=lambda run: run.began_at, reverse=True)  # pages come shard by shard


async def list_trajectories(
    memory: MemoryReader, run: str | None, status: m.TrajectoryStatus | None
) -> list[m.TrajectorySummary]:
    """Return the trajectories of one run or of all, with one status or any, oldest first.

    Raises:
        RefusedError: memory does not know the run.
    """
    page = await memory.ask(m.ListTrajectories(of_run=run, status=status, limit=_PAGE))
    found = list(page.trajectories)
    while page.next is not None:
        page = await memory.ask(m.ListTrajectories(of_run=run, status=status, limit=_PAGE, after=page.next))
        found += page.trajectories
    if not found and run is not None and not (await memory.ask(m.ListRuns(named=(run,)))).runs:
        raise RefusedError(f"RUN: expected one that memory knows (`gems memory runs` lists them), got {run!r}")
    return sorted(found, key=lambda trajectory: trajectory.began_at)  # pages come shard by shard


async def read_trajectory(memory: MemoryReader, prefix: str) -> m.TrajectoryState:
    """Return the state of the only trajectory whose id begins with `prefix`.

    Raises:
        RefusedError: no trajectory, or more than one, begins with it.
    """
    found = (await memory.ask(m.ListTrajectories(prefix=prefix, limit=2))).trajectories
    if len(found) != 1:
        got = "none" if not found else f"several, such as {found[0].trajectory} and {found[1].trajectory}"
        raise RefusedError(f"TRAJECTORY: expected one that begins with {prefix}, got {got}")
    return await memory.ask(m.ReadTrajectory(trajectory=found[0].trajectory))
