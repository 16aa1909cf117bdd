"""What steps cost, and sums of it."""

from __future__ import annotations

from collections.abc import Mapping

from protocol import messages as m
from protocol.limits import MAX_COST, MAX_COUNT, MAX_SECONDS

_NOTHING = m.Spent()


def sum_spent(*parts: m.Spent) -> m.Spent:
    """Return the total of several costs, each figure at most its bound on the wire."""
    seconds = cost = 0.0
    calls = prompt_tokens = cached_tokens = completion_tokens = 0
    for part in parts:  # once through, because a picture needs thirty such sums
        seconds += part.seconds
        calls += part.calls
        prompt_tokens += part.prompt_tokens
        cached_tokens += part.cached_tokens
        completion_tokens += part.completion_tokens
        cost += part.cost
    return m.Spent(
        seconds=min(seconds, MAX_SECONDS),
        calls=min(calls, MAX_COUNT),
        prompt_tokens=min(prompt_tokens, MAX_COUNT),
        cached_tokens=min(cached_tokens, MAX_COUNT),
        completion_tokens=min(completion_tokens, MAX_COUNT),
        cost=min(cost, MAX_COST),
    )


def costs_of(record: m.AnyRecord) -> dict[str, m.Spent]:
    """Return what the step of a record cost, by role."""
    match record:
        case m.AttemptVerified(attempt=attempt):
            return {"generator": attempt.drawing, "verifier": attempt.verifying}
        case m.PromptPlanned():
            return {"planner": record.spent}
        case m.PromptDecomposed():
            return {"decomposer": record.spent}
        case m.ExperienceKept():
            return {"compressor": record.spent}
        case m.PromptRefined():
            return {"refiner": record.spent}
        case m.AttemptsCompared():
            return {"verifier": record.spent}
        case m.PromptPrepared() | m.VerdictsReviewed() | m.RefinementNoted():
            return {record.hook.role: record.spent}
        case _:
            return {}


def add_costs(spent: dict[str, m.Spent], more: Mapping[str, m.Spent]) -> None:
    """Add costs by role to `spent`, in place; roles that cost nothing get no entry."""
    for role, cost in more.items():
        if cost != _NOTHING:
            spent[role] = sum_spent(spent[role], cost) if role in spent else cost


def chat_cost(spent: Mapping[str, m.Spent]) -> m.Spent:
    """Return the cost of all roles except the generator, which is what chat models cost."""
    return sum_spent(*(cost for role, cost in spent.items() if role != "generator"))


def costs_since(before: Mapping[str, m.Spent], after: Mapping[str, m.Spent]) -> dict[str, m.Spent]:
    """Return what was spent between two states of a trajectory, by role."""
    return {role: _minus(spent, before[role]) if role in before else spent for role, spent in after.items()}


def _minus(after: m.Spent, before: m.Spent) -> m.Spent:
    names = m.Spent.__struct_fields__
    return m.Spent(**{name: max(0, getattr(after, name) - getattr(before, name)) for name in names})
