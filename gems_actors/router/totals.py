"""What each role has done since the router started: counts that outlive its actors, and its latest error. Pure.

Calls are counted here. Other counts arrive as figures of actors whose names begin with `TOTAL`: each counts up from the
start of the actor's process, and its growth is added.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

from protocol.limits import (
    CALLS,
    CALLS_WITHIN,
    CALLS_WITHIN_S,
    MAX_FIGURE,
    MAX_FIGURES,
    MAX_REMARK_CHARS,
    TOTAL,
)

MAX_ROLES: Final = 1000
MAX_ACTORS_KNOWN: Final = 10_000
"""Actors whose latest counts are remembered; the ones heard of longest ago are forgotten first."""


_OWN: Final = (*CALLS, *(f"{CALLS_WITHIN}{seconds:g}" for seconds in CALLS_WITHIN_S))
"""Names of the counts that are counted here."""


class LastErrors:
    """The latest error of each role."""

    def __init__(self) -> None:
        self._by_role: dict[str, tuple[float, str]] = {}

    def note(self, role: str, now: float, text: str) -> None:
        """Remember an error in place of an earlier one."""
        if role in self._by_role or len(self._by_role) < MAX_ROLES:
            self._by_role[role] = now, text[:MAX_REMARK_CHARS]

    def of(self, role: str, now: float) -> tuple[str, float | None]:
        """Return the latest error of a role and its age; an empty text and None without any."""
        at, text = self._by_role.get(role, (None, ""))
        return text, None if at is None else now - at


class Totals:
    """The counts of all roles."""

    def __init__(self) -> None:
        self._calls: dict[str, list[float]] = {}
        """By role: calls, their time, and how many took no longer than each of `CALLS_WITHIN_S` but the one before."""
        self._by_role: dict[str, dict[str, float]] = {}
        self._latest: OrderedDict[str, dict[str, float]] = OrderedDict()

    def count_call(self, role: str, seconds: float) -> None:
        """Count a request that an actor has answered, and the time that it took."""
        known = self._calls.get(role)
        if known is None:
            if len(self._calls) >= MAX_ROLES:
                return
            known = self._calls[role] = [0.0] * (len(_OWN) + 1)
        known[0] += 1
        known[1] += seconds
        known[len(CALLS) + bisect_left(CALLS_WITHIN_S, seconds)] += 1

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
        counts = dict(self._by_role.get(role, {}))
        if calls := self._calls.get(role):
            within = accumulate(calls[len(CALLS) : -1])  # the last one took longer than all of them
            counts |= zip(_OWN, [*calls[: len(CALLS)], *within], strict=True)
        return counts

    def _add(self, role: str, name: str, more: float) -> None:
        known = self._by_role.get(role)
        if known is None:
            if len(self._by_role) >= MAX_ROLES:
                return
            known = self._by_role[role] = {}
        if name not in _OWN and (name in known or len(known) < MAX_FIGURES - len(_OWN)):
            known[name] = min(known.get(name, 0.0) + more, MAX_FIGURE)
