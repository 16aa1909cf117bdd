"""A bulk on its way: which tasks are drawn, how many at once, what becomes of each.

It has no options: the commands that start one say what it is told.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
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

from gems_actors.app.bulk.folder import (
    MESH_FOLDER,
    BulkFolder,
    RunFile,
    open_bulk_folder,
    run_of,
    settle_failures,
)
from gems_actors.app.bulk.rows import Row, key_of
from gems_actors.app.bulk.tasks import BadTask, InputFormat, Task, count_records, format_of, open_tasks, seed_of
from gems_actors.app.bulk.totals import Standing, Tally, summary_of, summary_table
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.options import budget_of, draw_settings, read_config
from gems_actors.app.picture_files import OutputError, PictureError, encode_json, text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.app.session import (
    LOG_NAME,
    Connection,
    configure_command_log,
    explain_failures,
    open_connection,
    open_place,
    redirect_logs,
    user_in_words,
    watch_complaints,
    watch_mark,
)
from gems_actors.cli.exit_codes import DONE, FAILED, INTERRUPTED
from gems_actors.cli.terminal.bulk_views import View, view_for
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BackendError, CancelledRequestError, GemsError, RequestError, UsageError
from gems_actors.tasks import open_background
from protocol.costs import add_costs
from protocol.envelope import Lane
from protocol.messages import (
    AppendRecord,
    Budget,
    ControlRun,
    DrawPicture,
    DrawSettings,
    ReadStatus,
    RunBegun,
    RunState,
)
from skills import Catalogue, builtin_folder

MAX_CONCURRENCY = 4096
SHOWN_ON_PAGE = 100
"""Trajectories in report.html, unless told otherwise."""
_MIN_CONCURRENCY = 32
_IN_HAND_PER_PICTURE = 4
"""Tasks in hand for each picture that the generators draw at once: while one is drawn others are planned and judged."""
_LOOK_S = 2.0
_LIVE_S, _PLAIN_S = 0.25, 5.0
"""Between two looks at how far it is: written over on a terminal, one below the other elsewhere."""
_LINES_READ_AT_ONCE = 256
STANDARD_INPUT = "standard input"


@dataclass(frozen=True, slots=True)
class Part:
    """Which of a run's tasks are wanted."""

    shard: tuple[int, int] = (1, 1)
    """Of how many the how manieth, by the index of the record."""
    limit: int | None = None
    """So many tasks that are not done, at most."""
    only: frozenset[tuple[int, int]] | None = None
    """Index and sample of those; None: all."""

    @property
    def is_all(self) -> bool:
        """Whether every task is wanted, whatever the limit."""
        return self.shard == (1, 1) and self.only is None

    def has(self, index: int, sample: int) -> bool:
        """Whether a task is wanted, whatever the limit."""
        number, count = self.shard
        return index % count == number - 1 and (self.only is None or (index, sample) in self.only)


