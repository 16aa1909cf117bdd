"""When which role worked on a trajectory, from its records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protocol import messages as m
from protocol.costs import costs_of


def timeline_of(logged: Iterable[m.LoggedRecord]) -> m.Timeline:
    """Return the work of roles in the order of the records that keep its results."""
    return m.Timeline(steps=tuple(step for item in logged for step in _steps_of(item)))


def _steps_of(item: m.LoggedRecord) -> Iterator[m.StepTime]:
    """Yield the steps that end with a record; of several, the last one ends when the record is kept."""
    steps, ended_at = [], item.at
    for role, spent in reversed(costs_of(item.record).items()):
        if spent != m.Spent():
            step = m.StepTime(role=role, round=_round_of(item.record), ended_at=ended_at, seconds=spent.seconds)
            steps.append(step)
            ended_at -= spent.seconds
    yield from reversed(steps)


def _round_of(record: m.AnyRecord) -> int:
    for name in ("attempt", "review", "experience", "refinement", "note"):
        if (part := getattr(record, name, None)) is not None:
            return int(part.round)
    return 0
