"""Follows a bulk while it runs: its tasks in flight, its clock, which stands still during a pause, and its forecast."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Final

import trio

from gems_actors.app.bulk.forecast import Backlog, Cohort, Forecast, words_of
from gems_actors.app.bulk.reading.readers import open_source, open_tasks
from gems_actors.app.bulk.reading.records import RecordOptions
from gems_actors.app.bulk.rows import Row
from gems_actors.app.bulk.tasks import Task
from gems_actors.app.bulk.totals import BulkProgress, Tally
from gems_actors.app.prompts import PromptError
from gems_actors.client import Mesh
from gems_actors.errors import UsageError
from protocol.messages import AttemptVerified, DrawPicture, Event, PromptRefined, StepTaken

_READ_AHEAD: Final = 20_000
"""Records whose prompts are read ahead, for the forecast."""
_FORECAST_PERIOD_S: Final = 1.0


class RunProgress:
    """The progress of one run in this process."""

    def __init__(self, tally: Tally, max_rounds: int) -> None:
        self.tally = tally
        self.in_flight = 0
        self._forecast = Forecast(max_rounds)
        self._backlog = Backlog()
        self._cohort = Cohort()
        self._numbers: dict[str, int] = {}
        self._began = trio.current_time()
        self._paused_s = 0.0
        self._paused_at: float | None = None
        self._told_at = -_FORECAST_PERIOD_S
        self._left_s: float | None = None

    def start(self) -> None:
        """Start the clock."""
        self._began = trio.current_time()

    @property
    def seconds(self) -> float:
        """Time since the start, without pauses."""
        now = trio.current_time() if self._paused_at is None else self._paused_at
        return now - self._began - self._paused_s

    def pause(self, *, is_paused: bool) -> None:
        """Stop the clock, or let it run again."""
        now = trio.current_time()
        if is_paused and self._paused_at is None:
            self._paused_at = now
        elif not is_paused and self._paused_at is not None:
            self._paused_s += now - self._paused_at
            self._paused_at = None

    def count_earlier(self, row: Row) -> None:
        """Count a picture of an earlier run."""
        self._cohort.tally.add(row, is_from_before=True)
        self._backlog.take(words_of(row.prompt))

    def begin(self, request: DrawPicture) -> None:
        """Count a task as in flight."""
        words = words_of(request.prompt)
        self.in_flight += 1
        self._numbers[request.trajectory] = self._cohort.begin()
        self._backlog.take(words)
        self._forecast.begin(request.trajectory, words, request.settings.max_rounds)

    def end(self, request: DrawPicture, row: Row | None) -> None:
        """Count a task as no longer in flight; without a row, it failed or was interrupted."""
        self.in_flight -= 1
        self._cohort.end(self._numbers.pop(request.trajectory), row)
        self._forecast.end(request.trajectory)

    async def follow(self, mesh: Mesh, run: str) -> None:
        """Follow the rounds of the tasks in flight until cancelled."""
        async with mesh.events(run) as events:
            async for event in events:
                self.take(event)

    def take(self, event: Event) -> None:
        """Take note of an event of the run."""
        match event:
            case StepTaken(record=AttemptVerified() as record):
                self._forecast.verify_round(record.trajectory, record.attempt.round)
            case StepTaken(record=PromptRefined() as record) if record.refinement.action != "stop":
                self._forecast.begin_round(record.trajectory, record.refinement.round)

    async def read_ahead(self, file: Path, options: RecordOptions) -> None:
        """Read the prompts to come, as far as they are needed for the forecast; standard input cannot be read twice."""
        if file != Path("-"):
            for task in await trio.to_thread.run_sync(_first_tasks, file, options, abandon_on_cancel=True):
                self._backlog.list_task(task.prompt, task.samples)

    def at(self, total: int | None, *, uncounted: int, busy_share: float | None = None, note: str = "") -> BulkProgress:
        """Return the progress now, of `total` tasks; `uncounted` pictures are not among them."""
        seconds = self.seconds
        if total is not None and seconds >= self._told_at + _FORECAST_PERIOD_S:
            finished = self.tally.pictures - uncounted + self.tally.failed
            waiting = self._backlog.waiting(max(0, total - finished - self.in_flight))
            self._told_at, self._left_s = seconds, self._forecast.left_s(seconds, waiting)
        return BulkProgress(
            self.tally,
            total,
            seconds=seconds,
            in_flight=self.in_flight,
            left_s=self._left_s,
            cohort=self._cohort.tally,
            busy_share=busy_share,
            note=note,
            uncounted=uncounted,
        )


def _first_tasks(file: Path, options: RecordOptions) -> list[Task]:
    with ExitStack() as stack, suppress(PromptError, UsageError, OSError):  # the run says what is wrong
        source, format_ = open_source(stack, file)
        records = islice(open_tasks(source, format_, options), _READ_AHEAD)
        return [record for record in records if isinstance(record, Task)]
    return []
