"""Draw the tasks of a file: many at once, each once, resumed where an earlier run stopped."""

from __future__ import annotations

from contextlib import ExitStack, aclosing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import trio

from gems_actors.app import session
from gems_actors.app.bulk.disk_faults import resumable_after_disk_faults
from gems_actors.app.bulk.ending import RunEnding, forget_ending, how_far, keep_ending
from gems_actors.app.bulk.finished.consent import settled
from gems_actors.app.bulk.finished.pruning import Pruned, check_prunable, prune
from gems_actors.app.bulk.finished.removed import Removed, set_aside
from gems_actors.app.bulk.folder import MESH_FOLDER, open_bulk_folder, run_of, settle_failures
from gems_actors.app.bulk.images.allotment import ImageAllotment
from gems_actors.app.bulk.images.places import FreePlace, Slot, UnlimitedImages
from gems_actors.app.bulk.interface import BulkOptions, BulkResult, BulkView, Outcome
from gems_actors.app.bulk.limits import TaskLimit, TokenBudget
from gems_actors.app.bulk.progress import RunProgress
from gems_actors.app.bulk.provenance import drawn_with, write_provenance
from gems_actors.app.bulk.reading.references import KeptReferences
from gems_actors.app.bulk.recipe import check_hooks, recipe_of
from gems_actors.app.bulk.reopening import find_standing, reopen
from gems_actors.app.bulk.rows import DrawnTask, Reopened, Row, rows_of, sort_rows
from gems_actors.app.bulk.servers import LeftUndoneError, Servers
from gems_actors.app.bulk.task_feed import TaskFeed
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.bulk.totals import BulkProgress, Tally
from gems_actors.app.graceful_stop import await_hopeless
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.model_pairing import pairing_warnings
from gems_actors.app.options import budget_of
from gems_actors.app.picture_files import OutputError, PictureError, text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.app.references.pictures import BadReferenceError
from gems_actors.app.run_history import HistoryEntry, remembered
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BackendError, BlobError, CancelledRequestError, GemsError, RequestError, UsageError
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import require_trio
from protocol.costs import add_costs
from protocol.envelope import Lane
from protocol.messages import AppendRecord, ControlRun, DrawPicture, Picture, RunBegun, RunState

SHOWN_IN_REPORT = 100
"""Trajectories in report.html by default."""
_LIVE_PERIOD_S, _PLAIN_PERIOD_S, _FIRST_S = 0.25, 5.0, 1.0
"""Time between two updates of a view: one that is painted over, and one that adds a line each time, to its first."""


async def run(options: BulkOptions, view: BulkView | None = None, interrupts: Interrupts | None = None) -> BulkResult:
    """Draw the selected tasks of a file that are not done yet; without a view, nothing is shown.

    The first SIGINT, SIGTERM or SIGHUP finishes the tasks in flight, the second one stops at once; run again, the same
    options continue. A command that draws several bulks handles signals itself, and passes its `interrupts`.

    Raises:
        UsageError: the input cannot be read, the folder belongs to another run, or finished pictures would be replaced
            without consent.
        ConfigError: the mesh cannot run with this configuration.
        ResumableError: a disk is full or fails.
        GemsError: the mesh failed. The failure of a single task goes to failed.jsonl instead.
    """
    require_trio("app.bulk.run")
    result: BulkResult | None = None
    with resumable_after_disk_faults(options.out):
        async with open_interrupts() if interrupts is None else nullcontext(interrupts) as signals:
            result = await _run(options, view or BulkView(), signals)
    if result is None:  # a further signal, after the one that ended the drawing
        raise KeyboardInterrupt
    return result


async def _run(options: BulkOptions, view: BulkView, interrupts: Interrupts) -> BulkResult:
    config = options.spec.read_config()
    if options.spec.keep_attempts != "all":
        check_prunable(config, options.router)
    with ExitStack() as stack:
        bulk = BulkRun(options, config, view, stack)
        if options.router is None:
            for warning in pairing_warnings(config):
                view.say(f"gems: {warning}")
            config = msgspec.structs.replace(config, data_dir=str((options.out / MESH_FOLDER).absolute()))
        log, redirects = options.out / MESH_FOLDER / session.LOG_NAME, options.redirects_stderr
        opened = session.open_session(config, options.router, redirects_stderr=redirects, log=log)
        config = stack.enter_context(opened)
        memo = stack.enter_context(remembered(bulk.history_entry()))
        result = await bulk.run(config, interrupts)
        await trio.to_thread.run_sync(bulk.keep_provenance)
        memo.note(outcome=result.outcome, done=result.tally.pictures, failed=result.tally.failed)
        return result


