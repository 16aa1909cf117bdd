"""`gems memory`: lists and shows what memory holds, and maintains its log."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import trio

from actors.memory_store import maintenance
from gems_actors.app.interrupts import open_interrupts
from gems_actors.app.memory import access
from gems_actors.app.memory.access import MemoryLocation, MemoryReader, open_memory
from gems_actors.app.memory.tail import tail_log
from gems_actors.app.picture_files import encode_json
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.blobs import backing_store, blob_folder
from gems_actors.cli.exit_codes import DONE, FAILED, INTERRUPTED
from gems_actors.cli.options import between, config_options, json_option, one_of, path_option, router_option
from gems_actors.cli.suggestions import Group
from gems_actors.cli.terminal import memory_views as views
from gems_actors.cli.terminal.draw_view import glyphs_for
from gems_actors.cli.terminal.tables import counted, fit_to_terminal, format_bytes
from gems_actors.config import MeshConfig
from gems_actors.errors import LogError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.tasks import open_background
from gems_actors.terminal_text import paint
from protocol.messages import LoggedRecord, RecallExperiences, TrajectoryStatus

ResultT = TypeVar("ResultT")

_LOST_PICTURES = (
    "drawn pictures that are lost are drawn again, from their prompts, seeds and settings, once their tasks need them: "
    "repeat the command of the run, or `gems bulk retry DIR`"
)
_STATUSES: tuple[TrajectoryStatus, ...] = ("running", "ended", "failed")


@click.group(cls=Group)
def memory() -> None:
    """List and show what memory holds, and maintain its log.

    By default, use the memory of the configured data_dir, through the mesh that has it open if one is running.
    """


def _location_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--data`, `--config` and `--set`, and pass the command the `location` that they name."""
    data = path_option("--data", metavar="DIR", help_text="Folder of the memory: a data_dir, or the output of a bulk.")

    @wraps(command)
    def with_location(*, data: Path | None, config: MeshConfig, router: str | None = None, **rest: Any) -> int:
        configure_logging(config.log, role="client")
        return command(location=access.locate_memory(config, data, router), **rest)

    return data(config_options(with_location))


