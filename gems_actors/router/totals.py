"""What each role has done since the router started: counts that outlive its actors. Pure.

Calls are counted here. Other counts arrive as figures of actors whose names begin with `TOTAL`: each counts up from the
start of the actor's process, and its growth is added.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from protocol.limits import CALLS, MAX_FIGURE, MAX_FIGURES, TOTAL

MAX_ROLES: Final = 1000
MAX_ACTORS_KNOWN: Final = 10_000
"""Actors whose latest counts are remembered; the ones heard of longest ago are forgotten first."""


class Totals:
    """The counts of all roles."""

    def __init__(self) -> None:
        self._calls: dict[str, list[float]] = {}
        self._by_role: dict[str, dict[str, float]] = {}
        self._latest: OrderedDict[str, dict[str, float]] = OrderedDict()

    def count_call(self, role: str, seconds: float) -> None:
        """Count a request that an actor has answered, and the time that it took."""
        known = self._calls.get(role)
        if known is None:
            if len(self._calls) >= MAX_ROLES:
                return
            known = self._calls[role] = [0.0, 0.0]
        known[0] += 1
        known[1] += seconds

    def take(self, role: str, actor: str, figures: Mapping[str, float]) -> dict[str, float]:
        """Count the growth of an actor's counts, and return its other figures."""
        counts = {name.removeprefix(TOTAL): value for name, value in figures.items() if name.startswith(TOTAL)}
        if not counts:
            return dict(figures)
        before = self._latest.pop(actor, {})
        self._latest[actor] = counts
        if len(self._latest) > MAX_ACTORS_KNOWN:
            self._latest.popitem(last=False)
        for name, value in counts.items():
            self._add(role, name, max(0.0, value - before.get(name, 0.0)))
        return {name: value for name, value in figures.items() if not name.startswith(TOTAL)}

    def of(self, role: str) -> dict[str, float]:
        """Return the counts of a role."""
        calls = self._calls.get(role)
        return self._by_role.get(role, {}) | (dict(zip(CALLS, calls, strict=True)) if calls else {})

    def _add(self, role: str, name: str, more: float) -> None:
        known = self._by_role.get(role)
        if known is None:
            if len(self._by_role) >= MAX_ROLES:
                return
            known = self._by_role[role] = {}
        if name not in CALLS and (name in known or len(known) < MAX_FIGURES - len(CALLS)):
            known[name] = min(known.get(name, 0.0) + more, MAX_FIGURE)
