"""When which role worked on a trajectory, from its records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from protocol import messages as m
from protocol.costs import costs_of
from protocol.limits import MAX_UNIX_TIME

_SIDE_BY_SIDE: Final[Mapping[type[object], str]] = {
    m.PromptPlanned: "begin", m.PromptDecomposed: "begin", m.AttemptVerified: "draw",
}  # fmt: skip
"""Steps that run at the same time as others of the same group; every other step runs alone."""


def timeline_of(logged: Iterable[m.LoggedRecord]) -> m.Timeline:
    """Return the work of roles in the order of the records that keep its results."""
    return m.Timeline(steps=tuple(_steps_of(logged)))


def _steps_of(logged: Iterable[m.LoggedRecord]) -> Iterator[m.StepTime]:
    group, last_at, free_at = "", -MAX_UNIX_TIME, -MAX_UNIX_TIME
    for item in logged:
        own = _SIDE_BY_SIDE.get(type(item.record), "")
        if own != group or not own:
            group, free_at = own, last_at
        last_at = item.at
        yield from _steps_within(item, free_at)


def _steps_within(item: m.LoggedRecord, free_at: float) -> Iterator[m.StepTime]:
    """Yield the steps that end with a record, one after another, none of which began before `free_at`."""
    spent = [(role, cost.seconds) for role, cost in costs_of(item.record).items() if cost != m.Spent()]
    steps, ended_at = [], item.at
    for number in reversed(range(len(spent))):
        role, seconds = spent[number]
        before_s = sum(earlier_s for _, earlier_s in spent[:number])
        began_at = min(ended_at, max(ended_at - seconds, free_at + before_s))
        round_ = _round_of(item.record)
        steps.append(m.StepTime(role=role, round=round_, began_at=began_at, ended_at=ended_at, seconds=seconds))
        ended_at = began_at
    yield from reversed(steps)


def _round_of(record: m.AnyRecord) -> int:
    for name in ("attempt", "review", "experience", "refinement", "note"):
        if (part := getattr(record, name, None)) is not None:
            return int(part.round)
    return 0
