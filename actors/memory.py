"""Memory: owns the log, and answers what was done and found in a trajectory.

Everything that arrives while a commit is under way shares the next one, so a hundred conductors wait for a handful of
syncs. Nobody else writes the log and nobody else reads it: others ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from actors.memory_log import MemoryLog, open_memory_log
from actors.ranking import choose_best
from gems_actors.actor import Actor, answers
from gems_actors.errors import LogError
from gems_actors.tasks import open_background
from protocol.messages import (
    AnyRecord,
    Appended,
    AppendRecord,
    Attempt,
    AttemptVerified,
    BestAttempt,
    DrawPicture,
    Ending,
    Experience,
    ExperienceKept,
    FindBestAttempt,
    Plan,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    ReadTrajectory,
    Refinement,
    Requirement,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
    TrajectoryState,
)


def assemble_state(records: Iterable[AnyRecord]) -> TrajectoryState:
    """Return what the records of one trajectory say about it; of no records, an empty state."""
    task: DrawPicture | None = None
    plan: Plan | None = None
    requirements: tuple[Requirement, ...] | None = None
    attempts: list[Attempt] = []
    experiences: list[Experience] = []
    refinements: list[Refinement] = []
    ending: Ending | None = None
    for record in records:
        match record:
            case TrajectoryBegun():
                task = record.task
            case PromptPlanned():
                plan = Plan(prompt=record.prompt, skill=record.skill)
            case PromptDecomposed():
                requirements = record.requirements
            case AttemptVerified():
                attempts.append(record.attempt)
            case ExperienceKept():
                experiences.append(record.experience)
            case PromptRefined():
                refinements.append(record.refinement)
            case TrajectoryEnded():
                ending = record.ending
            case TrajectoryFailed():
                pass  # the failure is evidence; the trajectory goes on from the step before it
    return TrajectoryState(
        task=task,
        plan=plan,
        requirements=requirements,
        attempts=tuple(sorted(attempts, key=lambda attempt: (attempt.round, attempt.candidate))),
        experiences=tuple(experiences),
        refinements=tuple(refinements),
        ending=ending,
    )


class _Append:
    """A record that waits for its commit."""

    def __init__(self, record: AnyRecord) -> None:
        self.record = record
        self.done = trio.Event()
        self.appended: Appended | None = None
        self.error: LogError | None = None


class Memory(Actor):
    """Keeps records and answers questions about trajectories."""

    role = "memory"
    default_capacity = 1024
    _log: MemoryLog

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the log for as long as requests arrive."""
        self._waiting: list[_Append] = []
        self._arrived = trio.Event()
        with open_memory_log(self.config.data_path / "memory.db") as self._log:
            async with open_background() as nursery:
                nursery.start_soon(self._run_commits)
                yield

    def figures(self) -> dict[str, float]:
        """Return how many records the log holds."""
        return {"records": len(self._log)}

    @answers
    async def append(self, request: AppendRecord) -> Appended:
        """Answer once the record is on disk."""
        append = _Append(request.record)
        self._waiting.append(append)
        self._arrived.set()
        await append.done.wait()
        if append.appended is None:
            raise LogError(str(append.error)) from append.error
        return append.appended

    @answers
    async def read(self, request: ReadTrajectory) -> TrajectoryState:
        """Answer with all that is kept of a trajectory."""
        return assemble_state(self._log.read(request.trajectory))

    @answers
    async def find_best(self, request: FindBestAttempt) -> BestAttempt:
        """Answer with the attempt that is the picture so far."""
        state = assemble_state(self._log.read(request.trajectory))
        if not state.attempts:
            return BestAttempt(attempt=None, decided_by="nothing has been drawn yet")
        attempt, decided_by = choose_best(state.attempts)
        return BestAttempt(attempt=attempt, decided_by=decided_by)

    async def _run_commits(self) -> None:
        """Commit in this thread: a commit is shorter than handing it to another one and back."""
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            batch, self._waiting = self._waiting, []
            try:
                places = self._log.append([append.record for append in batch])
            except LogError as error:
                for append in batch:
                    append.error = error
            else:
                for append, (sequence, is_new) in zip(batch, places, strict=True):
                    append.appended = Appended(sequence=sequence, is_new=is_new)
            for append in batch:
                append.done.set()
