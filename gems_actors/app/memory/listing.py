"""Lists the runs and trajectories of memory over all pages and shards."""

from __future__ import annotations

from gems_actors.app.memory.access import MemoryReader
from gems_actors.errors import RefusedError
from protocol.messages import (
    ListRuns,
    ListTrajectories,
    ReadTrajectory,
    RunSummary,
    TrajectoryState,
    TrajectoryStatus,
    TrajectorySummary,
)

_PAGE = 500


async def list_runs(memory: MemoryReader) -> list[RunSummary]:
    """Return all runs, latest first."""
    page = await memory.ask(ListRuns(limit=_PAGE))
    found = list(page.runs)
    while page.next is not None:
        page = await memory.ask(ListRuns(limit=_PAGE, before=page.next))
        found += page.runs
    return sorted(found, key=lambda run: run.began_at, reverse=True)  # pages come shard by shard


async def list_trajectories(
    memory: MemoryReader, run: str | None, status: TrajectoryStatus | None
) -> list[TrajectorySummary]:
    """Return the trajectories of one run or of all, with one status or any, oldest first.

    Raises:
        RefusedError: memory does not know the run.
    """
    page = await memory.ask(ListTrajectories(of_run=run, status=status, limit=_PAGE))
    found = list(page.trajectories)
    while page.next is not None:
        page = await memory.ask(ListTrajectories(of_run=run, status=status, limit=_PAGE, after=page.next))
        found += page.trajectories
    if not found and run is not None and not (await memory.ask(ListRuns(named=(run,)))).runs:
        raise RefusedError(f"RUN: expected one that memory knows (`gems memory runs` lists them), got {run!r}")
    return sorted(found, key=lambda trajectory: trajectory.began_at)  # pages come shard by shard


async def read_trajectory(memory: MemoryReader, prefix: str) -> TrajectoryState:
    """Return the state of the only trajectory whose id begins with `prefix`.

    Raises:
        RefusedError: no trajectory, or more than one, begins with it.
    """
    found = (await memory.ask(ListTrajectories(prefix=prefix, limit=2))).trajectories
    if len(found) != 1:
        got = "none" if not found else f"several, such as {found[0].trajectory} and {found[1].trajectory}"
        raise RefusedError(f"TRAJECTORY: expected one that begins with {prefix}, got {got}")
    return await memory.ask(ReadTrajectory(trajectory=found[0].trajectory))
