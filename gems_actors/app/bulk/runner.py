"""Draw the tasks of a file: many at once, each once, resumed where an earlier run stopped."""

from __future__ import annotations

from contextlib import ExitStack, aclosing, nullcontext
from functools import partial
from pathlib import Path

import msgspec
import trio

from gems_actors.app import session
from gems_actors.app.bulk.disk_faults import resumable_after_disk_faults
from gems_actors.app.bulk.ending import RunEnding, how_far, keep_ending
from gems_actors.app.bulk.finished.consent import settled
from gems_actors.app.bulk.finished.pruning import Pruned, check_prunable, prune
from gems_actors.app.bulk.finished.removed import set_aside
from gems_actors.app.bulk.folder_files import MESH_FOLDER, settle_failures
from gems_actors.app.bulk.images.places import Slot
from gems_actors.app.bulk.interface import BulkOptions, BulkResult, BulkView, Outcome
from gems_actors.app.bulk.provenance import drawn_with, write_provenance
from gems_actors.app.bulk.rows import rows_of, sort_rows
from gems_actors.app.bulk.running.drawing import TaskDrawer
from gems_actors.app.bulk.running.opening import OpenBulk
from gems_actors.app.bulk.running.watching import RunWatch
from gems_actors.app.bulk.tasks import Task
from gems_actors.app.bulk.totals import Tally
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.model_pairing import pairing_warnings
from gems_actors.app.picture_files import OutputError, text_of_path
from gems_actors.app.run_history import remembered
from gems_actors.app.run_registry import registered
from gems_actors.config import MeshConfig
from gems_actors.errors import GemsError
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import require_trio
from protocol.envelope import Lane
from protocol.messages import AppendRecord, ControlRun, RunBegun

SHOWN_IN_REPORT = 100
"""Trajectories in report.html by default."""


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
        bulk = OpenBulk(options, config, view, stack)
        if options.router is None:
            for warning in pairing_warnings(config):
                view.say(f"gems: {warning}")
            config = msgspec.structs.replace(config, data_dir=str((options.out / MESH_FOLDER).absolute()))
        log, redirects = options.out / MESH_FOLDER / session.LOG_NAME, options.redirects_stderr
        opened = session.open_session(config, options.router, redirects_stderr=redirects, log=log)
        config = stack.enter_context(opened)
        memo = stack.enter_context(remembered(bulk.history_entry()))
        run = _BulkRun(bulk)
        result = await run.draw(config, interrupts)
        await trio.to_thread.run_sync(run.keep_provenance)
        memo.note(outcome=result.outcome, done=result.tally.pictures, failed=result.tally.failed)
        return result


