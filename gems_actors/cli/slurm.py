"""`gems slurm`: a mesh as jobs of a Slurm cluster, from plain batch files that a person may edit."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import trio

from gems_actors.app.picture_files import OutputError, check_writable, write_whole
from gems_actors.app.slurm.batch_files import ADDRESS_NAME, HEAD, SUFFIX, Places, batch_files, is_edited
from gems_actors.app.slurm.jobs import (
    JOBS_NAME,
    SlurmError,
    Task,
    ask_to_drain,
    end_now,
    forget_jobs,
    is_queued_again,
    living_tasks,
    read_settings,
    submit,
)
from gems_actors.app.slurm.rendezvous import address_of, read_rendezvous
from gems_actors.cli.exit_codes import DONE, FAILED, QUEUE_AGAIN
from gems_actors.cli.terminal.mesh_status import status_lines
from gems_actors.client import open_client
from gems_actors.config import load_config
from gems_actors.errors import MeshUnavailableError
from protocol.messages import MeshStatus, ReadStatus

_LOOK_AGAIN_S = 0.5
_LOOK_RARELY_S = 10.0
"""A head may wait for a node for days, and Slurm's controller has others to serve."""
_CONNECT_S = 2.0
_REACH_S = 60.0
"""How long a head that runs has to answer this host, before its agents are started without having heard of it."""
_DRAIN_S = 120.0
"""How long what was asked to drain has, before Slurm ends it."""

_folder_argument = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")


@click.group()
def slurm() -> None:
    """Run a mesh as jobs of a Slurm cluster."""


@slurm.command(short_help="Write the batch files of a mesh.")
@click.argument("file", type=click.Path(path_type=Path), metavar="mesh.toml")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder that all nodes share."
)
@click.option("--force", is_flag=True, help="Overwrite files that were edited.")
def render(file: Path, out: Path, force: bool) -> int:
    """Write the batch files of a mesh: one for its head, and one for each group of its [slurm] table."""
    places = Places(mesh=file.absolute(), folder=out.absolute(), programs=Path(sys.executable).parent)
    files = batch_files(load_config(file), places)
    edited = [name for name in files if (out / name).exists() and is_edited((out / name).read_text())]
    if edited and not force:
        raise click.UsageError(
            f"--out: expected files as they were rendered, got edited ones: {', '.join(edited)}; --force overwrites"
        )
    try:
        check_writable(out)
    except OutputError as error:
        raise click.UsageError(f"--out: {error}") from error
    for name, text in files.items():
        write_whole(out / name, text.encode())
        click.echo(out / name)
    for name in _batch_names(out):
        if name + SUFFIX not in files:
            click.echo(f"gems: {out / name}{SUFFIX} is no group of {file}; `gems slurm up` starts it too", err=True)
    return DONE


@slurm.command(short_help="Give the batch files of a mesh to Slurm.")
@_folder_argument
def up(folder: Path) -> int:
    """Give the batch files of DIR to Slurm: the head, and once it says where it is, its groups.

    What Slurm has any job of is left alone, so the same again starts only what is gone.
    """
    names = _batch_names(folder)
    if not is_queued_again(QUEUE_AGAIN, read_settings()):
        click.echo(f"gems: this cluster has no RequeueExit={QUEUE_AGAIN}: jobs whose time is over stay away", err=True)
    living = {task.name for task in living_tasks(folder)}
    if not living:
        forget_jobs(folder)
    if HEAD not in living:
        (folder / ADDRESS_NAME).unlink(missing_ok=True)
        click.echo(f"{HEAD}: job {submit(folder, HEAD)}")
    address = _await_head(folder)
    for name in names:
        if name != HEAD and name not in living:
            click.echo(f"{name}: job {submit(folder, name)}")
    click.echo(f"mesh at {address}")
    return DONE


@slurm.command(short_help="Have another number of agents of a group.")
@_folder_argument
@click.argument("counts", nargs=-1, required=True, metavar="GROUP=N...")
def scale(folder: Path, counts: tuple[str, ...]) -> int:
    """Have another number of agents of a group, such as `gpu=8`; those too many drain first."""
    names = _batch_names(folder)
    wanted = [_parse_count(text, names) for text in counts]
    for name, count in wanted:
        tasks = [task for task in living_tasks(folder) if task.name == name and not task.is_completing]
        tasks.sort(key=lambda task: (task.is_pending, task.place or 0))
        _drain(folder, tasks[count:])
        taken = {task.place for task in tasks}
        free = (place for place in itertools.count() if place not in taken)
        if more := [str(next(free)) for _ in range(count - len(tasks))]:
            submit(folder, name, f"--array={','.join(more)}")
        click.echo(f"{name}: {len(tasks)} -> {count}")
    return DONE