class BulkRun:
    """A bulk in progress."""

    def __init__(self, options: BulkOptions, config: MeshConfig, view: BulkView, stack: ExitStack) -> None:
        """Open the input and the folder until the stack ends, and count what is done already.

        Raises:
            UsageError: one of them cannot be opened.
        """
        self._options, self._spec, self._part, self._view = options, options.spec, options.part, view
        self._run, self._config = run_of(options.out), config
        self._recipe = recipe_of(self._spec.seed, self._spec.settings, config)
        self._trajectory_budget = budget_of(config)
        self._token_budget = TokenBudget(config.budget.max_tokens_per_run)
        self._task_limit = TaskLimit(options.concurrency)
        own_config = config if options.router is None else None
        self._servers = Servers(own_config, options.wait_for_servers_s, view.say)
        self._tally = Tally()
        self._progressing = RunProgress(self._tally, self._recipe.settings.max_rounds)
        self._elsewhere = 0
        """Pictures of earlier runs whose tasks are not selected now."""
        self._continued = 0
        """Pictures of earlier runs whose tasks got more images of the run's."""
        self._set_aside_pictures = 0
        """Finished pictures without a record that have left the dataset."""
        self._unfinished = 0
        """Tasks that were started and have no outcome."""
        self._is_cancelled = trio.Event()
        self._cancelled_by = ""
        self._state: RunState | None = None
        """What pauses or cancels the run."""
        self._role_notes = ""
        self._obstacle = ""
        """What kept tasks in flight from being finished after an interrupt."""
        self._images = UnlimitedImages()
        try:
            if (budget := options.image_budget) is not None:
                self._images = ImageAllotment(budget, options.out / MESH_FOLDER, self._recipe.settings.candidates)
            self._feed = TaskFeed(
                options.file, options.out, self._spec.record_options, self._part, self._recipe, options.consent, stack
            )
            opened = open_bulk_folder(
                options.out,
                self._spec,
                self._count_earlier,
                keeps_failures=options.keeps_failures,
                agree=self._feed.agree,
                access=config.access,
            )
            self._references = KeptReferences(self._feed.sources)
            self._folder = stack.enter_context(opened)
            self._removed = Removed(options.out, self._recipe)
        except PromptError as error:
            raise UsageError(f"FILE: {text_of_path(options.file)}: {error}") from error
        except OutputError as error:
            raise UsageError(f"--out: {error}") from error
        self._tally.spent = self._folder.spent
        self._images.begin(self._feed.total)
        forget_ending(options.out)

    async def run(self, config: MeshConfig, interrupts: Interrupts) -> BulkResult:
        """Draw with a mesh of these settings, put the dataset in order and write the report."""
        if self._tally.before:
            self._view.say(f"continued: {self._tally.before} done before")
            if self._feed.agreement.consent == "keep":
                self._view.say("finished pictures stay as they are (--keep); --redraw draws those that differ again")
        self._progressing.start()
        try:
            with interrupts.hurried_scope():
                async with (
                    session.start_or_connect(config, self._options.router, interrupts) as connection,
                    open_background() as nursery,
                ):
                    with registered(self._entry(connection.mesh.address)), self._servers.scope:
                        await self._announce(connection, interrupts, nursery)
                        await self._draw_tasks(connection, interrupts)
        finally:
            self._view.finish(self._progress())
        self._folder.check_in_place()
        self._set_aside()
        if not self._folder.ledger.is_in_order:
            sort_rows(self._folder.metadata_path, self._folder.ledger)
        self._feed.refresh(self._folder.metadata_path)
        if self._part.only is not None:
            settle_failures(self._folder.path, self._feed.done)
        seconds = self._progressing.seconds
        self._folder.keep_session(self._tally.pictures - self._tally.before, seconds)
        if self._feed.refusal is not None:
            raise self._feed.refusal
        if self._feed.is_settled and not self._unfinished:
            self._folder.keep_run(settled(self._folder.run, self._recipe))
        redrawn, self._feed.redrawn = self._feed.redrawn, 0  # those before are gone: each picture counts once from here
        if redrawn or self._set_aside_pictures:
            before = self._tally.before - self._set_aside_pictures
            self._tally = Tally(before=before, failed=self._tally.failed, spent=self._tally.spent)
            for row in rows_of(self._folder.path):
                self._tally.add(row)
        await trio.lowlevel.checkpoint()  # a further signal counts from here on
        outcome, unfinished = self._outcome(is_interrupted=interrupts.asked.is_set())
        report, report_error = (None, "") if outcome == "interrupted" else await self._write_report()
        self._keep_ending(unfinished)
        pruned = await self._prune()
        return BulkResult(
            run=self._run,
            folder=self._folder.path,
            tally=self._tally,
            seconds=seconds,
            outcome=outcome,
            unfinished=unfinished,
            redrawn=0 if self._part.continuation else redrawn - self._continued,
            continued=redrawn if self._part.continuation else self._continued,
            images=self._images.figures(self._feed.total),
            report=report,
            report_error=report_error,
            pruned=pruned,
        )

    def _restore(self, task: Task, sample: int, key: str) -> bool:
        """Return whether the picture of a task was set aside before and is back in the dataset now."""
        row = self._removed.take(task.ref, sample, key, task.index, self._folder.keep_rows)
        if row is not None:
            self._tally.add(row, is_from_before=True)
        return row is not None

    def _set_aside(self) -> None:
        """Move finished pictures whose record is gone out of the dataset."""
        self._removed.close()
        if self._removed.returned:
            self._view.say(f"finished pictures back in the dataset with their records: {self._removed.returned}")
        if self._feed.gone and self._feed.bad_records:  # one of them may be the record of such a picture
            self._view.say("finished pictures without a record stay, because some records cannot be read")
        elif self._feed.gone:
            moved = self._set_aside_pictures = set_aside(self._folder.path, self._feed.is_gone)
            if moved:
                self._folder.ledger.is_in_order = False  # their rows are still in the file, without pictures
                folder = text_of_path(self._folder.path / "removed")
                self._view.say(f"finished pictures without a record: {moved}, moved to {folder}")

    def _count_earlier(self, row: Row) -> None:
        self._tally.add(row, is_from_before=True)
        self._progressing.count_earlier(row)
        self._elsewhere += not self._part.has(row.ref, row.index, row.sample)
        self._images.note_row(row.ref, row.sample, row.images, row.outcome)

    @property
    def _total_of_run(self) -> int | None:
        """Tasks of the whole run where they are known; memory and registry count the done tasks of all its parts."""
        return self._feed.total if self._part.is_all else None

    def history_entry(self) -> HistoryEntry:
        """Return the entry of this run in the user's history."""
        folder = text_of_path(self._folder.path.absolute())
        return HistoryEntry(run=self._run, kind="bulk", what=self._spec.source, where=folder, total=self._total_of_run)

    def _entry(self, address: str) -> RegistryEntry:
        folder = text_of_path(self._folder.path.absolute())
        return RegistryEntry(
            run=self._run, what=self._spec.source, total=self._total_of_run, address=address, folder=folder
        )

    async def _announce(self, connection: session.Connection, interrupts: Interrupts, nursery: trio.Nursery) -> None:
        """Resume the run if it was paused or cancelled, start what watches it, and record its start."""
        mesh = connection.mesh
        await mesh.ask(ControlRun(run=self._run, action="resume", by=session.user_at_host()))
        nursery.start_soon(self._progressing.follow, mesh, self._run)
        nursery.start_soon(self._progressing.read_ahead, self._options.file, self._spec.record_options)
        nursery.start_soon(self._show_progress, interrupts)
        nursery.start_soon(session.watch_role_notes, mesh, self._take_role_notes)
        nursery.start_soon(session.watch_run_state, mesh, self._run, self._take_state)
        nursery.start_soon(self._task_limit.follow_generators, mesh)
        nursery.start_soon(self._servers.watch, mesh)
        nursery.start_soon(self._end_when_hopeless, mesh, interrupts)
        for reason in (interrupts.asked, self._token_budget.is_spent, self._is_cancelled):
            nursery.start_soon(self._servers.end_at, reason)
        self._images.end_at(nursery, self._token_budget.is_spent, interrupts.asked, self._is_cancelled)
        begun = RunBegun(run=self._run, what=self._spec.source, total=self._total_of_run)
        await mesh.ask(AppendRecord(record=begun), lane=Lane.BULK)

    async def _draw_tasks(self, connection: session.Connection, interrupts: Interrupts) -> None:
        """Draw all tasks; start no new ones after an interrupt, a cancellation or the end of the budget."""
        images = self._images
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as reading:

                async def stop_reading(reason: trio.Event) -> None:
                    await reason.wait()
                    reading.cancel()

                async with (
                    open_background() as background,
                    aclosing(self._feed.tasks(self._fail_record, self._restore, images.wants)) as tasks,
                ):
                    for reason in (interrupts.asked, self._token_budget.is_spent, self._is_cancelled):
                        background.start_soon(stop_reading, reason)
                    self._token_budget.check(self._tally.chats.tokens)
                    await trio.lowlevel.checkpoint()
                    async for task, sample, key in tasks:
                        await self._await_servers()
                        await images.wait_for_room()
                        slot = Slot(self._task_limit.limiter)
                        await slot.acquire()
                        place = images.join(self._recipe.settings_of(task).candidates, slot, self._feed.total)
                        nursery.start_soon(self._draw_task, connection, task, sample, key, place)
            has_read_all = self._feed.has_read_all
            images.end(None if has_read_all else self._feed.total, has_read_all=has_read_all)

    async def _end_when_hopeless(self, mesh: Mesh, interrupts: Interrupts) -> None:
        """Stop waiting after an interrupt for tasks in flight that nobody can finish; the next run draws them."""
        self._obstacle = await await_hopeless(mesh, self._run, interrupts.asked)
        self._servers.scope.cancel()

    async def _await_servers(self) -> None:
        """Wait until the servers are ready, which takes no time once they were; meanwhile the clock stands still."""
        self._progressing.pause(is_paused=True)
        await self._servers.wait_until_ready()
        self._progressing.pause(is_paused=self._is_paused)

    @property
    def _is_paused(self) -> bool:
        return self._state is not None and self._state.state == "paused"

    async def _draw_task(
        self, connection: session.Connection, task: Task, sample: int, key: str, place: FreePlace
    ) -> None:
        self._unfinished += 1
        request = self._recipe.request_of(self._run, task, sample, key, self._trajectory_budget)
        row: Row | None = None
        is_left = True  # to the next run, which draws it
        self._progressing.begin(request)
        try:
            references = await self._servers.stop_at_bad_disk(partial(self._references.keep, task, connection.blobs))
            request = msgspec.structs.replace(request, references=references)
            if place.had_images:
                reopened = await find_standing(connection.mesh, request)
            else:
                reopened = await reopen(connection.mesh, request, self._part.continuation)
            draw = partial(self._draw_and_keep, connection, request, task, key, reopened, place)
            try:
                found = await draw()
            except BlobError as error:  # asked for again, a finished trajectory has its lost pictures drawn again
                self._view.say(f"drawing a lost picture again: {error}")
                await self._references.keep(task, connection.blobs, again=True)
                found = await draw()
            is_left = False
            if found is not None:
                drawn, row = found
                self._feed.take_drawn(task, sample)
                self._tally.add(row)
                add_costs(self._tally.spent, drawn.spent)
                self._token_budget.check(self._tally.chats.tokens)
        except RequestError as error:
            self._take_state(connection.mesh.run_state(self._run))
            is_ending = self._token_budget.is_spent.is_set() or self._is_cancelled.is_set()
            is_left = isinstance(error, CancelledRequestError) and is_ending
            self._references.note_failure(task, error)
            if not is_left:
                self._fail(task, sample, error.code, str(error))
        except LeftUndoneError:
            pass
        except (PictureError, BadReferenceError) as error:
            is_left = False
            class_ = BackendError.code if isinstance(error, PictureError) else "input"
            self._fail(task, sample, class_, str(error))
        finally:
            self._unfinished -= not is_left
            self._progressing.end(request, row)
            place.leave(is_kept=not is_left)

    async def _draw_and_keep(
        self,
        connection: session.Connection,
        request: DrawPicture,
        task: Task,
        key: str,
        reopened: Reopened,
        place: FreePlace,
    ) -> tuple[DrawnTask, Row] | None:
        """Draw a task and write its picture into the dataset; None if it is there already and got no more images."""
        stop = self._token_budget.stop_gracefully

        async def ask(request: DrawPicture) -> Picture:
            draw = partial(connection.mesh.ask, request, lane=Lane.BULK, stop_gracefully=stop)
            return await self._servers.keep_asking(draw)

        picture = await place.draw(request, ask)
        if place.had_images == len(picture.attempts):
            return None
        if place.had_images:
            self._feed.note_continued()
            self._continued += 1
        models, skill_digest = self._recipe.models, self._recipe.skills.get(picture.skill or "", "")
        check_hooks(picture, models)
        drawn = DrawnTask(task, request.sample, key, picture, models, request.seed, skill_digest, reopened)
        keep = partial(self._folder.keep_picture, drawn, connection.blobs.get_from_thread)
        return drawn, await self._servers.stop_at_bad_disk(partial(trio.to_thread.run_sync, keep))

    def _fail_record(self, record: BadTask) -> None:
        self._fail(record, 0, "input", f"{record.where}: {record.reason}")

    def _fail(self, task: Task | BadTask, sample: int, class_: str, reason: str) -> None:
        self._folder.keep_failure(task, sample, class_, reason)
        self._tally.failed += 1

    def _take_role_notes(self, notes: str) -> None:
        self._role_notes = notes

    def _take_state(self, state: RunState | None) -> None:
        """Show who paused or resumed the run, and end it once it is cancelled."""
        if state == self._state:
            return
        self._state = state
        self._progressing.pause(is_paused=self._is_paused)
        if not self._view.is_live:  # the next line of progress may be seconds away
            self._view.say("resumed" if state is None else f"{state.state} by {state.by}")
        if state is not None and state.state == "cancelled":
            self._cancelled_by = state.by
            self._is_cancelled.set()

    async def _show_progress(self, interrupts: Interrupts) -> None:
        """Show the progress from time to time until cancelled."""
        period_s = _FIRST_S
        while True:
            with trio.move_on_after(_LIVE_PERIOD_S if self._view.is_live else period_s):
                if interrupts.asked.is_set():
                    await trio.sleep_forever()
                await interrupts.asked.wait()
            period_s = _PLAIN_PERIOD_S
            state = "" if self._state is None else f"{self._state.state} by {self._state.by}"
            note = self._servers.note() or self._role_notes
            if interrupts.asked.is_set():
                note = f"finishing {self._progressing.in_flight} tasks in flight; Ctrl-C again stops at once"
            self._view.show(self._progress("; ".join(filter(None, (state, note)))))

    def _progress(self, note: str = "") -> BulkProgress:
        total = self._feed.total
        if total is not None and self._part.limit is not None:
            total = min(total, self._tally.before - self._elsewhere + self._part.limit + self._tally.failed)
        gone = self._feed.gone - self._set_aside_pictures if self._part.is_all else 0
        uncounted = self._elsewhere + self._feed.redrawn + gone
        progress = self._progressing.at(total, uncounted=uncounted, busy_share=self._task_limit.busy_share, note=note)
        return replace(progress, images=self._images.figures(self._feed.total))

    async def _write_report(self) -> tuple[Path | None, str]:
        """Write the page of the run; return its path, or None and the reason. A run needs no report to succeed."""
        from gems_actors.app.bulk.report.writing import write_report  # loads Pillow and the memory store

        try:
            return await write_report(self._folder.path, self._folder.run, SHOWN_IN_REPORT, self._options.router), ""
        except GemsError as error:
            return None, str(error)

    async def _prune(self) -> Pruned | None:
        """Drop the attempts that are not to be kept; a run that has drawn everything does not fail for their sake."""
        kept = self._spec.keep_attempts
        if kept == "all":
            return None
        try:
            return await trio.to_thread.run_sync(partial(prune, self._folder.path, kept, is_locked=True))
        except OutputError as error:
            self._view.say(f"all attempts are kept: {error}")
            return None

    def _outcome(self, *, is_interrupted: bool) -> tuple[Outcome, str]:
        """Return the outcome, and for a run that ended early why and how to continue it."""
        if self._feed.has_ended and not self._unfinished:
            return "failed" if self._tally.failed else "done", ""
        if self._is_cancelled.is_set() or is_interrupted:
            why = f"cancelled by {self._cancelled_by}" if self._is_cancelled.is_set() else "interrupted"
            why += f", and tasks in flight cannot be finished: {self._obstacle}" if self._obstacle else ""
            return "interrupted", f"{why}: {self._how_far()}; the same command continues"
        if self._servers.stopped:
            return "unavailable", f"{self._servers.stopped}: {self._how_far()}; the same command continues"
        why = f"the budget of {self._token_budget.max_tokens} tokens is spent"
        return "failed", f"{why}: {self._how_far()}; a larger budget.max_tokens_per_run continues"

    def keep_provenance(self) -> None:
        """Write what the pictures were drawn with; a run that has drawn everything does not fail for its sake."""
        has_drawn = self._tally.pictures > self._tally.before or self._continued
        drawn = drawn_with(self._config, self._servers.told, self._options.router) if has_drawn else None
        try:
            write_provenance(self._folder.path, self._spec, self._images.plan, self._tally.skills, self._config, drawn)
        except OutputError as error:
            self._view.say(f"gems: no provenance: {error}")

    def _keep_ending(self, unfinished: str) -> None:
        """Remember how the run ended; a part of it that ends well says nothing about the rest."""
        if unfinished or (self._part.is_all and self._part.limit is None):
            finished, is_complete = self._progress().finished, not unfinished
            ending = RunEnding(finished=finished, total=self._feed.total, is_complete=is_complete, why=unfinished)
            keep_ending(self._folder.path, ending)

    def _how_far(self) -> str:
        return how_far(self._progress().finished, self._feed.total)