@dataclass(slots=True)
class _Bulk:
    """One bulk on its way."""

    run: str
    told: RunFile
    settings: DrawSettings
    models: dict[str, str]
    skills: str
    """Digest of all."""
    part: Part
    tasks: Iterator[Task | BadTask]
    read_at_once: int
    total: int | None
    concurrency: int | None
    folder: BulkFolder
    stream: TextIO
    """For what is said once."""
    view: View
    """Shows how far it is."""
    tally: Tally
    budget: Budget
    max_tokens: int | None
    """Of the whole run."""
    in_hand: int = 0
    changed: int = 0
    """Tasks that were drawn before from something else."""
    elsewhere: int = 0
    """Pictures that were there before, of tasks that are not wanted now."""
    is_all_begun: bool = False
    """Every task that is wanted was looked at, and drawn unless it was done."""
    done: set[tuple[int, int]] = field(default_factory=set)
    """Where only some tasks are wanted: index and sample of those that are done."""
    left: int = 0
    """Tasks that were begun and have no outcome."""
    is_spent: trio.Event = field(default_factory=trio.Event)
    """The run has no tokens left."""
    is_cancelled: trio.Event = field(default_factory=trio.Event)
    """Somebody cancelled the run."""
    cancelled_by: str = ""
    mark: RunState | None = None
    """What keeps the run from going on, if anything does."""
    complaint: str = ""
    """What roles say is wrong."""
    busy_share: float | None = None
    """Of the generators' devices, where they tell."""
    began: float = 0.0
    """By trio's clock."""

    @property
    def total_of_run(self) -> int | None:
        """How many tasks the whole run has, where that is known; others count what is done over all of its parts."""
        return self.total if self.part.is_all else None

    def complain(self, text: str) -> None:
        """Show what is wrong with the next line of progress."""
        self.complaint = text

    def heed(self, mark: RunState | None) -> None:
        """Show who paused the run, or end it."""
        if mark == self.mark:
            return
        self.mark = mark
        if not self.view.is_live:  # where lines are far apart
            print("goes on" if mark is None else f"{mark.state} by {mark.by}", file=self.stream)
        if mark is not None and mark.state == "cancelled":
            self.cancelled_by = mark.by
            self.is_cancelled.set()

    def standing(self, note: str = "") -> Standing:
        """Return how far it is now."""
        seconds, total = trio.current_time() - self.began, self.total
        if total is not None and self.part.limit is not None:
            total = min(total, self.tally.before - self.elsewhere + self.part.limit + self.tally.failed)
        beside = self.elsewhere + self.changed
        return Standing(self.tally, total, seconds, self.in_hand, self.busy_share, note, beside)


def start_bulk(
    told: RunFile,
    file: Path,
    part: Part,
    out: Path,
    router: str | None,
    concurrency: int | None,
    *,
    as_json: bool,
    keeps_failures: bool = False,
) -> int:
    """Draw the tasks of a run that are wanted and not done, and return the exit code.

    Args:
        told: what the run is.
        file: its input; `-` for standard input.
        part: which tasks.
        out: folder to fill.
        router: of the mesh to ask; None: one of its own.
        concurrency: tasks at once; None: as many as keep the generators busy.
        as_json: print progress and summary as JSON, one object a line.
        keeps_failures: those of the last run stay in failed.jsonl.
    """
    config = read_config(None if told.config_file is None else Path(told.config_file), told.overrides)
    settings = draw_settings(config, **told.settings)
    with ExitStack() as stack:
        source, format_ = open_source(stack, file)
        tally = Tally()
        try:
            total = count_records(source, format_)
            tasks = open_tasks(source, format_, told.samples)
            elsewhere = 0

            def take(row: Row) -> None:
                nonlocal elsewhere
                tally.add(row, is_from_before=True)
                elsewhere += not part.has(row.index, row.sample)

            folder = stack.enter_context(open_bulk_folder(out, told, take, keeps_failures=keeps_failures))
        except PromptError as error:
            raise UsageError(f"FILE: {text_of_path(file)}: {error}") from error
        except OutputError as error:
            raise UsageError(f"--out: {error}") from error
        if router is None:
            config = msgspec.structs.replace(config, data_dir=str((out / MESH_FOLDER).absolute()))
        placed = stack.enter_context(open_place(config, router))
        log = out / MESH_FOLDER / LOG_NAME
        stack.enter_context(explain_failures(log))
        stream = stack.enter_context(redirect_logs(log))
        placed = configure_command_log(placed, is_verbose=False)
        work = _Bulk(
            run=run_of(out),
            told=told,
            settings=settings,
            models=models_of(config),
            skills=digest_of_skills(config),
            part=part,
            tasks=tasks,
            read_at_once=1 if file == Path("-") else _LINES_READ_AT_ONCE,
            total=_total_of(part, total, told.samples),
            concurrency=concurrency,
            folder=folder,
            elsewhere=elsewhere,
            stream=stream,
            view=view_for(stream, as_json=as_json),
            tally=tally,
            budget=budget_of(config),
            max_tokens=config.budget.max_tokens_per_run,
        )
        tally.spent = folder.spent
        return trio.run(_run, work, placed, router, as_json)


