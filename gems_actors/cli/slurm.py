"""`gems slurm`: runs a mesh as jobs of a Slurm cluster, from batch files that a person may edit."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import trio

from gems_actors.app.picture_files import OutputError, check_writable, write_whole
from gems_actors.app.slurm.batch_files import ADDRESS_NAME, HEAD, SUFFIX, BatchPaths, batch_files, is_edited
from gems_actors.app.slurm.jobs import is_requeued, live_tasks, run_slurm
from gems_actors.app.slurm.mesh import batch_names, check_is_mesh, read_status, scale_group, start_mesh, stop_mesh
from gems_actors.app.slurm.rendezvous import address_of, read_rendezvous
from gems_actors.cli.exit_codes import DONE, FAILED, QUEUE_AGAIN
from gems_actors.cli.options import path_option
from gems_actors.cli.suggestions import Group
from gems_actors.cli.terminal.mesh_status import status_lines
from gems_actors.cli.terminal.tables import table_lines
from gems_actors.config import load_config

_folder_argument = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")


@click.group(cls=Group)
def slurm() -> None:
    """Run a mesh as jobs of a Slurm cluster."""


@slurm.command(short_help="Write the batch files of a mesh.")
@click.argument("file", type=click.Path(path_type=Path), metavar="mesh.toml")
@path_option("--out", required=True, metavar="DIR", help_text="Folder that all nodes share.")
@click.option("--force", is_flag=True, help="Overwrite edited files.")
def render(file: Path, out: Path, force: bool) -> int:
    """Write the batch files of a mesh: one for its head, and one for each group of its [slurm] table."""
    paths = BatchPaths(mesh=file.absolute(), folder=out.absolute(), programs=Path(sys.executable).parent)
    files = batch_files(load_config(file), paths)
    edited = [name for name in files if (out / name).exists() and is_edited((out / name).read_text())]
    if edited and not force:
        got = f"edited ones: {', '.join(edited)}; --force overwrites them"
        raise click.UsageError(f"--out: expected unedited batch files, got {got}")
    try:
        check_writable(out)
    except OutputError as error:
        raise click.UsageError(f"--out: {error}") from error
    for name, text in files.items():
        write_whole(out / name, text.encode())
        click.echo(out / name)
    for name in batch_names(out):
        if name + SUFFIX not in files:
            _warn(f"{out / name}{SUFFIX} is not a group of {file}; `gems slurm up` starts it, too")
    return DONE


@slurm.command(short_help="Submit the batch files of a mesh.")
@_folder_argument
def up(folder: Path) -> int:
    """Submit the batch files in DIR: the head and, once its router answers, the groups.

    Batch files that have live jobs are skipped, so that a second `up` submits only what ended.
    """
    batch_names(folder)
    if not is_requeued(QUEUE_AGAIN, run_slurm("scontrol", "show", "config")):
        _warn(f"this cluster has no RequeueExit={QUEUE_AGAIN}: jobs that reach their time limit do not come back")
    address = start_mesh(folder, lambda name, job: click.echo(f"{name}: job {job}"), _warn)
    click.echo(f"mesh at {address}")
    return DONE


@slurm.command(short_help="Change the number of agents of a group.")
@_folder_argument
@click.argument("counts", nargs=-1, required=True, metavar="GROUP=N...")
def scale(folder: Path, counts: tuple[str, ...]) -> int:
    """Change the number of agents of a group, such as `gpu=8`; surplus agents are drained."""
    names = batch_names(folder)
    for name, count in [_parse_count(text, names) for text in counts]:
        click.echo(f"{name}: {scale_group(folder, name, count)} -> {count}")
    return DONE


@slurm.command(short_help="Show the jobs and the status of a mesh.")
@_folder_argument
def status(folder: Path) -> int:
    """Show the jobs of a mesh, and the status that its router reports."""
    check_is_mesh(folder)
    rows = [(task.name, task.id, task.state.lower(), task.nodes or task.reason) for task in live_tasks(folder)]
    click.echo("\n".join(table_lines([("part", "job", "state", "where"), *rows], left=range(3))))
    line = read_rendezvous(folder / ADDRESS_NAME)
    click.echo(f"\nrouter at {line or 'no address yet'}")
    if not line:
        return FAILED
    click.echo("\n".join(status_lines(trio.run(read_status, address_of(line)))))
    return DONE


@slurm.command(short_help="Drain a mesh and end its jobs.")
@_folder_argument
def down(folder: Path) -> int:
    """Drain the agents of a mesh and then its head, and end their jobs for good."""
    check_is_mesh(folder)
    click.echo(f"{stop_mesh(folder)} jobs ended")
    return DONE


def _warn(line: str) -> None:
    click.echo(f"gems: {line}", err=True)


def _parse_count(text: str, names: Sequence[str]) -> tuple[str, int]:
    match = re.fullmatch(r"([^=]+)=(\d{1,5})", text)
    if match is None or match[1] == HEAD or match[1] not in names:
        groups = ", ".join(name for name in names if name != HEAD)
        raise click.UsageError(f"GROUP=N: expected one of {groups} and a number, got {text!r}")
    return match[1], int(match[2])
