"""The mesh that a command asks: one of its own that ends with the command, or one that runs already."""

from __future__ import annotations

import getpass
import io
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec
import trio

from gems_actors.app.interrupts import Interrupts
from gems_actors.blobs import BlobStore, blob_store
from gems_actors.client import Mesh, open_client
from gems_actors.config import LogConfig, MeshConfig
from gems_actors.errors import ConfigError, GemsError, RequestError, SupervisorError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import open_supervisor
from gems_actors.tasks import open_background
from protocol.messages import ReadStatus, RunState

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LOG_NAME = "mesh.log"
_MAX_LOG_TAIL_BYTES = 64 * 1024
_COMPLAINTS_S = 3.0


@dataclass(frozen=True, slots=True)
class Connection:
    """A mesh that can be asked."""

    mesh: Mesh
    blobs: BlobStore
    """Its pictures."""


@contextmanager
def open_place(config: MeshConfig, router: str | None) -> Iterator[MeshConfig]:
    """Give the settings to use: for a mesh of our own those with a folder of its own, removed in the end."""
    with nullcontext(config) if router is not None else open_private_folder(config) as placed:
        yield placed


@asynccontextmanager
async def open_connection(config: MeshConfig, router: str | None, interrupts: Interrupts) -> AsyncIterator[Connection]:
    """Connect to the mesh at `router`, or start one with `config` and drain it in the end.

    Raises:
        MeshUnavailableError: no router answers.
        SupervisorError, ConfigError, AddressInUseError: our own mesh cannot run.
    """
    if router is not None:
        async with _connected(config, router) as connection:
            yield connection
        return
    async with open_supervisor(config) as supervisor:
        interrupts.on_hurry(supervisor.stop_now)

        async def raise_the_end() -> None:
            await supervisor.wait()
            if not interrupts.is_hurried:
                raise SupervisorError("the mesh was ended from outside")

        async with open_background() as nursery:
            nursery.start_soon(raise_the_end)
            await supervisor.ready()
            async with _connected(config, supervisor.address) as connection:
                yield connection


@asynccontextmanager
async def _connected(config: MeshConfig, router: str) -> AsyncIterator[Connection]:
    blobs = blob_store(config, router)
    async with open_client(router, security=config.security) as mesh, blobs.open():
        yield Connection(mesh, blobs)


async def watch_complaints(mesh: Mesh, tell: Callable[[str], None]) -> None:
    """Tell what roles say is wrong, such as a model server that cannot be reached, until cancelled.

    Args:
        mesh: whose roles.
        tell: is told in one line, again when other roles say so, and an empty text when none does any more.
    """
    complaining: set[str] = set()
    while True:
        await trio.sleep(_COMPLAINTS_S)
        notes: dict[str, str] = {}
        with suppress(RequestError):
            actors = [actor for role in (await mesh.ask(ReadStatus())).roles for actor in role.actors]
            notes = {actor.role: actor.note for actor in actors if actor.note and actor.capacity}
        if notes.keys() != complaining:
            complaining = {*notes}
            tell("; ".join(f"{', '.join(who)}: {note}" for note, who in _by_note(notes).items()))


async def watch_mark(mesh: Mesh, run: str, tell: Callable[[RunState | None], None]) -> None:
    """Tell what keeps a run from going on, and None once it goes on, whenever that changes, until cancelled."""
    told: RunState | None = None
    while True:
        if (mark := mesh.run_state(run)) != told:
            told = mark
            tell(mark)
        await mesh.run_states_changed()


def user_in_words() -> str:
    """Return who we are for others to read, such as `alice@box`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an id that has no name here, as in a container
        name = str(os.getuid())
    return f"{name}@{os.uname().nodename}"[:200]


def _by_note(notes: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for role, note in notes.items():
        found.setdefault(note, []).append(role)
    return found


class _Told(io.FileIO):
    """What a command says of its work; where nobody can read it any more it is dropped, and the work goes on."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(memoryview(data))


@contextmanager
def redirect_logs(path: Path | None) -> Iterator[TextIO]:
    """Send what this process and its children write to standard error into a file, and give the real standard error.

    Without a path everything stays as it is.
    """
    if path is None:
        yield sys.stderr
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 2)
    os.close(log)
    told = io.BufferedWriter(_Told(terminal, "w", closefd=False))
    stream = io.TextIOWrapper(told, sys.stderr.encoding, "backslashreplace", line_buffering=True)
    try:
        yield stream
    finally:
        stream.close()
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


def configure_command_log(config: MeshConfig, *, is_verbose: bool) -> MeshConfig:
    """Set up this process's own log, and return the settings for the roles': warnings only, unless configured."""
    if is_verbose and config.log.level == LogConfig().level:
        config = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, level="warning"))
    configure_logging(config.log, role="client")
    return config


@contextmanager
def explain_failures(log: Path | None) -> Iterator[None]:
    """Add to a failure of the mesh what its processes wrote last into a log meanwhile.

    Raises:
        ConfigError: a process cannot run with this configuration; in the words of that process, where there are any.
        GemsError: the mesh failed, or did not answer.
    """
    start = log.stat().st_size if log is not None and log.exists() else 0
    try:
        yield
    except ConfigError as error:
        role, _, _ = str(error).partition(":")
        is_meant = re.compile(rf"gems: {role}(_\d+)?: ").match  # a shard of memory names itself
        if said := _last_line(log, start, lambda line: is_meant(line) is not None) if log else "":
            raise ConfigError(said.removeprefix("gems: ")) from error
        raise
    except (RequestError, SupervisorError) as error:
        said = _last_line(log, start, _is_error) if log else ""
        is_news = said and str(error) not in said
        raise GemsError(f"{error} (last error in the log: {said})" if is_news else str(error)) from error


def _is_error(line: str) -> bool:
    return "error" in line.lower() or line.startswith("gems: ")


def _last_line(log: Path, start: int, is_wanted: Callable[[str], bool]) -> str:
    """Return the last line of its kind that a process wrote behind a place of a log, empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - _MAX_LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if is_wanted(line)), "")
