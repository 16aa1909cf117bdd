"""The mesh that a command or a program uses: its own, which ends with it, or one that already runs."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from gems_actors.app.interrupts import Interrupts
from gems_actors.blobs import BlobStore, blob_store
from gems_actors.client import Mesh, open_client
from gems_actors.config import GatewayConfig, LogConfig, MeshConfig
from gems_actors.errors import CancelledRequestError, ConfigError, GemsError, RequestError, SupervisorError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.roles import OPTIONAL_ROLES
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import open_supervisor
from gems_actors.supervision.zygote_process import ZygoteProcess
from gems_actors.tasks import open_background
from protocol.messages import ReadStatus, RunState

LOG_NAME = "mesh.log"
_MAX_LOG_TAIL_BYTES = 64 * 1024
_NOTES_PERIOD_S = 3.0


@dataclass(frozen=True, slots=True)
class Connection:
    """A mesh that takes requests, and its pictures."""

    mesh: Mesh
    blobs: BlobStore


@contextmanager
def open_session(
    config: MeshConfig, router: str | None, *, redirects_stderr: bool, log: Path | None = None
) -> Iterator[MeshConfig]:
    """Set up this process for work with a mesh and yield the settings for `start_or_connect`.

    Without a `router`, a mesh will be started: it gets a private runtime folder, which is removed at the end. With
    `redirects_stderr`, this process and the roles that it starts write to `log` instead of standard error (by default
    `mesh.log` in that folder, or nothing with a running mesh), and a failure is explained by the last line there.
    Otherwise the roles log warnings only, unless configured.

    Raises:
        ConfigError: a process cannot run with this configuration; its own message where it left one in the log.
        GemsError: the mesh failed or did not answer.
    """
    with ExitStack() as stack:
        if router is None:
            for setting, role, _ in config.loop.hooks():
                if config.role(role).count == 0 and config.router.address is None:  # nobody else can play it
                    raise ConfigError(f"roles.{role}.count: expected at least 1 for loop.{setting}, got 0")
            config = stack.enter_context(open_private_folder(_without_gateway(config)))
        if redirects_stderr:
            log = log or (Path(os.devnull) if router else config.runtime_path / LOG_NAME)
            stack.enter_context(_explain_failures(log))
            stack.enter_context(_redirect_stderr(log))
        elif config.log.level == LogConfig().level:
            config = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, level="warning"))
        configure_logging(config.log, role="client")
        yield config


def _without_gateway(config: MeshConfig) -> MeshConfig:
    """Return the settings of a mesh that serves one command, and does not compete for the address of a gateway."""
    return msgspec.structs.replace(
        config,
        gateway=GatewayConfig(),
        roles={name: settings for name, settings in config.roles.items() if name not in OPTIONAL_ROLES},
    )


@asynccontextmanager
async def start_or_connect(
    config: MeshConfig, router: str | None, interrupts: Interrupts, *, zygote: ZygoteProcess | None = None
) -> AsyncIterator[Connection]:
    """Connect to the mesh at `router`, or start one with `config`, and with `zygote` if given, and drain it at the end.

    Raises:
        MeshUnavailableError: no router answers.
        SupervisorError, ConfigError, AddressInUseError: the mesh cannot be started.
        KeyboardInterrupt: a signal arrived before the mesh was ready.
    """
    if router is not None:
        async with _connect(config, router) as connection:
            yield connection
        return
    is_ready = trio.Event()

    async def raise_when_interrupted() -> None:
        await interrupts.asked.wait()
        if not is_ready.is_set():  # roles may load for minutes, and nothing is in flight that could be finished
            raise KeyboardInterrupt

    async with open_background() as starting, open_supervisor(config, zygote=zygote) as supervisor:
        starting.start_soon(raise_when_interrupted)
        interrupts.on_hurry(supervisor.stop_now)

        async def raise_when_stopped() -> None:
            await supervisor.wait()
            if not interrupts.is_hurried:
                raise SupervisorError("the mesh was stopped from outside")

        async with open_background() as nursery:
            nursery.start_soon(raise_when_stopped)
            await supervisor.ready()
            is_ready.set()
            async with _connect(config, supervisor.address) as connection:
                yield connection


@asynccontextmanager
async def _connect(config: MeshConfig, router: str) -> AsyncIterator[Connection]:
    blobs = blob_store(config, router)
    async with open_client(router, security=config.security) as mesh, blobs.open():
        yield Connection(mesh, blobs)


async def watch_role_notes(mesh: Mesh, show: Callable[[str], None]) -> None:
    """Show the problems that roles report, such as an unreachable model server, until cancelled.

    `show` gets one line whenever other roles have a problem, and an empty text once no role has one.
    """
    reporting: set[str] = set()
    while True:
        await trio.sleep(_NOTES_PERIOD_S)
        notes: dict[str, str] = {}
        with suppress(RequestError):
            actors = [actor for role in (await mesh.ask(ReadStatus())).roles for actor in role.actors]
            notes = {actor.role: actor.note for actor in actors if actor.note and actor.capacity}
        if notes.keys() != reporting:
            reporting = {*notes}
            roles: dict[str, list[str]] = {}
            for role, note in notes.items():
                roles.setdefault(note, []).append(role)
            show("; ".join(f"{', '.join(names)}: {note}" for note, names in roles.items()))


async def watch_run_state(mesh: Mesh, run: str, show: Callable[[RunState | None], None]) -> None:
    """Show the state that pauses or cancels a run, and None once the run resumes, until cancelled."""
    shown: RunState | None = None
    while True:
        if (state := mesh.run_state(run)) != shown:
            shown = state
            show(state)
        await mesh.run_states_changed()


def user_at_host() -> str:
    """Return the name of the user and the host, such as `alice@box`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in a container
        name = str(os.getuid())
    return f"{name}@{os.uname().nodename}"[:200]


@contextmanager
def _redirect_stderr(path: Path) -> Iterator[None]:
    """Append what this process and its children write to standard error to a file."""
    sys.stderr.flush()
    original = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)
        os.close(original)


@contextmanager
def _explain_failures(log: Path) -> Iterator[None]:
    """Add the last error that the mesh's processes wrote to a log since the start of the block to a failure."""
    start = log.stat().st_size if log.exists() else 0
    try:
        yield
    except CancelledRequestError:
        raise
    except ConfigError as error:
        role, _, _ = str(error).partition(":")
        is_of_role = re.compile(rf"gems: {role}(_\d+)?: ").match  # the name of a memory shard ends in its number
        if line := _last_line(log, start, lambda line: is_of_role(line) is not None):
            raise ConfigError(line.removeprefix("gems: ")) from error
        raise
    except (RequestError, SupervisorError) as error:
        line = _last_line(log, start, lambda line: "error" in line.lower() or line.startswith("gems: "))
        is_news = line and str(error) not in line
        raise GemsError(f"{error} (last error in the log: {line})" if is_news else str(error)) from error


def _last_line(log: Path, start: int, is_wanted: Callable[[str], bool]) -> str:
    """Return the last matching line after an offset of a log, or an empty text without one."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - _MAX_LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if is_wanted(line)), "")