def open_source(stack: ExitStack, file: Path) -> tuple[BinaryIO, InputFormat]:
    """Open an input, `-` for standard input, until the stack ends, and return it with how it is to be read.

    Raises:
        UsageError: it cannot be read, or is of no kind that is known.
    """
    if file == Path("-"):
        return sys.stdin.buffer, "txt"
    try:
        return stack.enter_context(file.open("rb")), format_of(file)
    except OSError as error:
        raise UsageError(f"FILE: {file}: expected a readable file, got: {error.strerror}") from error
    except PromptError as error:
        raise UsageError(f"FILE: {error}") from error


def _total_of(part: Part, records: int | None, samples: int) -> int | None:
    """Return how many tasks are wanted as far as that can be told before they are read."""
    if part.only is not None:
        return len(part.only)
    if records is None:
        return None
    number, count = part.shard
    return len(range(number - 1, records, count)) * samples


def models_of(config: MeshConfig) -> dict[str, str]:
    """Return what draws and who is asked, by their names."""
    named = {role: config.chat.of(role) for role in config.chat_roles}
    chats = {role: model.model or model.backend for role, model in named.items()}
    return {"image": config.image.shown_name, **({"chat": chats["planner"]} if len({*chats.values()}) == 1 else chats)}


def digest_of_skills(config: MeshConfig) -> str:
    """Return what tells the skills of one mesh from those of another, in 16 hexadecimal digits."""
    folders = (builtin_folder(), *(Path(folder) for folder in config.skills.folders))
    found = sorted((skill.id, skill.description, skill.instructions) for skill in Catalogue(folders).skills())
    return blake2b(msgspec.json.encode(found), digest_size=8).hexdigest()


async def _run(work: _Bulk, config: MeshConfig, router: str | None, as_json: bool) -> int:
    if work.tally.before:
        print(f"continued: {work.tally.before} done before", file=work.stream)
    work.began = trio.current_time()
    try:
        async with (
            open_interrupts() as interrupts,
            open_connection(config, router, interrupts) as connection,
            open_background() as nursery,
        ):
            mesh = connection.mesh
            with registered(_entry_of(work, mesh)):
                await mesh.ask(ControlRun(run=work.run, action="resume", by=user_in_words()))  # who starts it wants it
                nursery.start_soon(_show, work, interrupts)
                nursery.start_soon(watch_complaints, mesh, work.complain)
                nursery.start_soon(watch_mark, mesh, work.run, work.heed)
                limiter = trio.CapacityLimiter(work.concurrency or _MIN_CONCURRENCY)
                nursery.start_soon(_look_at_generators, work, limiter, connection)
                begun = RunBegun(run=work.run, what=work.told.source, total=work.total_of_run)
                await mesh.ask(AppendRecord(record=begun), lane=Lane.BULK)
                await _draw_tasks(work, connection, interrupts, limiter)
    finally:
        work.view.finish(work.standing())
    work.folder.put_in_order()
    if work.part.only is not None:
        settle_failures(work.folder.path, work.done)
    seconds = trio.current_time() - work.began
    work.folder.keep_session(work.tally.pictures - work.tally.before, seconds)
    if work.changed:
        work.tally.recount(work.folder.rows())
        of_these = f"{work.changed} of these {'were' if work.changed > 1 else 'was'} drawn before"
        print(f"{of_these} from another prompt, seed, setting, model or skill, and now anew", file=work.stream)
        work.changed = 0  # each was counted once
    print("\n".join(summary_table(work.tally, seconds)), file=work.stream)
    if work.tally.failed:
        print(f"what failed        {text_of_path(work.folder.path / 'failed.jsonl')}", file=work.stream)
    if not interrupts.asked.is_set():
        await _report(work, router)
    is_whole = work.is_all_begun and not work.left
    is_interrupted = interrupts.asked.is_set() and not is_whole
    is_cancelled = work.is_cancelled.is_set() and not is_whole
    if not is_whole:
        why, how = "interrupted", "the same command"
        if is_cancelled:
            why = f"cancelled by {work.cancelled_by}"
        elif not is_interrupted:
            why, how = f"the budget of {work.max_tokens} tokens is spent", "a larger budget.max_tokens_per_run"
        print(f"gems: {why}: {_how_far(work)}; {how} continues", file=work.stream)
    if as_json:
        place = {"event": "summary", "out": text_of_path(work.folder.path), "run": work.run}
        click.echo(encode_json({**place, **summary_of(work.tally, seconds)}))
    return INTERRUPTED if is_interrupted or is_cancelled else FAILED if work.tally.failed or not is_whole else DONE


