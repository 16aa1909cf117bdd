"""Continue tasks that have a picture: reopen their trajectories, as far as there is something left to do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from msgspec import structs

from gems_actors.app.bulk.rows import NOT_REOPENED, Reopened, rows_of
from gems_actors.app.bulk.tasks import Continuation, Part
from gems_actors.client import Mesh
from gems_actors.errors import LogError
from protocol.envelope import Lane
from protocol.messages import AppendRecord, DrawPicture, Outcome, ReadTrajectory, TrajectoryReopened

CONTINUED: Final[tuple[Outcome, ...]] = (
    "refused", "failed_later", "rounds_spent", "budget_spent", "budget_elsewhere", "wound_down",
)  # fmt: skip
"""Outcomes that a task can leave. What met all that is checked is done; without requirements, nothing is judged."""


def part_to_continue(folder: Path, outcomes: Collection[str], max_rounds: int | None) -> Part:
    """Return the tasks of a folder that ended with one of the outcomes, and can come to another one.

    A task whose rounds are spent needs more of them; the others have some left.
    """
    possible = {*outcomes} & {*CONTINUED}
    found = (row for row in rows_of(folder) if row.outcome in possible)
    left = (row for row in found if row.outcome != "rounds_spent" or row.rounds < (max_rounds or 0))
    return Part(only=frozenset((row.ref, row.sample) for row in left), continuation=Continuation(max_rounds))


async def find_standing(mesh: Mesh, request: DrawPicture) -> Reopened:
    """Return how the trajectory of a task stands that has a picture and may get further images.

    Raises:
        RequestError: memory cannot answer.
    """
    state = await mesh.ask(ReadTrajectory(trajectory=request.trajectory), lane=Lane.BULK)
    return Reopened(state.reopenings + 1, state.spent)


async def reopen(mesh: Mesh, request: DrawPicture, continuation: Continuation | None) -> Reopened:
    """Let the next `DrawPicture` of a task continue its trajectory, and return how it stands.

    If it has not ended since it was reopened last, nothing changes; the same applies without a `continuation`.

    Raises:
        LogError: memory does not have the trajectory, and a new one would replace a finished picture.
        RequestError: memory cannot answer.
    """
    if continuation is None:
        return NOT_REOPENED
    state = await mesh.ask(ReadTrajectory(trajectory=request.trajectory), lane=Lane.BULK)
    if state.task is None:
        raise LogError(f"memory: expected trajectory {request.trajectory} to continue it, got none; the picture stays")
    rounds, reopenings = state.task.settings.max_rounds, state.reopenings
    wanted = max(rounds, continuation.max_rounds or 0)
    if state.ending is not None or wanted > rounds:
        reopenings += 1
        task = structs.replace(request, settings=structs.replace(request.settings, max_rounds=wanted))
        record = TrajectoryReopened(trajectory=request.trajectory, reopening=reopenings, task=task)
        await mesh.ask(AppendRecord(record=record), lane=Lane.BULK)
    return Reopened(reopenings, state.spent)
