"""The tasks of a run that are to be drawn, in the order of the input: neither done, nor kept, nor of another part."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import trio

from gems_actors.app.bulk.finished.consent import Proposal, check_agreement, refuse_record
from gems_actors.app.bulk.finished.identity import BY_INDEX, identified
from gems_actors.app.bulk.finished.ledger import Ledger, TaskRef
from gems_actors.app.bulk.finished.refresh import refresh_columns
from gems_actors.app.bulk.finished.survey import read_tasks, survey
from gems_actors.app.bulk.reading.readers import InputFormat, count_records, open_source, open_tasks
from gems_actors.app.bulk.reading.records import RecordOptions, json_text
from gems_actors.app.bulk.reading.references import SourceFiles
from gems_actors.app.bulk.recipe import Recipe
from gems_actors.app.bulk.rows import Row, compared_columns
from gems_actors.app.bulk.run_spec import Consent, RunSpec
from gems_actors.app.bulk.tasks import BadTask, Part, Task
from gems_actors.app.picture_files import text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.errors import UsageError

_RECORDS_READ_AT_ONCE: Final = 256
_BYTES_READ_AT_ONCE: Final = 32 * 1024 * 1024
"""Pictures within the input that are held ahead of the tasks in flight."""


class TaskFeed:
    """Reads the input once and yields the tasks to draw."""

    total: int | None = None
    """Selected tasks; None while their number is unknown."""
    redrawn = 0
    """Tasks that are drawn again, or continued."""
    redraws_left = 0
    """Those of them that have no new picture yet."""
    has_ended = False
    """Whether every selected task was either done before or yielded."""
    has_read_all = False
    bad_records = 0

    def __init__(
        self,
        file: Path,
        out: Path,
        records: RecordOptions,
        part: Part,
        recipe: Recipe,
        consent: Consent | None,
        stack: ExitStack,
    ) -> None:
        """Open the input until the stack ends.

        Raises:
            PromptError: the input has no records, or is not of its format.
            UsageError: it cannot be read.
        """
        self._file, self._out, self._part, self._recipe, self._consent = file, out, part, recipe, consent
        source, format_ = open_source(stack, file)
        self._records = count_records(source, format_, records)
        self._options, self._samples = records, records.samples
        self._tasks = open_tasks(source, format_, records)
        self._reopen = partial(_open_again, source, format_)
        self.sources = SourceFiles(file.parent)
        self._ledger = Ledger()
        self._refused: Task | None = None
        """Record at which the run stopped, because its finished picture would change."""
        self.done = set[tuple[TaskRef, int]]()
        """Tasks that are done, by id and by index, where only single tasks are selected."""

    def agree(self, run: RunSpec, ledger: Ledger) -> RunSpec:
        """Settle what happens to finished pictures that would change; return the run for its folder to remember.

        Raises:
            UsageError: it would replace finished pictures without consent.
        """
        self._ledger, self._run = ledger, run
        if run.record_options != self._options:  # what the folder remembers differs from what was asked for
            self._tasks = self._reopen(run.record_options)
        self._tasks = identified(self.sources.resolve(self._tasks), run.identity, run.id_column)
        proposal = Proposal(self._file, run, self._recipe, ledger, self._consent)
        count = partial(survey, self._file, run, self._recipe, self._part, ledger, self.sources)
        self.agreement = proposal.agree(None if self._records is None else count, must_count=not self._part.is_all)
        check_agreement(self.agreement, self._out, ledger.pictures)
        self._has_exact_total = self.agreement.count is not None
        if self.agreement.count is not None:
            self.total = self.agreement.count.selected
        elif self._records is not None:
            self.total = self._records * self._samples
        return self.agreement.run

    async def tasks(
        self,
        take_bad: Callable[[BadTask], None],
        restore: Callable[[Task, int, str], bool],
        wants: Callable[[TaskRef, int], bool] = lambda ref, sample: False,
    ) -> AsyncGenerator[tuple[Task, int, str]]:
        """Yield the tasks to draw with sample and key.

        Args:
            take_bad: gets selected records that cannot be drawn.
            restore: returns whether the picture of a sample with a key existed before and is back now.
            wants: returns whether to yield a sample that is done, because it may get a better picture.
        """
        given = 0
        self._wants = wants
        at_once = 1 if self._file == Path("-") else _RECORDS_READ_AT_ONCE
        while batch := await trio.to_thread.run_sync(self._next_tasks, at_once, abandon_on_cancel=True):
            for task in batch:
                if isinstance(task, BadTask):
                    self.bad_records += 1
                    if self._part.has(task.ref, task.index, 0):
                        take_bad(task)
                    continue
                self._ledger.note_record(task.ref, task.index, task.samples, self._metadata_of(task))
                if self.total is not None and not self._has_exact_total:
                    self.total += task.samples - self._samples
                for sample in range(task.samples):
                    if not self._part.has(task.ref, task.index, sample):
                        continue
                    if self._part.limit is not None and given >= self._part.limit:
                        self.has_ended = True
                        return
                    key = self._recipe.key_of(task, sample)
                    if self._is_to_draw(task, sample, key) and not restore(task, sample, key):
                        given += 1
                        yield task, sample, key
                    elif self._refused is not None:
                        return
        self.has_ended = self.has_read_all = True

    def _metadata_of(self, task: Task) -> str | None:
        """Return the columns of a record that its row follows; None without earlier pictures, which need none."""
        if not self._ledger.pictures or not task.id:
            return None
        return compared_columns(json_text(task.metadata) if task.metadata else "{}", task.names)

    def _next_tasks(self, count: int) -> list[Task | BadTask]:
        try:
            return list(_first_of(self._tasks, count))
        except PromptError as error:  # standard input is not looked at before it is read
            raise UsageError(f"FILE: {text_of_path(self._file)}: {error}") from error

    def _is_to_draw(self, task: Task, sample: int, key: str) -> bool:
        """Return whether a task has no picture, or one that is drawn again; note what happens to the others."""
        state = self._ledger.state_of(task.ref, sample, key)
        is_continued = state == "done" and self._part.continuation is not None
        if is_continued or (state == "changed" and self.agreement.consent == "redraw"):
            self.redrawn += 1
            self.redraws_left += 1
            return True
        if state == "done" and self._wants(task.ref, sample):
            return True
        if state == "changed" and self.agreement.consent is None:
            self._refused = task
        elif state != "new":
            self._note_done(task, sample)
        return state == "new"

    def note_continued(self) -> None:
        """Note that a task that was done has drawn more images."""
        self.redrawn += 1
        self.redraws_left += 1

    def take_drawn(self, task: Task, sample: int) -> None:
        """Note that a task that was yielded has its picture."""
        self.redraws_left -= self._ledger.has(task.ref, sample)
        self._note_done(task, sample)

    def _note_done(self, task: Task, sample: int) -> None:
        if self._part.only is not None:
            self.done |= {(task.ref, sample), (task.index, sample)}

    def refresh(self, rows: Path) -> None:
        """Give a sorted file of rows the other columns that their records have now, if any is another one."""
        if self._ledger.has_new_metadata and self._records is not None:
            refresh_columns(rows, read_tasks(self._file, self._run, self.sources))

    def is_gone(self, row: Row) -> bool:
        """Return whether no record of the input is that of a row; it is unusable before the whole input was read."""
        is_selected = bool(row.task) and self._part.has(row.ref, row.index, row.sample)
        return is_selected and not self._ledger.is_seen(row.ref, row.sample)

    @property
    def gone(self) -> int:
        """Pictures in the folder whose record is gone; 0 where that is unknown, and in folders of earlier versions."""
        is_known = self.has_read_all and self._part.only is None and self._records is not None
        if not is_known or self._run.identity == BY_INDEX:
            return 0
        return self._ledger.pictures - self._ledger.seen

    @property
    def is_settled(self) -> bool:
        """Whether every picture of the input was found to be of this recipe, or was drawn by it, or is kept."""
        return self.has_read_all and self._part.is_all and not self.redraws_left

    @property
    def refusal(self) -> UsageError | None:
        """Why the run stopped at a record, if it did: its finished picture would change."""
        if self._refused is None:
            return None
        where = f"FILE: {text_of_path(self._file)}: record {self._refused.index + 1}"
        return refuse_record(self.agreement, where)


def _first_of(tasks: Iterator[Task | BadTask], count: int) -> Iterator[Task | BadTask]:
    """Yield the next tasks, fewer where their pictures are large."""
    held_bytes = 0
    for task in islice(tasks, count):
        yield task
        held_bytes += sum(len(source.data or b"") for source in task.references) if isinstance(task, Task) else 0
        if held_bytes > _BYTES_READ_AT_ONCE:
            return


def _open_again(source: BinaryIO, format_: InputFormat, options: RecordOptions) -> Iterator[Task | BadTask]:
    if source.seekable():
        source.seek(0)
    return open_tasks(source, format_, options)