def _how_far(work: _Bulk) -> str:
    """Tell how far a run is that came to no end."""
    finished = work.standing().finished
    if work.total is None:
        return f"{finished} done"
    if finished < work.total:
        return f"{finished} of {work.total} done, {work.total - finished} left"
    return f"{work.total} of {work.total} there, not all of them looked at"


def _entry_of(work: _Bulk, mesh: Mesh) -> RegistryEntry:
    folder = text_of_path(work.folder.path.absolute())
    return RegistryEntry(
        run=work.run, what=work.told.source, total=work.total_of_run, address=mesh.address, folder=folder
    )


async def _report(work: _Bulk, router: str | None) -> None:
    """Write the page of a run that has ended; what stands in its way costs the run nothing else."""
    from gems_actors.app.bulk.report import write_report  # Pillow, and the store of memory

    try:
        path = await write_report(work.folder.path, work.told, SHOWN_ON_PAGE, router)
    except GemsError as error:
        print(f"gems: no report: {error}", file=work.stream)
    else:
        print(f"report             {text_of_path(path)}", file=work.stream)


async def _look_at_generators(work: _Bulk, limiter: trio.CapacityLimiter, connection: Connection) -> None:
    """Have as many tasks in hand as keep the generators busy, unless told otherwise, until cancelled."""
    while True:
        with suppress(RequestError):
            roles = (await connection.mesh.ask(ReadStatus())).roles
            generators = [actor for role in roles if role.role == "generator" for actor in role.actors]
            if work.concurrency is None:
                wanted = _IN_HAND_PER_PICTURE * sum(actor.capacity for actor in generators)
                limiter.total_tokens = min(max(_MIN_CONCURRENCY, wanted), MAX_CONCURRENCY)
            shares = [actor.figures["busy_share"] for actor in generators if "busy_share" in actor.figures]
            work.busy_share = sum(shares) / len(shares) if shares else None
        await trio.sleep(_LOOK_S)


async def _draw_tasks(
    work: _Bulk, connection: Connection, interrupts: Interrupts, limiter: trio.CapacityLimiter
) -> None:
    """Draw all tasks, as many at once as may be; after the first interrupt no new ones, but those in hand to their end.

    Once the budget is spent, those in hand end with the round that they are in.
    """
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as reading:

            async def stop_reading(reason: trio.Event) -> None:
                await reason.wait()
                reading.cancel()

            async with open_background() as background:
                background.start_soon(stop_reading, interrupts.asked)
                background.start_soon(stop_reading, work.is_spent)
                background.start_soon(stop_reading, work.is_cancelled)
                _watch_budget(work)
                await trio.lowlevel.checkpoint()
                async for task, sample, key in _read(work):
                    place = object()
                    await limiter.acquire_on_behalf_of(place)
                    done = partial(limiter.release_on_behalf_of, place)
                    nursery.start_soon(_draw_task, work, connection, task, sample, key, done)
                work.is_all_begun = True


