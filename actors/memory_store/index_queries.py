"""Queries on the index: pages of trajectories and runs, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actors.memory_store.index_rows import page_of
from actors.memory_store.skill_rows import Select
from protocol import messages as m

_MAX_FAILURE_CODES: Final = 100

_SUMMARIES: Final = (
    "SELECT t.number, t.id, coalesce(r.name, ''), t.line, t.sample, t.prompt, t.status, t.outcome, t.failure, "
    "t.images, t.rounds, t.met, t.requirements, t.began_at, t.last_at FROM trajectories t "
    "LEFT JOIN runs r ON r.number = t.run"
)


def read_trajectories(select: Select, request: m.ListTrajectories) -> m.Trajectories:
    """Return one page of the trajectories that a request selects."""
    conditions: list[str] = ["t.number > ?"]
    values: list[object] = [request.after]
    if request.of_run is not None:
        conditions.append("t.run = (SELECT number FROM runs WHERE name = ?)")
        values.append(request.of_run)
    if request.status is not None:
        conditions.append("t.status = ?")
        values.append(request.status)
    if request.prefix:
        conditions.append("t.id BETWEEN ? AND ?")
        values += (request.prefix, request.prefix + "g")  # g sorts after every hexadecimal digit
    rows = select(
        f"{_SUMMARIES} WHERE {' AND '.join(conditions)} ORDER BY t.number LIMIT ?", *values, request.limit + 1
    )
    found, following = page_of(m.TrajectorySummary, rows, request.limit)
    return m.Trajectories(trajectories=found, next=following)


def read_summaries(select: Select, numbers: Sequence[int], limit: int) -> m.Trajectories:
    """Return a page of trajectories by row number, in that order; one number more says that more follow."""
    rows = [row for number in numbers for row in select(f"{_SUMMARIES} WHERE t.number = ?", number)]
    found, following = page_of(m.TrajectorySummary, rows, limit)
    return m.Trajectories(trajectories=found, next=following)


def read_runs(select: Select, request: m.ListRuns) -> m.Runs:
    """Return one page of the runs, latest first."""
    condition = "number < ?"
    values: list[object] = [2**62 if request.before is None else request.before]
    if request.named is not None:
        condition += f" AND name IN ({', '.join('?' * len(request.named))})"
        values += request.named
    rows = select(
        "SELECT number, name, what, total, running, ended, failed, all_met, images, began_at, last_at FROM runs "
        f"WHERE {condition} ORDER BY number DESC LIMIT ?",
        *values,
        request.limit + 1,
    )
    found, following = page_of(m.RunSummary, rows, request.limit)
    return m.Runs(runs=found, next=following)


def read_failures(select: Select, run: int) -> dict[str, int]:
    """Return how many trajectories of a run, by row number, failed with each code, most frequent first."""
    rows = select(
        "SELECT failure, count(*) FROM trajectories WHERE run = ? AND status = 'failed' GROUP BY failure "
        "ORDER BY count(*) DESC, failure LIMIT ?",
        run,
        _MAX_FAILURE_CODES,
    )
    return dict(rows)


def read_counts(select: Select) -> dict[str, int]:
    """Return the number of runs, trajectories by status, recallable trajectories and archived records."""
    names = ("runs", "running", "ended", "failed", "recallable", "archived")
    (row,) = select(
        "SELECT count(*), coalesce(sum(running), 0), coalesce(sum(ended), 0), coalesce(sum(failed), 0), "
        "(SELECT count(*) FROM prompts_docsize), (SELECT coalesce(sum(records), 0) FROM archives) FROM runs"
    )
    return dict(zip(names, row, strict=True))
