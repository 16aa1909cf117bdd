"""Sums of what steps cost."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.messages import Spent


def sum_spent(*parts: Spent) -> Spent:
    """Return the total of several costs."""
    return Spent(
        seconds=sum((part.seconds for part in parts), 0.0),
        calls=sum(part.calls for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        cost=sum((part.cost for part in parts), 0.0),
    )


def add_costs(spent: dict[str, Spent], more: Mapping[str, Spent]) -> None:
    """Add costs by role to `spent`, in place; roles that cost nothing get no entry."""
    for role, cost in more.items():
        if cost != Spent():
            spent[role] = sum_spent(spent[role], cost) if role in spent else cost


def chat_cost(spent: Mapping[str, Spent]) -> Spent:
    """Return the cost of all roles except the generator, which is what chat models cost."""
    return sum_spent(*(cost for role, cost in spent.items() if role != "generator"))
