"""Where the memory is that a command looks at: a folder of this host, or a mesh that runs and has it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Protocol, TypeVar

import click
import msgspec
import trio

from actors.memory_store.queries import answer
from actors.memory_store.scatter_gather import answer_whole
from actors.memory_store.sharding import read_layouts, shard_folder
from actors.memory_store.store import LOG_NAME, MemoryStore, open_memory_store
from gems_actors.app.bulk.folder import MESH_FOLDER
from gems_actors.app.options import read_config
from gems_actors.cli.options import config_option, router_option, set_option
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError, DeadlineError
from gems_actors.locks import LockHeldError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.shards import address_of_shard
from protocol.messages import MemoryRequest, Reply

Command = Callable[..., int]
ReplyT = TypeVar("ReplyT", bound=Reply)

_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where memory is, as the user named it."""

    config: MeshConfig
    """Its `data_path` is the folder above."""
    router: str | None

    @property
    def shards(self) -> int:
        """How many logs the memory has."""
        return max(read_layouts(self.config.data_path), default=1)

    @property
    def folders(self) -> list[Path]:
        """Of each shard that is on this host: its log with archives and index."""
        folders = [shard_folder(self.config.data_path, shard) for shard in range(self.shards)]
        return [folder for folder in folders if (folder / LOG_NAME).exists()]

    def all_folders(self) -> list[Path]:
        """Return the folders of all shards.

        Raises:
            ConfigError: one of them is not here.
        """
        folders = [shard_folder(self.config.data_path, shard) for shard in range(self.shards)]
        for folder in folders:
            if not (folder / LOG_NAME).exists():
                raise ConfigError(f"{folder}: expected a memory log, got none; --data names another folder")
        return folders


def place_options(command: Command) -> Command:
    """Add `--data`, `--config` and `--set`, and give the command the `place` that they name."""
    data = click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder with the memory: a data_dir, or what `gems bulk` filled.",
    )

    @wraps(command)
    def with_place(
        *,
        data: Path | None,
        config_file: Path | None,
        overrides: tuple[str, ...],
        router: str | None = None,
        **others: object,
    ) -> int:
        return command(place=find_place(data, config_file, overrides, router), **others)

    return data(config_option(set_option(with_place)))


def question_options(command: Command) -> Command:
    """Add the same and `--router`, for what a running mesh can be asked."""
    return router_option(place_options(command))


def find_place(data: Path | None, config_file: Path | None, overrides: Sequence[str], router: str | None) -> Place:
    """Return the place that options name.

    Raises:
        ConfigError: a setting is unknown or impossible, or there is no log.
    """
    config = read_config(config_file, overrides)
    if data is not None:
        of_bulk = data / MESH_FOLDER
        config = msgspec.structs.replace(config, data_dir=str((of_bulk if of_bulk.is_dir() else data).absolute()))
    configure_logging(config.log, role="client")
    place = Place(config, router)
    if router is None and not place.folders:
        place.all_folders()  # says which is missing
    return place


class Questions(Protocol):
    """Somebody who answers for memory."""

    is_growing: bool
    """Whether somebody writes the log."""

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        """Return the reply of memory.

        Raises:
            RequestError: of the class that names the failure.
        """
        ...


class _MeshQuestions:
    """A mesh that runs."""

    is_growing = True

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        role = None if request.shard is None else address_of_shard(request.shard)
        with trio.move_on_after(within_s):
            return await self._mesh.ask(request, role=role)
        raise DeadlineError(f"{self._mesh.address}: expected an answer of memory within {within_s:g} s, got none")


class _FolderQuestions:
    """Logs that nobody else has open."""

    is_growing = False

    def __init__(self, stores: Sequence[MemoryStore]) -> None:
        self._stores = stores

    async def ask(self, request: MemoryRequest[ReplyT], within_s: float = math.inf) -> ReplyT:
        if request.shard is None and len(self._stores) > 1:
            return await answer_whole(request, len(self._stores), self._ask_shard)
        return await self._ask_shard(request)

    async def _ask_shard(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        return answer(self._stores[request.shard or 0], request)


@asynccontextmanager
async def open_questions(place: Place) -> AsyncIterator[Questions]:
    """Open what can be asked: the mesh that was named, the folder, or the mesh that has the folder.

    Raises:
        MeshUnavailableError: the mesh cannot be reached.
        ConfigError: the log cannot be opened.
    """
    router = place.router
    if router is None:
        try:
            with ExitStack() as stack:
                stores = [stack.enter_context(open_memory_store(folder)) for folder in place.all_folders()]
                yield _FolderQuestions(stores)
                return
        except ConfigError as error:
            router = _router_of(error)
    async with open_client(router, security=place.config.security) as mesh:
        yield _MeshQuestions(mesh)


def _router_of(error: ConfigError) -> str:
    """Return where the process that has a folder can be asked."""
    holder = error.__cause__
    if isinstance(holder, LockHeldError) and holder.note:
        return holder.note
    raise error
