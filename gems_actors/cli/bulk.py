"""`gems bulk`: every prompt of a file, many at once; run again, it continues."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

import click
import msgspec
import trio

from gems_actors.blobs import blob_store
from gems_actors.cli.bulk_folder import MESH_FOLDER, BulkFolder, open_bulk_folder
from gems_actors.cli.connection import (
    LOG_NAME,
    Connection,
    configure_command_log,
    explain_failures,
    open_connection,
    open_place,
    redirect_logs,
    watch_complaints,
)
from gems_actors.cli.endings import DONE, FAILED, INTERRUPTED
from gems_actors.cli.interrupts import Interrupts, open_interrupts
from gems_actors.cli.options import (
    between,
    budget_of,
    config_option,
    draw_settings,
    json_option,
    read_config,
    rounds_option,
    router_option,
    seed_option,
    set_option,
)
from gems_actors.cli.output import OutputError, encode_json, text_of_path
from gems_actors.cli.prompts import BadLine, LineFormat, PromptError, PromptLine, format_of, read_lines
from gems_actors.cli.tally import Tally, progress_line, summary_of, summary_table
from gems_actors.cli.watching import can_show_live
from gems_actors.config import MeshConfig
from gems_actors.errors import CancelledRequestError, RequestError
from gems_actors.tasks import open_background
from protocol.envelope import Lane
from protocol.messages import AppendRecord, Budget, DrawPicture, DrawSettings, RunBegun, add_costs

_MAX_CONCURRENCY = 4096
_LIVE_S, _PLAIN_S = 0.25, 5.0
"""Between two lines of progress: written over on a terminal, one below the other elsewhere."""
_LINES_READ_AT_ONCE = 256


@dataclass(slots=True)
class _Bulk:
    """One bulk on its way."""

    run: str
    source: str
    """What the lines are read from, in words."""
    settings: DrawSettings
    model: str
    lines: Iterator[PromptLine | BadLine]
    lines_at_once: int
    total: int | None
    concurrency: int
    folder: BulkFolder
    stream: TextIO
    is_live: bool
    tally: Tally
    budget: Budget
    max_tokens: int | None
    """Of the whole run."""
    in_hand: int = 0
    is_spent: trio.Event = field(default_factory=trio.Event)
    """The run has no tokens left."""
    complaint: str = ""
    """What roles say is wrong."""

    def complain(self, text: str) -> None:
        """Show what is wrong with the next line of progress."""
        self.complaint = text

    @property
    def seen(self) -> int:
        """Lines that have an outcome."""
        return self.tally.pictures + self.tally.failed


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to fill.")
@rounds_option
@seed_option("Seed of the whole bulk; a line's own seed follows from it and from its place.", default=0)
@click.option("--concurrency", type=between(1, _MAX_CONCURRENCY), default=32, metavar="N", help="Prompts at once (32).")
@config_option
@set_option
@router_option
@json_option
def bulk(
    file: Path,
    out: Path,
    rounds: int | None,
    seed: int,
    concurrency: int,
    config_file: Path | None,
    overrides: tuple[str, ...],
    router: str | None,
    as_json: bool,
) -> int:
    """Draw every prompt of FILE: one a line (.txt), or one JSON object with "prompt" a line (.jsonl).

    `-` reads lines of text from standard input. The same command run again continues where it stopped. Ctrl-C once
    finishes the prompts in hand, twice stops at once.
    """
    config = read_config(config_file, overrides)
    settings = draw_settings(config, rounds=rounds)
    with ExitStack() as stack:
        source, format_ = _open_source(stack, file)
        tally = Tally()
        try:
            folder = stack.enter_context(open_bulk_folder(out, partial(tally.add, is_from_before=True)))
        except OutputError as error:
            raise click.UsageError(f"--out: {error}") from error
        if router is None:
            config = msgspec.structs.replace(config, data_dir=str((out / MESH_FOLDER).absolute()))
        placed = stack.enter_context(open_place(config, router))
        log = out / MESH_FOLDER / LOG_NAME
        stack.enter_context(explain_failures(log))
        stream = stack.enter_context(redirect_logs(log))
        placed = configure_command_log(placed, is_verbose=False)
        work = _Bulk(
            run=_run_name(out, seed, settings),
            source="standard input" if file == Path("-") else text_of_path(file),
            settings=settings,
            model=config.image.shown_name,
            lines=read_lines(source, format_, seed),
            lines_at_once=1 if file == Path("-") else _LINES_READ_AT_ONCE,
            total=_count_lines(source),
            concurrency=concurrency,
            folder=folder,
            stream=stream,
            is_live=not as_json and can_show_live(stream),
            tally=tally,
            budget=budget_of(config),
            max_tokens=config.budget.max_tokens_per_run,
        )
        tally.spent = folder.spent
        return trio.run(_run, work, placed, router, as_json)


def _open_source(stack: ExitStack, file: Path) -> tuple[BinaryIO, LineFormat]:
    if file == Path("-"):
        return sys.stdin.buffer, "txt"
    try:
        return stack.enter_context(file.open("rb")), format_of(file)
    except OSError as error:
        raise click.UsageError(f"FILE: {file}: expected a readable file, came: {error.strerror}") from error
    except PromptError as error:
        raise click.UsageError(f"FILE: {error}") from error


def _run_name(out: Path, seed: int, settings: DrawSettings) -> str:
    """Name the run after what it makes, so that run again it meets its own unfinished trajectories in memory."""
    identity = msgspec.json.encode([str(out.absolute()).encode(errors="replace"), seed, settings])
    return f"bulk-{blake2b(identity, digest_size=8).hexdigest()}"


def _count_lines(source: BinaryIO) -> int | None:
    """Return how many lines hold something, None where they can be read only once."""
    if not source.seekable():
        return None
    start = source.tell()
    count = sum(bool(line.strip()) for line in source)
    source.seek(start)
    return count


async def _run(work: _Bulk, config: MeshConfig, router: str | None, as_json: bool) -> int:
    if work.tally.before:
        print(f"continued: {work.tally.before} done before", file=work.stream)
    began = trio.current_time()
    try:
        async with (
            open_interrupts() as interrupts,
            open_connection(config, router, interrupts) as connection,
            open_background() as nursery,
        ):
            nursery.start_soon(_show, work, began, interrupts)
            nursery.start_soon(watch_complaints, connection.mesh, work.complain)
            begun = RunBegun(run=work.run, what=work.source, total=work.total)
            await connection.mesh.ask(AppendRecord(record=begun), lane=Lane.BULK)
            await _draw_lines(work, connection, interrupts)
    finally:
        _say(work, progress_line(work.tally, work.total, trio.current_time() - began))
        if work.is_live:
            print(file=work.stream)
    seconds = trio.current_time() - began
    print("\n".join(summary_table(work.tally, seconds)), file=work.stream)
    is_interrupted = interrupts.asked.is_set() and work.total != work.seen
    is_cut_short = is_interrupted or (work.is_spent.is_set() and work.total != work.seen)
    if is_cut_short:
        left = f" of {work.total} done, {work.total - work.seen} left" if work.total is not None else " done"
        why = "interrupted" if is_interrupted else f"the budget of {work.max_tokens} tokens is spent"
        how = "the same command" if is_interrupted else "a larger budget.max_tokens_per_run"
        print(f"gems: {why}: {work.seen}{left}; {how} continues", file=work.stream)
    if as_json:
        click.echo(encode_json({"out": str(work.folder.path), "run": work.run, **summary_of(work.tally, seconds)}))
    return INTERRUPTED if is_interrupted else FAILED if work.tally.failed or is_cut_short else DONE


async def _draw_lines(work: _Bulk, connection: Connection, interrupts: Interrupts) -> None:
    """Draw all lines, `concurrency` at once; after the first interrupt no new ones, but those in hand to their end.

    Once the budget is spent, those in hand end with the round that they are in.
    """
    free = trio.Semaphore(work.concurrency)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as reading:

            async def stop_reading(reason: trio.Event) -> None:
                await reason.wait()
                reading.cancel()

            async with open_background() as background:
                background.start_soon(stop_reading, interrupts.asked)
                background.start_soon(stop_reading, work.is_spent)
                _watch_budget(work)
                await trio.lowlevel.checkpoint()
                async for line in _read(work):
                    await free.acquire()
                    nursery.start_soon(_draw_line, work, connection, line, free)


async def _read(work: _Bulk) -> AsyncIterator[PromptLine]:
    """Give the lines that are still to be drawn; those that cannot be are failed here."""
    while batch := await trio.to_thread.run_sync(
        lambda: list(islice(work.lines, work.lines_at_once)), abandon_on_cancel=True
    ):
        for line in batch:
            if isinstance(line, BadLine):
                _fail(work, line, "line", line.reason)
                continue
            match work.folder.state_of(line):
                case "new":
                    yield line
                case "other":
                    reason = "expected the prompt and seed that this line's picture was drawn from, came others"
                    _fail(work, line, "changed", f"{reason}; use another --out")


async def _draw_line(work: _Bulk, connection: Connection, line: PromptLine, free: trio.Semaphore) -> None:
    work.in_hand += 1
    try:
        request = DrawPicture(
            run=work.run,
            line=line.index,
            prompt=line.prompt,
            seed=line.seed,
            settings=work.settings,
            budget=work.budget,
        )
        picture = await connection.mesh.ask(request, lane=Lane.BULK, wind_down=work.is_spent)
        data = await blob_store(connection.config).get(picture.best.image)
        row = await trio.to_thread.run_sync(work.folder.keep_picture, line, picture, data, work.model)
        work.tally.add(row)
        add_costs(work.tally.spent, picture.spent)
        _watch_budget(work)
    except RequestError as error:
        if not (isinstance(error, CancelledRequestError) and work.is_spent.is_set()):  # else it was not begun
            _fail(work, line, error.code, str(error))
    finally:
        work.in_hand -= 1
        free.release()


def _watch_budget(work: _Bulk) -> None:
    if work.max_tokens is not None and work.tally.chats.tokens >= work.max_tokens:
        work.is_spent.set()


def _fail(work: _Bulk, line: PromptLine | BadLine, code: str, message: str) -> None:
    work.folder.keep_failure(line, code, message)
    work.tally.failed += 1


async def _show(work: _Bulk, began: float, interrupts: Interrupts) -> None:
    """Say how far it is from time to time, until cancelled."""
    while True:
        with trio.move_on_after(_LIVE_S if work.is_live else _PLAIN_S):
            if interrupts.asked.is_set():
                await trio.sleep_forever()
            await interrupts.asked.wait()
        line = progress_line(work.tally, work.total, trio.current_time() - began)
        if interrupts.asked.is_set():
            line += f"; finishing {work.in_hand} in hand, Ctrl-C again stops at once"
        elif work.complaint:
            line += f"; {work.complaint}"
        _say(work, line)


def _say(work: _Bulk, line: str) -> None:
    with suppress(OSError):  # a terminal that was closed must not end the work
        print(
            f"\r{line}\x1b[K" if work.is_live else line, file=work.stream, end="" if work.is_live else "\n", flush=True
        )