async def _read(work: _Bulk) -> AsyncIterator[tuple[Task, int, str]]:
    """Give the tasks that are still to be drawn, with their keys; those that cannot be are failed here."""
    given = 0
    while batch := await trio.to_thread.run_sync(
        lambda: list(islice(work.tasks, work.read_at_once)), abandon_on_cancel=True
    ):
        for task in batch:
            if isinstance(task, BadTask):
                if work.part.has(task.index, 0):
                    _fail(work, task, 0, "input", f"{task.where}: {task.reason}")
                continue
            if work.total is not None and work.part.only is None and work.part.has(task.index, 0):
                work.total += task.samples - work.told.samples
            for sample in range(task.samples):
                if work.part.has(task.index, sample):
                    if work.part.limit is not None and given >= work.part.limit:
                        return
                    key = key_of(task.prompt, *_way_of(work, task, sample), work.models, work.skills)
                    state = work.folder.state_of(task.index, sample, key)
                    if state == "done":
                        _note_done(work, task.index, sample)
                        continue
                    work.changed += state == "changed"
                    given += 1
                    yield task, sample, key


def _way_of(work: _Bulk, task: Task, sample: int) -> tuple[int, DrawSettings]:
    """Return the seed and the settings of one sample."""
    return seed_of(task, work.told.seed, sample), msgspec.structs.replace(work.settings, **task.settings)


async def _draw_task(
    work: _Bulk, connection: Connection, task: Task, sample: int, key: str, done: Callable[[], None]
) -> None:
    work.in_hand += 1
    work.left += 1
    seed, settings = _way_of(work, task, sample)
    try:
        request = DrawPicture(
            run=work.run,
            line=task.index,
            sample=sample,
            version=key,
            prompt=task.prompt,
            seed=seed,
            settings=settings,
            budget=work.budget,
        )
        stop_gracefully = None if work.max_tokens is None else work.is_spent  # to watch an event costs a task for each
        picture = await connection.mesh.ask(request, lane=Lane.BULK, stop_gracefully=stop_gracefully)
        read = connection.blobs.get_from_thread
        keep = partial(work.folder.keep_picture, task, sample, key, picture, read, work.models, seed)
        row = await trio.to_thread.run_sync(keep)
        work.left -= 1
        _note_done(work, task.index, sample)
        work.tally.add(row)
        add_costs(work.tally.spent, picture.spent)
        _watch_budget(work)
    except RequestError as error:
        work.heed(connection.mesh.run_state(work.run))
        is_ended = work.is_spent.is_set() or work.is_cancelled.is_set()
        if not (isinstance(error, CancelledRequestError) and is_ended):  # else it is left for the next time
            work.left -= 1
            _fail(work, task, sample, error.code, str(error))
    except PictureError as error:
        work.left -= 1
        _fail(work, task, sample, BackendError.code, str(error))
    finally:
        work.in_hand -= 1
        done()


def _note_done(work: _Bulk, index: int, sample: int) -> None:
    if work.part.only is not None:
        work.done.add((index, sample))


def _watch_budget(work: _Bulk) -> None:
    if work.max_tokens is not None and work.tally.chats.tokens >= work.max_tokens:
        work.is_spent.set()


def _fail(work: _Bulk, task: Task | BadTask, sample: int, class_: str, reason: str) -> None:
    work.folder.keep_failure(task, sample, class_, reason)
    work.tally.failed += 1


async def _show(work: _Bulk, interrupts: Interrupts) -> None:
    """Say how far it is from time to time, until cancelled."""
    while True:
        with trio.move_on_after(_LIVE_S if work.view.is_live else _PLAIN_S):
            if interrupts.asked.is_set():
                await trio.sleep_forever()
            await interrupts.asked.wait()
        mark = "" if work.mark is None else f"{work.mark.state} by {work.mark.by}"
        note = work.complaint
        if interrupts.asked.is_set():
            note = f"finishing {work.in_hand} in hand, Ctrl-C again stops at once"
        work.view.show(work.standing("; ".join(filter(None, (mark, note)))))