class _BulkRun:
    """A bulk in progress."""

    def __init__(self, bulk: OpenBulk) -> None:
        self._bulk, self._watch = bulk, RunWatch(bulk)
        self._reasons_to_end = (bulk.token_budget.is_spent, self._watch.is_cancelled)

    async def draw(self, config: MeshConfig, interrupts: Interrupts) -> BulkResult:
        """Draw with a mesh of these settings, put the dataset in order and write the report."""
        bulk = self._bulk
        if bulk.tally.before:
            bulk.view.say(f"continued: {bulk.tally.before} done before")
            if bulk.feed.agreement.consent == "keep":
                bulk.view.say("finished pictures stay as they are (--keep); --redraw draws those that differ again")
        bulk.progressing.start()
        try:
            with interrupts.hurried_scope():
                async with (
                    session.start_or_connect(config, bulk.options.router, interrupts) as connection,
                    open_background() as nursery,
                ):
                    with registered(bulk.registry_entry(connection.mesh.address)), bulk.servers.scope:
                        await self._announce(connection, interrupts, nursery)
                        await self._draw_tasks(connection, interrupts)
        finally:
            bulk.view.finish(bulk.progress())
        return await self._finish(interrupts)

    async def _finish(self, interrupts: Interrupts) -> BulkResult:
        bulk = self._bulk
        seconds, redrawn = self._put_in_order()
        await trio.lowlevel.checkpoint()  # a further signal counts from here on
        outcome, unfinished = self._outcome(is_interrupted=interrupts.asked.is_set())
        report, report_error = (None, "") if outcome == "interrupted" else await self._write_report()
        self._keep_ending(unfinished)
        pruned = await self._prune()
        return BulkResult(
            run=bulk.run,
            folder=bulk.folder.path,
            tally=bulk.tally,
            seconds=seconds,
            outcome=outcome,
            unfinished=unfinished,
            redrawn=0 if bulk.part.continuation else redrawn - bulk.continued,
            continued=redrawn if bulk.part.continuation else bulk.continued,
            images=bulk.images.figures(bulk.feed.total),
            report=report,
            report_error=report_error,
            pruned=pruned,
        )

    # ------------------------------------------------------------------------------------------------- drawing

    async def _announce(self, connection: session.Connection, interrupts: Interrupts, nursery: trio.Nursery) -> None:
        """Resume the run if it was paused or cancelled, start what watches it, and record its start."""
        bulk, mesh = self._bulk, connection.mesh
        await mesh.ask(ControlRun(run=bulk.run, action="resume", by=session.user_at_host()))
        nursery.start_soon(bulk.progressing.follow, mesh, bulk.run)
        nursery.start_soon(bulk.progressing.read_ahead, bulk.options.file, bulk.spec.record_options)
        self._watch.start(nursery, mesh, interrupts)
        nursery.start_soon(bulk.task_limit.follow_generators, mesh)
        nursery.start_soon(bulk.servers.watch, mesh)
        for reason in (interrupts.asked, *self._reasons_to_end):
            nursery.start_soon(bulk.servers.end_at, reason)
        bulk.images.end_at(nursery, bulk.token_budget.is_spent, interrupts.asked, self._watch.is_cancelled)
        begun = RunBegun(run=bulk.run, what=bulk.spec.source, total=bulk.total_of_run)
        await mesh.ask(AppendRecord(record=begun), lane=Lane.BULK)

    async def _draw_tasks(self, connection: session.Connection, interrupts: Interrupts) -> None:
        """Draw all tasks; start no new ones after an interrupt, a cancellation or the end of the budget."""
        bulk, drawer = self._bulk, TaskDrawer(self._bulk, self._watch, connection)
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as reading:

                async def stop_reading(reason: trio.Event) -> None:
                    await reason.wait()
                    reading.cancel()

                async with (
                    open_background() as background,
                    aclosing(bulk.feed.tasks(drawer.fail_record, self._restore, bulk.images.wants)) as tasks,
                ):
                    for reason in (interrupts.asked, *self._reasons_to_end):
                        background.start_soon(stop_reading, reason)
                    bulk.token_budget.check(bulk.tally.chats.tokens)
                    await trio.lowlevel.checkpoint()
                    async for task, sample, key in tasks:
                        await self._await_servers()
                        await bulk.images.wait_for_room()
                        if not await bulk.options.allowance.reserve():
                            break
                        slot = Slot(bulk.task_limit.limiter)
                        await slot.acquire()
                        place = bulk.images.join(bulk.recipe.settings_of(task).candidates, slot, bulk.feed.total)
                        nursery.start_soon(drawer.draw, task, sample, key, place)
            has_read_all = bulk.feed.has_read_all
            bulk.images.end(None if has_read_all else bulk.feed.total, has_read_all=has_read_all)

    async def _await_servers(self) -> None:
        """Wait until the servers are ready, which takes no time once they were; meanwhile the clock stands still."""
        self._bulk.progressing.pause(is_paused=True)
        await self._bulk.servers.wait_until_ready()
        self._bulk.progressing.pause(is_paused=self._watch.is_paused)

    def _restore(self, task: Task, sample: int, key: str) -> bool:
        """Return whether the picture of a task was set aside before and is back in the dataset now."""
        bulk = self._bulk
        row = bulk.removed.take(task.ref, sample, key, task.index, bulk.folder.keep_rows)
        if row is not None:
            bulk.tally.add(row, is_from_before=True)
        return row is not None

    # ------------------------------------------------------------------------------------------------- the end

    def _put_in_order(self) -> tuple[float, int]:
        """Put the dataset in order, and return the seconds of this process and how many pictures it drew again."""
        bulk = self._bulk
        folder, feed = bulk.folder, bulk.feed
        folder.check_in_place()
        self._set_aside()
        if not folder.ledger.is_in_order:
            sort_rows(folder.metadata_path, folder.ledger)
        feed.refresh(folder.metadata_path)
        if bulk.part.only is not None:
            settle_failures(folder.path, feed.done)
        seconds = bulk.progressing.seconds
        folder.keep_session(bulk.tally.pictures - bulk.tally.before, seconds)
        if feed.refusal is not None:
            raise feed.refusal
        if feed.is_settled and not bulk.unfinished:
            folder.keep_run(settled(folder.run, bulk.recipe))
        redrawn, feed.redrawn = feed.redrawn, 0  # those before are gone: each picture counts once from here
        if redrawn or bulk.set_aside_pictures:
            before = bulk.tally.before - bulk.set_aside_pictures
            bulk.progressing.tally = Tally(before=before, failures=bulk.tally.failures, spent=bulk.tally.spent)
            for row in rows_of(folder.path):
                bulk.tally.add(row)
        return seconds, redrawn

    def _set_aside(self) -> None:
        """Move finished pictures whose record is gone out of the dataset."""
        bulk = self._bulk
        bulk.removed.close()
        if bulk.removed.returned:
            bulk.view.say(f"finished pictures back in the dataset with their records: {bulk.removed.returned}")
        if bulk.feed.gone and bulk.feed.bad_records:  # one of them may be the record of such a picture
            bulk.view.say("finished pictures without a record stay, because some records cannot be read")
        elif bulk.feed.gone:
            moved = bulk.set_aside_pictures = set_aside(bulk.folder.path, bulk.feed.is_gone)
            if moved:
                bulk.folder.ledger.is_in_order = False  # their rows are still in the file, without pictures
                folder = text_of_path(bulk.folder.path / "removed")
                bulk.view.say(f"finished pictures without a record: {moved}, moved to {folder}")

    async def _write_report(self) -> tuple[Path | None, str]:
        """Write the page of the run; return its path, or None and the reason. A run needs no report to succeed."""
        from gems_actors.app.bulk.report.writing import write_report  # loads Pillow and the memory store

        folder, router = self._bulk.folder, self._bulk.options.router
        try:
            return await write_report(folder.path, folder.run, SHOWN_IN_REPORT, router), ""
        except GemsError as error:
            return None, str(error)

    async def _prune(self) -> Pruned | None:
        """Drop the attempts that are not to be kept; a run that has drawn everything does not fail for their sake."""
        bulk, kept = self._bulk, self._bulk.spec.keep_attempts
        if kept == "all":
            return None
        try:
            return await trio.to_thread.run_sync(partial(prune, bulk.folder.path, kept, is_locked=True))
        except OutputError as error:
            bulk.view.say(f"all attempts are kept: {error}")
            return None

    def _outcome(self, *, is_interrupted: bool) -> tuple[Outcome, str]:
        """Return the outcome, and for a run that ended early why and how to continue it."""
        bulk, watch = self._bulk, self._watch
        if bulk.feed.has_ended and not bulk.unfinished:
            return "failed" if bulk.tally.failed else "done", ""
        if watch.is_cancelled.is_set() or is_interrupted:
            why = f"cancelled by {watch.cancelled_by}" if watch.is_cancelled.is_set() else "interrupted"
            why += f", and tasks in flight cannot be finished: {watch.obstacle}" if watch.obstacle else ""
            return "interrupted", f"{why}: {self._how_far()}; the same command continues"
        if bulk.servers.stopped:
            return "unavailable", f"{bulk.servers.stopped}: {self._how_far()}; the same command continues"
        if bulk.options.allowance.is_spent:
            return "failed", f"what it may cost is spent: {self._how_far()}; a larger allowance continues"
        why = f"the budget of {bulk.token_budget.max_tokens} tokens is spent"
        return "failed", f"{why}: {self._how_far()}; a larger budget.max_tokens_per_run continues"

    def _keep_ending(self, unfinished: str) -> None:
        """Remember how the run ended; a part of it that ends well says nothing about the rest."""
        bulk = self._bulk
        if unfinished or (bulk.part.is_all and bulk.part.limit is None):
            finished, is_complete = bulk.progress().finished, not unfinished
            ending = RunEnding(finished=finished, total=bulk.feed.total, is_complete=is_complete, why=unfinished)
            keep_ending(bulk.folder.path, ending)

    def _how_far(self) -> str:
        return how_far(self._bulk.progress().finished, self._bulk.feed.total)

    def keep_provenance(self) -> None:
        """Write what the pictures were drawn with; a run that has drawn everything does not fail for its sake."""
        bulk = self._bulk
        has_drawn = bulk.tally.pictures > bulk.tally.before or bulk.continued
        drawn = drawn_with(bulk.config, bulk.servers.told, bulk.options.router) if has_drawn else None
        try:
            write_provenance(bulk.folder.path, bulk.spec, bulk.images.plan, bulk.tally.skills, bulk.config, drawn)
        except OutputError as error:
            bulk.view.say(f"gems: no provenance: {error}")
