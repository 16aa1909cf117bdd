"""`gems memory`: what was drawn and learnt, and the log that it stands in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import trio
from msgspec import structs
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from actors.memory_store.maintenance import (
    archive_runs,
    check_images,
    check_logs,
    collect_garbage,
    export_records,
    rebuild_index,
    repair_log,
    runs_under_way,
)
from actors.memory_store.sharding import shard_of_folder
from gems_actors.app.interrupts import open_interrupts
from gems_actors.app.memory.access import Place, Questions, open_questions, place_options, question_options
from gems_actors.app.memory.render import (
    LABEL_CELLS,
    Labelled,
    local_time,
    recollection_lines,
    record_line,
    run_lines,
    size_in_words,
    story_lines,
    trajectory_lines,
)
from gems_actors.app.picture_files import encode_json
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.blobs import BlobFolder, blob_folder, resting_store
from gems_actors.cli.exit_codes import DONE, FAILED, INTERRUPTED
from gems_actors.cli.options import between, json_option, one_of
from gems_actors.cli.terminal.draw_view import marks_for
from gems_actors.errors import LogError, RefusedError
from gems_actors.tasks import gather, open_background
from protocol.messages import (
    CountRecords,
    ListRuns,
    ListTrajectories,
    LoggedRecord,
    ReadLog,
    ReadTrajectory,
    RecallExperiences,
    RunBegun,
    RunSummary,
    TrajectoryBegun,
    TrajectoryRecord,
    TrajectoryState,
    TrajectoryStatus,
    TrajectorySummary,
)

ResultT = TypeVar("ResultT")

_STATUSES: tuple[TrajectoryStatus, ...] = ("running", "ended", "failed")
_PLAIN_COLUMNS = 100
_PAGE = 500
_FOLLOW_S = 30.0


@click.group()
def memory() -> None:
    """Look at what was drawn and learnt, and look after its log.

    Without options it is the memory of the configured data_dir, asked of the mesh that has it where one runs.
    """


# ------------------------------------------------------------------------------------------------------- questions


def _parse_status(value: str) -> str:
    if value not in _STATUSES:
        raise click.BadParameter(f"expected one of {', '.join(_STATUSES)}, got {value!r}")
    return value


@memory.command(short_help="List runs, or the trajectories of one.")
@click.argument("run", required=False)
@click.option("--status", type=_parse_status, metavar="|".join(_STATUSES), help="Only the trajectories that are so.")
@question_options
@json_option
def runs(
    place: Place,
    run: str | None,
    status: TrajectoryStatus | None,
    as_json: bool,
) -> int:
    """List all runs, the latest first, or the trajectories of RUN."""
    if run is None and status is None:
        found = _ask(place, _all_runs)
        _print_table(found, run_lines, as_json)
    else:
        trajectories = _ask(place, lambda questions: _all_trajectories(questions, run, status))
        _print_table(trajectories, trajectory_lines, as_json)
    return DONE


@memory.command(short_help="Tell the story of a trajectory.")
@click.argument("trajectory")
@click.option("--thoughts", "has_thoughts", is_flag=True, help="Also show the models' raw reasoning.")
@question_options
@json_option
def show(
    place: Place,
    trajectory: str,
    has_thoughts: bool,
    as_json: bool,
) -> int:
    """Tell the story of TRAJECTORY, an id or the beginning of one: rounds, ticks, prompts, lessons, pictures."""
    if not re.fullmatch(r"[0-9a-f]{4,32}", trajectory):
        raise click.UsageError(f"TRAJECTORY: expected 4 to 32 hexadecimal digits, got {trajectory!r}")
    state = _ask(place, lambda questions: _read_trajectory(questions, trajectory))
    if as_json or state.task is None:
        click.echo(encode_json(state))
        return DONE
    console = _console()
    lines = story_lines(
        state,
        state.task,
        columns=console.width,
        marks=marks_for(sys.stdout.encoding),
        has_colours=console.is_terminal and not console.no_color,
        has_thoughts=has_thoughts,
        place_of=resting_store(place.config).place_of,
    )
    _print_texts(console, lines)
    return DONE


@memory.command(short_help="Show lessons for a prompt.")
@click.argument("prompt")
@click.option("--limit", type=between(1, 20), default=3, metavar="N", help="At most so many lessons (3).")
@question_options
@json_option
def recall(
    place: Place,
    prompt: str,
    limit: int,
    as_json: bool,
) -> int:
    """Show what was learnt where prompts like PROMPT were drawn until all was met."""
    try:
        text = check_prompt(prompt)
    except PromptError as error:
        raise click.UsageError(f"PROMPT: {error}") from error
    recalled = _ask(place, lambda questions: questions.ask(RecallExperiences(prompt=text, limit=limit)))
    if as_json:
        click.echo(encode_json(recalled))
    else:
        _print_texts(_console(), recollection_lines(recalled))
    return DONE


@memory.command(short_help="Show the newest records, and those that come.")
@click.option("-n", "count", type=between(0, 1_000_000), default=10, metavar="N", help="So many records (10).")
@click.option("-f", "--follow", "is_following", is_flag=True, help="Go on with the records that come.")
@click.option("--run", metavar="RUN", help="Only the records of one run.")
@question_options
@json_option
def tail(
    place: Place,
    count: int,
    is_following: bool,
    run: str | None,
    as_json: bool,
) -> int:
    """Show the newest records of the log, one a line."""
    show_record = _record_printer(as_json)
    return trio.run(_tail, place, count, is_following, run, show_record)


# ------------------------------------------------------------------------------------------------------- upkeep


@memory.command(short_help="Prove that a log is whole.")
@click.option("--images", "has_images", is_flag=True, help="Also look at every picture that a record names.")
@place_options
@json_option
def check(place: Place, has_images: bool, as_json: bool) -> int:
    """Look at every byte of the log and its archives; also beside a mesh that runs."""
    found = check_logs(place.folders, tell=_progress("log"))
    if len(place.folders) < place.shards:
        found.notes.append(f"{len(place.folders)} of the {place.shards} shards' logs are here")
    if has_images:
        store, tell = resting_store(place.config), _progress("pictures")
        for folder in place.folders:
            found.problems.extend(trio.run(partial(check_images, folder, store, tell=tell)))
    if as_json:
        click.echo(encode_json({**found._asdict(), "is_whole": not found.problems}))
        return FAILED if found.problems else DONE
    for line in found.problems:
        click.echo(line)
    for line in found.notes:
        click.echo(f"note: {line}")
    archived = f", {found.archived} of them in {_counted(found.archives, 'archive')}" if found.archives else ""
    verdict = _counted(len(found.problems), "problem") if found.problems else "whole"
    click.echo(f"{found.records} records, {size_in_words(found.log_bytes)}{archived}: {verdict}")
    return FAILED if found.problems else DONE


@memory.command(short_help="Derive the index anew.")
@place_options
def rebuild(place: Place) -> int:
    """Derive the index of the log anew; what it answers is the same after."""
    click.echo(f"{sum(rebuild_index(folder) for folder in place.folders)} records")
    return DONE


@memory.command(short_help="Write all records to a file.")
@click.option(
    "--format",
    "format_",
    type=one_of("jsonl", "parquet"),
    default="jsonl",
    metavar="jsonl|parquet",
    help="Format of the records (jsonl).",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Standard output unless given.")
@click.option("--run", metavar="RUN", help="Only the records of one run.")
@place_options
def export(
    place: Place,
    format_: str,
    output: Path | None,
    run: str | None,
) -> int:
    """Write all records, those of archives too, as JSON Lines or as a Parquet table; also beside a mesh that runs."""
    from gems_actors.app.memory.export import write_jsonl, write_parquet

    problems = 0

    def whole() -> Iterator[LoggedRecord]:
        nonlocal problems
        for folder in place.folders:
            for found in export_records(folder, run=run):
                if isinstance(found, LoggedRecord):
                    yield structs.replace(found, shard=shard_of_folder(folder))
                else:
                    problems += 1
                    click.echo(f"gems: {found}", err=True)

    if format_ == "parquet":
        if output is None:
            raise click.UsageError("--output: expected a file for a Parquet table, got none")
        count = write_parquet(whole(), output)
    else:
        count = write_jsonl(whole(), output)
    click.echo(f"{count} records", err=True)
    return FAILED if problems else DONE


@memory.command(short_help="Remove pictures that no record names.")
@click.option("--delete", "is_deleting", is_flag=True, help="Remove them; without this they are only counted.")
@click.option("--alone", "is_alone", is_flag=True, help="No other mesh keeps pictures in the folder that is shared.")
@place_options
def gc(place: Place, is_deleting: bool, is_alone: bool) -> int:
    """Count the pictures that no record of this memory names, or remove them."""
    blobs = _folder_to_clear(place, is_deleting=is_deleting, is_alone=is_alone)
    found = collect_garbage(place.all_folders(), blobs, is_dry_run=not is_deleting)
    done = "removed" if is_deleting else "would be removed with --delete"
    click.echo(
        f"{_counted(found.blobs, 'file')}, {size_in_words(found.bytes)}, {done}; {found.kept} are named and stay"
    )
    return DONE


def _folder_to_clear(place: Place, *, is_deleting: bool, is_alone: bool) -> BlobFolder:
    config = place.config
    blobs = blob_folder(config)
    if blobs is None:
        raise click.UsageError(f"blobs: expected pictures in a folder, got {config.blobs}; let the bucket expire them")
    if is_deleting and not is_alone and blobs.folder != config.data_path / "blobs":
        raise click.UsageError(
            f"--delete: expected --alone with a folder that hosts share, for another mesh's memory may name what is"
            f" in {blobs.folder}"
        )
    return blobs


def _parse_date(value: str) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"expected a date such as 2026-11-21 or 2026-11-21T08:00, got {value!r}") from error


@memory.command(short_help="Move finished runs into an archive.")
@click.option("--before", type=_parse_date, required=True, metavar="DATE", help="Runs that nothing was added to since.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say which.")
@place_options
def archive(
    place: Place,
    before: float,
    is_dry_run: bool,
) -> int:
    """Move whole finished runs out of the live log into an archive, which show, check and export still read."""
    folders = place.all_folders()
    staying: set[str] = set()
    if len(folders) > 1:  # a run goes whole, or stays
        staying = set().union(*(runs_under_way(folder, before) for folder in folders))
    moved = [archive_runs(folder, before, is_dry_run=is_dry_run, staying=staying) for folder in folders]
    for run in sorted(set().union(*(found.runs for found in moved))):
        click.echo(run)
    for found in moved:
        for line in found.kept:
            click.echo(f"stays: {line}", err=True)
        what = f"{_counted(len(found.runs), 'run')}, {found.records} records"
        if found.records and is_dry_run:
            click.echo(f"{what} would be moved", err=True)
        elif found.records:
            sizes = f"{size_in_words(found.live_bytes_before)} -> {size_in_words(found.live_bytes_after)}"
            click.echo(f"{what} moved to {found.path}; the live log {sizes}", err=True)
    if not any(found.records for found in moved):
        click.echo(f"nothing to move from before {local_time(before)}", err=True)
    return DONE


@memory.command(short_help="Go on without what is damaged.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say what is lost.")
@place_options
def repair(place: Place, is_dry_run: bool) -> int:
    """Put a damaged log aside and go on with all records that are whole; what is lost is written down."""
    for folder in place.folders:
        where = f"{folder.name}: " if place.shards > 1 else ""
        found = repair_log(folder, is_dry_run=is_dry_run)
        if found.set_aside is None:
            click.echo(f"{where}{found.records} records, no damage")
            continue
        for line in found.lost:
            click.echo(f"{where}lost: {line}")
        verb = "would be kept, the damaged file moved" if is_dry_run else "kept, the damaged file moved"
        click.echo(f"{where}{found.records} records {verb} to {found.set_aside}")
    return DONE


# ------------------------------------------------------------------------------------------------------- inside


def _ask(place: Place, question: Callable[[Questions], Awaitable[ResultT]]) -> ResultT:
    async def ask() -> ResultT:
        async with open_questions(place) as questions:
            return await question(questions)

    return trio.run(ask)


async def _all_runs(questions: Questions) -> list[RunSummary]:
    page = await questions.ask(ListRuns(limit=_PAGE))
    found = list(page.runs)
    while page.next is not None:
        page = await questions.ask(ListRuns(limit=_PAGE, before=page.next))
        found += page.runs
    return sorted(found, key=lambda run: run.began_at, reverse=True)  # pages come shard by shard


async def _all_trajectories(
    questions: Questions, run: str | None, status: TrajectoryStatus | None
) -> list[TrajectorySummary]:
    page = await questions.ask(ListTrajectories(of_run=run, status=status, limit=_PAGE))
    found = list(page.trajectories)
    while page.next is not None:
        page = await questions.ask(ListTrajectories(of_run=run, status=status, limit=_PAGE, after=page.next))
        found += page.trajectories
    if not found and run is not None and not (await questions.ask(ListRuns(named=(run,)))).runs:
        raise RefusedError(f"RUN: expected one that memory knows (`gems memory runs` lists them), got {run!r}")
    return sorted(found, key=lambda trajectory: trajectory.began_at)  # pages come shard by shard


async def _read_trajectory(questions: Questions, beginning: str) -> TrajectoryState:
    found = (await questions.ask(ListTrajectories(prefix=beginning, limit=2))).trajectories
    if len(found) != 1:
        got = "none" if not found else f"several, such as {found[0].trajectory} and {found[1].trajectory}"
        raise RefusedError(f"TRAJECTORY: expected one that begins with {beginning}, got {got}")
    return await questions.ask(ReadTrajectory(trajectory=found[0].trajectory))


async def _tail(
    place: Place, count: int, is_following: bool, run: str | None, show_record: Callable[[LoggedRecord], None]
) -> int:
    async with open_interrupts() as interrupts, open_questions(place) as questions, open_background() as nursery:
        if is_following and not questions.is_growing:
            where = place.config.data_path
            raise LogError(f"{where}: expected a mesh that writes this log, got none; nothing will follow")
        stopped = trio.CancelScope()

        async def stop() -> None:
            await interrupts.asked.wait()
            stopped.cancel()

        nursery.start_soon(stop)
        with stopped:
            runs_of: dict[str, str] = {}

            async def show(logged: LoggedRecord) -> None:
                if run is None or await _run_of(logged, questions, runs_of) == run:
                    show_record(logged)

            streams = await _open_streams(questions, count)
            skipped = sum(stream.places for stream in streams) - count
            async for logged in _in_order_of_time(streams):
                skipped -= 1
                if skipped < 0:
                    await show(logged)
            if is_following:
                await gather(*(partial(stream.follow, show) for stream in streams))
    return INTERRUPTED if stopped.cancelled_caught else DONE


class _Stream:
    """The records of one shard's log, from a place on."""

    def __init__(self, questions: Questions, shard: int, since: int, end: int) -> None:
        self.places = end - since
        """Up to the end, which is where the log ended when it was looked at; a lost record leaves its place empty."""
        self._questions = questions
        self._shard = shard
        self._since = since
        self._end = end
        self._page: deque[LoggedRecord] = deque()

    async def head(self) -> LoggedRecord | None:
        """Return the next record up to the end without going past it, or None."""
        if not self._page and self._since < self._end:
            await self._read(wait_s=0.0)
        return self._page[0] if self._page and self._page[0].sequence <= self._end else None

    def advance(self) -> None:
        """Go past the next record."""
        self._since = self._page.popleft().sequence

    async def follow(self, show: Callable[[LoggedRecord], Awaitable[None]]) -> None:
        """Show what comes behind the end, for ever."""
        while True:
            while self._page:
                await show(self._page[0])
                self.advance()
            await self._read(wait_s=_FOLLOW_S)

    async def _read(self, wait_s: float) -> None:
        request = ReadLog(shard=self._shard, since=self._since, limit=_PAGE, wait_s=wait_s)
        self._page.extend((await self._questions.ask(request, within_s=3 * _FOLLOW_S)).records)