def _query_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--json`, `--router` and the options of the location, for what a running mesh can answer."""
    return router_option(_location_options(json_option(command)))


@memory.command(short_help="List runs, or the trajectories of one.")
@click.argument("run", required=False)
@click.option("--status", type=one_of(*_STATUSES), metavar="|".join(_STATUSES), help="List only this status.")
@_query_options
def runs(location: MemoryLocation, run: str | None, status: TrajectoryStatus | None, as_json: bool) -> int:
    """List all runs, latest first, or the trajectories of RUN."""
    if run is None and status is None:
        views.print_rows(_query(location, access.list_runs), views.run_lines, as_json=as_json)
    else:
        found = _query(location, lambda memory: access.list_trajectories(memory, run, status))
        views.print_rows(found, views.trajectory_lines, as_json=as_json)
    return DONE


@memory.command()
@click.argument("trajectory")
@click.option("--thoughts", "has_reasoning", is_flag=True, help="Include the raw reasoning of the models.")
@_query_options
def show(location: MemoryLocation, trajectory: str, has_reasoning: bool, as_json: bool) -> int:
    """Show a trajectory round by round.

    TRAJECTORY is an id or the beginning of one. Each round has its prompt, verdicts, lesson and pictures.
    """
    if not re.fullmatch(r"[0-9a-f]{4,32}", trajectory):
        raise click.UsageError(f"TRAJECTORY: expected 4 to 32 hexadecimal digits, got {trajectory!r}")
    state = _query(location, lambda memory: access.read_trajectory(memory, trajectory))
    if as_json or state.task is None:
        click.echo(encode_json(state))
        return DONE
    console = views.open_wide_console()
    glyphs, locate = glyphs_for(sys.stdout.encoding), backing_store(location.config).locate
    lines = views.trajectory_view(state, state.task, console, glyphs=glyphs, has_reasoning=has_reasoning, locate=locate)
    views.print_texts(console, lines)
    return DONE


@memory.command(short_help="Show the lessons that fit a prompt.")
@click.argument("prompt")
@click.option("--limit", type=between(1, 20), default=3, metavar="N", help="Maximum number of lessons (default 3).")
@_query_options
def recall(location: MemoryLocation, prompt: str, limit: int, as_json: bool) -> int:
    """Show lessons of trajectories that had a prompt like PROMPT and met every requirement."""
    try:
        request = RecallExperiences(prompt=check_prompt(prompt), limit=limit)
    except PromptError as error:
        raise click.UsageError(f"PROMPT: {error}") from error
    recalled = _query(location, lambda memory: memory.ask(request))
    if as_json:
        click.echo(encode_json(recalled))
    else:
        views.print_texts(views.open_wide_console(), views.recollection_lines(recalled))
    return DONE


@memory.command()
@click.option("-n", "count", type=between(0, 1_000_000), default=10, metavar="N", help="Records to show (default 10).")
@click.option("-f", "--follow", "is_following", is_flag=True, help="Continue with records as they are appended.")
@click.option("--run", metavar="RUN", help="Show only the records of one run.")
@_query_options
def tail(location: MemoryLocation, count: int, is_following: bool, run: str | None, as_json: bool) -> int:
    """Show the newest records of the log, one per line."""

    def show_record(logged: LoggedRecord) -> None:
        click.echo(encode_json(logged) if as_json else fit_to_terminal(views.record_line(logged)))
        sys.stdout.flush()

    return trio.run(_tail, location, count, show_record, run, is_following)


async def _tail(
    location: MemoryLocation, count: int, show: Callable[[LoggedRecord], None], run: str | None, is_following: bool
) -> int:
    async with open_interrupts() as interrupts, open_memory(location) as memory, open_background() as nursery:
        if is_following and isinstance(memory, access.FolderMemory):
            where = location.config.data_path
            raise LogError(f"{where}: expected a running mesh that appends to this log, got none; nothing to follow")
        stopped = trio.CancelScope()
        nursery.start_soon(interrupts.call_at_first, stopped.cancel)
        with stopped:
            await tail_log(memory, count, show, run=run, is_following=is_following)
    return INTERRUPTED if stopped.cancelled_caught else DONE


def _query(location: MemoryLocation, query: Callable[[MemoryReader], Awaitable[ResultT]]) -> ResultT:
    async def run_query() -> ResultT:
        async with open_memory(location) as memory:
            return await query(memory)

    return trio.run(run_query)


@memory.command()
@click.option("--images", "has_images", is_flag=True, help="Check every picture that a record names, too.")
@_location_options
@json_option
def check(location: MemoryLocation, has_images: bool, as_json: bool) -> int:
    """Check every byte of the log and its archives.

    It may run while a mesh appends to the log.
    """
    found = maintenance.check_logs(location.folders, report_progress=_progress("log"))
    if len(location.folders) < location.shards:
        found.notes.append(f"{len(location.folders)} of the {location.shards} shards' logs are here")
    if has_images:
        store, report_progress = backing_store(location.config), _progress("pictures")
        for folder in location.folders:
            check_folder = partial(maintenance.check_images, folder, store, report_progress=report_progress)
            lost = trio.run(check_folder)
            found.problems.extend(lost)
            if lost:
                found.notes.append(_LOST_PICTURES)
    if as_json:
        click.echo(encode_json({**found._asdict(), "is_whole": not found.problems}))
        return FAILED if found.problems else DONE
    for line in found.problems:
        click.echo(line)
    for line in found.notes:
        click.echo(f"note: {line}")
    archived = f", {found.archived} of them in {counted(found.archives, 'archive')}" if found.archives else ""
    result = counted(len(found.problems), "problem") if found.problems else "whole"
    click.echo(f"{counted(found.records, 'record')}, {format_bytes(found.log_bytes)}{archived}: {result}")
    return FAILED if found.problems else DONE


@memory.command()
@_location_options
def rebuild(location: MemoryLocation) -> int:
    """Rebuild the index from the log; query results do not change."""
    click.echo(counted(sum(maintenance.rebuild_index(folder) for folder in location.folders), "record"))
    return DONE


@memory.command()
@click.option("--format", "shape", type=one_of("jsonl", "parquet"), default="jsonl", metavar="jsonl|parquet",
              help="Format of the records (default jsonl).")  # fmt: skip
@path_option("-o", "--output", metavar="FILE", help_text="File to write (default standard output).")
@click.option("--run", metavar="RUN", help="Export only the records of one run.")
@_location_options
def export(location: MemoryLocation, shape: str, output: Path | None, run: str | None) -> int:
    """Export all records as JSON Lines or as a Parquet table.

    Archived records are included. It may run while a mesh appends to the log.
    """
    from gems_actors.app.memory.export import read_records, write_jsonl, write_parquet

    problems: list[str] = []

    def report(problem: str) -> None:
        problems.append(problem)
        click.echo(f"gems: {problem}", err=True)

    records = read_records(location.folders, run, report)
    if shape == "jsonl":
        count = write_jsonl(records, output or sys.stdout.buffer)
    elif output is None:
        raise click.UsageError("--output: expected a file for a Parquet table, got none")
    else:
        count = write_parquet(records, output)
    click.echo(counted(count, "record"), err=True)
    return FAILED if problems else DONE


@memory.command()
@click.option("--delete", "is_deleting", is_flag=True, help="Delete them; without this flag they are only counted.")
@click.option("--alone", "is_alone", is_flag=True, help="Confirm that no other mesh uses a shared folder.")
@_location_options
def gc(location: MemoryLocation, is_deleting: bool, is_alone: bool) -> int:
    """Count or delete the pictures that no record names."""
    config = location.config
    if (blobs := blob_folder(config)) is None:
        raise click.UsageError(f"blobs: expected a folder, got {config.blobs}; use the expiry rules of the bucket")
    if is_deleting and not is_alone and blobs.folder != config.data_path / "blobs":
        raise click.UsageError(
            f"--delete: expected --alone with a folder that hosts share, because another mesh's memory may"
            f" name pictures in {blobs.folder}"
        )
    found = maintenance.collect_garbage(location.all_folders(), blobs, is_dry_run=not is_deleting)
    done = "deleted" if is_deleting else "would be deleted with --delete"
    counts = f"{counted(found.blobs, 'file')}, {format_bytes(found.bytes)}"
    click.echo(f"{counts}, {done}; {found.kept} others are kept")
    return DONE


def _parse_date(value: str) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"expected a date such as 2026-11-21 or 2026-11-21T08:00, got {value!r}") from error


@memory.command()
@click.option("--before", type=_parse_date, required=True, metavar="DATE", help="Archive runs without newer records.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only print which runs would be moved.")
@_location_options
def archive(location: MemoryLocation, before: float, is_dry_run: bool) -> int:
    """Move finished runs out of the live log into an archive.

    Runs are moved whole; `show`, `check` and `export` still read them.
    """
    folders = location.all_folders()
    unfinished: set[str] = set()
    if len(folders) > 1:  # a run that one shard cannot archive stays in all shards
        unfinished = set().union(*(maintenance.unfinished_runs(folder, before) for folder in folders))
    moved = [maintenance.archive_runs(folder, before, is_dry_run=is_dry_run, excluded=unfinished) for folder in folders]
    for run in sorted(set().union(*(found.runs for found in moved))):
        click.echo(run)
    for found in moved:
        for line in found.kept:
            click.echo(f"stays: {line}", err=True)
        what = f"{counted(len(found.runs), 'run')}, {counted(found.records, 'record')}"
        if found.records and is_dry_run:
            click.echo(f"{what} would be moved", err=True)
        elif found.records:
            sizes = f"{format_bytes(found.live_bytes_before)} -> {format_bytes(found.live_bytes_after)}"
            click.echo(f"{what} moved to {found.path}; the live log {sizes}", err=True)
    if not any(found.records for found in moved):
        click.echo(f"nothing to move from before {views.local_time(before)}", err=True)
    return DONE


@memory.command()
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only print what would be lost.")
@_location_options
def repair(location: MemoryLocation, is_dry_run: bool) -> int:
    """Replace a damaged log by one with all undamaged records.

    The damaged log is set aside, and the new log records what was lost.
    """
    for folder in location.folders:
        where = f"{folder.name}: " if location.shards > 1 else ""
        found = maintenance.repair_log(folder, is_dry_run=is_dry_run)
        if found.set_aside is None:
            click.echo(f"{where}{counted(found.records, 'record')}, no damage")
            continue
        for line in found.lost:
            click.echo(f"{where}lost: {line}")
        verb = "would be kept, the damaged file moved" if is_dry_run else "kept, the damaged file moved"
        click.echo(f"{where}{counted(found.records, 'record')} {verb} to {found.set_aside}")
    return DONE


def _progress(what: str) -> Callable[[int, int], None] | None:
    """Return a function that shows progress on one line of a terminal, or None where there is no terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None

    def show(done: int, total: int) -> None:
        end = "\r" if done < total else "\r\x1b[K"
        paint(sys.stderr, f"\r{what}: {100 * done / max(total, 1):.0f} %{end}")
        sys.stderr.flush()

    return show
