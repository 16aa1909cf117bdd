"""Where the memory is that a command looks at: a folder of this host, or a mesh that runs and has it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Protocol, TypeVar

import click
import msgspec
import trio

from actors.memory_store.queries import answer
from actors.memory_store.store import FOLDER_NAME, LOG_NAME, MemoryStore, open_memory_store
from gems_actors.cli.bulk_folder import MESH_FOLDER
from gems_actors.cli.options import config_option, read_config, router_option, set_option
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError, DeadlineError
from gems_actors.locks import LockHeldError
from gems_actors.telemetry import configure_logging
from protocol.messages import Reply, Request

Command = Callable[..., int]
ReplyT = TypeVar("ReplyT", bound=Reply)

_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of memory, as the user named it."""

    config: MeshConfig
    """Its `data_path` is the folder above."""
    router: str | None

    @property
    def folder(self) -> Path:
        """Of the log, its archives and its index."""
        return self.config.data_path / FOLDER_NAME


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
    if router is None and not (place.folder / LOG_NAME).exists():
        raise ConfigError(f"{place.folder}: expected a memory log, came none; --data names another folder")
    return place


class Questions(Protocol):
    """Somebody who answers for memory."""

    is_growing: bool
    """Whether somebody writes the log."""

    async def ask(self, request: Request[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        """Return the reply to a request of the role `memory`.

        Raises:
            RequestError: of the class that names the failure.
        """
        ...


class _MeshQuestions:
    """A mesh that runs."""

    is_growing = True

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def ask(self, request: Request[ReplyT], within_s: float = _ANSWER_S) -> ReplyT:
        with trio.move_on_after(within_s):
            return await self._mesh.ask(request)
        raise DeadlineError(f"{self._mesh.address}: expected an answer of memory within {within_s:g} s, came none")


class _FolderQuestions:
    """A log that nobody else has open."""

    is_growing = False

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def ask(self, request: Request[ReplyT], within_s: float = math.inf) -> ReplyT:
        return answer(self._store, request)


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
            with open_memory_store(place.folder) as store:
                yield _FolderQuestions(store)
                return
        except ConfigError as error:
            router = _router_of(error)
    async with open_client(router) as mesh:
        yield _MeshQuestions(mesh)


def _router_of(error: ConfigError) -> str:
    """Return where the process that has a folder can be asked."""
    holder = error.__cause__
    if isinstance(holder, LockHeldError) and holder.note:
        return holder.note
    raise error
