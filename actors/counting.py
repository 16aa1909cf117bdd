"""What a mesh has done, counted from the records that memory keeps, for metrics. Pure."""

from __future__ import annotations

from typing import Final

from protocol import messages as m
from protocol.costs import costs_of

_MAX_NAMES: Final = 500
"""Names contain codes of failures and roles of hooks, which others choose."""


def count_record(counts: dict[str, float], record: m.AnyRecord, rounds: int = 0) -> None:
    """Add a new record to the counts, in place; `rounds` is how many a trajectory has that ends with the record.

    Names are `pictures/OUTCOME`, `pictures_of_rounds/ROUNDS`, `failures/CODE`, `refinements/ACTION`, `rounds`,
    `images`, and by role `seconds/ROLE`, `calls/ROLE`, `tokens/ROLE/prompt`, `tokens/ROLE/completion` and `cost/ROLE`.
    """
    match record:
        case m.TrajectoryEnded(ending=ending):
            _add(counts, f"pictures/{ending.outcome}", 1)
            _add(counts, f"pictures_of_rounds/{rounds}", 1)
        case m.TrajectoryFailed(failure=failure):
            _add(counts, f"failures/{failure.code}", 1)
        case m.PromptRefined(refinement=refinement):
            _add(counts, f"refinements/{refinement.action}", 1)
        case m.AttemptVerified(attempt=attempt):
            _add(counts, "images", 1)
            _add(counts, "rounds", attempt.candidate == 1)
    for role, spent in costs_of(record).items():
        _add(counts, f"seconds/{role}", spent.seconds)
        _add(counts, f"calls/{role}", spent.calls)
        _add(counts, f"tokens/{role}/prompt", spent.prompt_tokens)
        _add(counts, f"tokens/{role}/completion", spent.completion_tokens)
        _add(counts, f"cost/{role}", spent.cost)


def _add(counts: dict[str, float], name: str, more: float) -> None:
    if more and (name in counts or len(counts) < _MAX_NAMES):
        counts[name] = counts.get(name, 0.0) + more