@slurm.command(short_help="Show the jobs of a mesh, and who does what.")
@_folder_argument
def status(folder: Path) -> int:
    """Show the jobs of a mesh, and what its router says of who does what."""
    _check_is_mesh(folder)
    click.echo("\n".join(_task_lines(living_tasks(folder))))
    line = read_rendezvous(folder / ADDRESS_NAME)
    click.echo(f"\nrouter at {line or 'no address yet'}")
    if not line:
        return FAILED
    click.echo("\n".join(status_lines(trio.run(_read_status, address_of(line)))))
    return DONE


@slurm.command(short_help="Drain a mesh and end its jobs.")
@_folder_argument
def down(folder: Path) -> int:
    """Drain the agents of a mesh and then its head, and end their jobs for good."""
    _check_is_mesh(folder)
    tasks = living_tasks(folder)
    _drain(folder, [task for task in tasks if task.name != HEAD])
    _drain(folder, [task for task in tasks if task.name == HEAD])
    (folder / ADDRESS_NAME).unlink(missing_ok=True)
    click.echo(f"{len(tasks)} jobs ended")
    return DONE


def _check_is_mesh(folder: Path) -> None:
    """Refuse a folder of no mesh; one whose batch files are gone may still have jobs."""
    if not any((folder / name).exists() for name in (f"{HEAD}{SUFFIX}", JOBS_NAME)):
        raise click.UsageError(f"DIR: expected {HEAD}{SUFFIX} of `gems slurm render` in {folder}, got none")


def _batch_names(folder: Path) -> list[str]:
    """Return the head and then the groups of which there are batch files."""
    if not (folder / f"{HEAD}{SUFFIX}").exists():
        raise click.UsageError(f"DIR: expected {HEAD}{SUFFIX} of `gems slurm render` in {folder}, got none")
    groups = sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))
    return [HEAD, *(name for name in groups if name != HEAD)]


def _parse_count(text: str, names: Sequence[str]) -> tuple[str, int]:
    match = re.fullmatch(r"([^=]+)=(\d{1,5})", text)
    if match is None or match[1] == HEAD or match[1] not in names:
        groups = ", ".join(name for name in names if name != HEAD)
        raise click.UsageError(f"GROUP=N: expected one of {groups} and a number, got {text!r}")
    return match[1], int(match[2])


def _await_head(folder: Path) -> str:
    """Return the router's address once it answers, or runs for long without being reached from here."""
    told, look_again_s = "", _LOOK_AGAIN_S
    running_since: float | None = None
    while True:
        head = next((task for task in living_tasks(folder) if task.name == HEAD), None)
        if head is None:
            raise SlurmError(f"{HEAD}: expected a job that runs, got one that ended; {_last_words(folder)}")
        if head.is_pending and head.reason not in (told, "None"):
            told = head.reason
            click.echo(f"{HEAD}: waits for a node ({told})", err=True)
        line = read_rendezvous(folder / ADDRESS_NAME)
        if f" job {head.job} " in line:
            running_since = running_since or time.monotonic()
            try:
                trio.run(_read_status, address_of(line))
            except MeshUnavailableError as error:
                if time.monotonic() < running_since + _REACH_S:
                    continue
                click.echo(f"gems: {error}; its agents may reach it yet", err=True)
            return address_of(line)
        time.sleep(look_again_s)
        look_again_s = min(1.2 * look_again_s, _LOOK_RARELY_S)


async def _read_status(address: str) -> MeshStatus:
    security = load_config().security  # of the environment; a folder of batch files knows no keys
    async with open_client(address, connect_within_s=_CONNECT_S, security=security) as mesh:
        with trio.move_on_after(_CONNECT_S):
            return await mesh.ask(ReadStatus())
    raise MeshUnavailableError(f"{address}: expected a router that answers within {_CONNECT_S:g} s, got none")


def _last_words(folder: Path) -> str:
    log = folder / f"{HEAD}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"{log} ends with: {lines[-1]}" if lines else f"it left nothing in {log}"


def _drain(folder: Path, tasks: Sequence[Task]) -> None:
    """Have tasks end for good, and return when Slurm has none of them any more.

    After some time those do not count whose processes have ended: the node of one may be gone, with nobody to tidy it.
    """
    for task in sorted(tasks, key=lambda task: not task.is_pending):  # those that wait must not take the nodes set free
        ask_to_drain(task)
    ids = {task.id for task in tasks}
    ended_at = time.monotonic() + _DRAIN_S
    while left := [task for task in living_tasks(folder) if task.id in ids]:
        is_overdue = time.monotonic() > ended_at
        if is_overdue and all(task.is_completing for task in left):
            return
        for task in left:
            # One that was asked to drain while it was about to be queued again waits once more.
            if is_overdue or task.is_pending:
                end_now(task)
        time.sleep(_LOOK_AGAIN_S)


def _task_lines(tasks: Sequence[Task]) -> Iterator[str]:
    rows = [("part", "job", "state", "where")]
    rows += [(task.name, task.id, task.state.lower(), task.nodes or task.reason) for task in tasks]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join([*(f"{row[column]:<{widths[column]}}" for column in range(3)), row[3]]).rstrip()