async def _open_streams(questions: Questions, count: int) -> list[_Stream]:
    """Return a stream of each shard, from so many records before its end."""
    streams: list[_Stream] = []
    for shard in range((await questions.ask(CountRecords())).shards):
        newest = (await questions.ask(CountRecords(shard=shard))).records
        streams.append(_Stream(questions, shard, max(0, newest - count), newest))
    return streams


async def _in_order_of_time(streams: Sequence[_Stream]) -> AsyncIterator[LoggedRecord]:
    while True:
        heads = [(head.at, place, head) for place, stream in enumerate(streams) if (head := await stream.head())]
        if not heads:
            return
        _, place, logged = min(heads, key=lambda item: item[:2])
        streams[place].advance()
        yield logged


async def _run_of(logged: LoggedRecord, questions: Questions, runs_of: dict[str, str]) -> str:
    """Return the run that a record is of; asked once a trajectory."""
    record = logged.record
    if isinstance(record, TrajectoryBegun):
        runs_of[record.trajectory] = record.task.run
    if not isinstance(record, TrajectoryRecord):
        return record.run if isinstance(record, RunBegun) else ""
    if record.trajectory not in runs_of:
        found = (await questions.ask(ListTrajectories(prefix=record.trajectory))).trajectories
        runs_of[record.trajectory] = found[0].run if found else ""
    return runs_of[record.trajectory]


def _record_printer(as_json: bool) -> Callable[[LoggedRecord], None]:
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def show_record(logged: LoggedRecord) -> None:
        if as_json:
            click.echo(encode_json(logged))
        else:
            line = record_line(logged)
            click.echo(line if columns is None or len(line) <= columns else f"{line[: columns - 3]}...")
        sys.stdout.flush()

    return show_record


def _print_table(found: Sequence[ResultT], lines: Callable[[Sequence[ResultT]], Iterator[str]], as_json: bool) -> None:
    if as_json:
        click.echo(encode_json(found))
    elif found:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in lines(found):
            click.echo(line if columns is None or len(line) <= columns else f"{line[: columns - 3]}...")
    else:
        click.echo("none", err=True)


def _console() -> Console:
    """Return standard output as a terminal of its width, or as a page where it is none."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PLAIN_COLUMNS
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def _print_texts(console: Console, lines: Iterator[Text | Labelled]) -> None:
    for line in lines:
        if isinstance(line, Text):
            console.print(line, soft_wrap=not console.is_terminal)
        elif console.is_terminal and not line.is_unbroken:
            grid = Table.grid(Column(width=LABEL_CELLS, no_wrap=True), Column(overflow="fold"))
            grid.add_row(Text(f"  {line.label}", "dim"), line.text)
            console.print(grid)
        else:
            console.print(Text(f"  {line.label}".ljust(LABEL_CELLS)) + line.text, soft_wrap=True)


def _progress(what: str) -> Callable[[int, int], None] | None:
    """Return what writes how far a look has come over one line of a terminal, elsewhere nothing."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None

    def tell(done: int, total: int) -> None:
        end = "\r" if done < total else "\r\x1b[K"
        click.echo(f"\r{what}: {100 * done / max(total, 1):.0f} %{end}", err=True, nl=False)

    return tell


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
