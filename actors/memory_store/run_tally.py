"""The tally of a run: what its trajectories achieved by round and by kind of requirement, and what they cost. Pure.

All parts are sums over trajectories, so that one that is reopened can be taken out again, and shards can be added up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from protocol import costs
from protocol import messages as m
from protocol.limits import MAX_COUNT

_FEW = 64
"""Kinds and roles of a tally; hooks have other names."""


class Result(NamedTuple):
    """What one trajectory that ended adds to a tally."""

    gained: tuple[int, ...]
    """Requirements that the best image up to each round meets in addition to the rounds before."""
    kinds: dict[str, tuple[int, int]]
    """Requirements met, and all requirements, of the chosen image by kind."""

    @classmethod
    def of(cls, met_by_round: Mapping[int, int], kinds: Mapping[str, str], met_ids: Collection[str]) -> Result:
        """Return the result of a trajectory: the most met in each round, its requirements, and those met in the end."""
        gained, best = [], 0
        for round_ in range(1, max(met_by_round, default=0) + 1):
            met = met_by_round.get(round_, 0)
            gained.append(max(0, met - best))
            best = max(best, met)
        by_kind: dict[str, tuple[int, int]] = {}
        for id_, kind in kinds.items():
            met, total = by_kind.get(kind, (0, 0))
            by_kind[kind] = met + (id_ in met_ids), total + 1
        return cls(tuple(gained), by_kind)


class RunTally(msgspec.Struct):
    """The sums of a run."""

    ended: int = 0
    requirements: int = 0
    rounds: list[tuple[int, int]] = []
    """Trajectories that drew a round, and requirements gained in it."""
    kinds: dict[str, tuple[int, int]] = {}
    spent: dict[str, m.Spent] = {}

    def count(self, result: Result, difference: int) -> None:
        """Add a trajectory (1), or take it out again (-1)."""
        self.ended += difference
        for index, gained in enumerate(result.gained):
            if index == len(self.rounds):
                self.rounds.append((0, 0))
            trajectories, before = self.rounds[index]
            self.rounds[index] = trajectories + difference, before + difference * gained
        while self.rounds and self.rounds[-1] == (0, 0):
            self.rounds.pop()
        for kind, (met, total) in result.kinds.items():
            known_met, known_total = self.kinds.get(kind, (0, 0))
            self.kinds[kind] = known_met + difference * met, known_total + difference * total
            self.requirements += difference * total

    def add_costs(self, spent: Mapping[str, m.Spent]) -> None:
        """Add the costs of a step by role."""
        if len(self.spent) + len(spent) > _FEW:
            spent = {role: cost for role, cost in spent.items() if self._has_room_for(role)}
        costs.add_costs(self.spent, spent)

    def figures(self, failures: Mapping[str, int]) -> m.RunFigures:
        """Return the tally as it is sent, with the failures of the run by code."""
        return m.RunFigures(
            ended=self.ended,
            requirements=self.requirements,
            rounds=tuple(m.RoundFigures(trajectories=count, gained=gained) for count, gained in self.rounds),
            kinds={
                kind: m.MetFigures(met=met, total=total) for kind, (met, total) in sorted(self.kinds.items()) if total
            },
            failures=dict(failures),
            spent=dict(self.spent),
        )

    def pack(self) -> bytes:
        """Return the tally as bytes for a column; equal tallies have equal bytes."""
        return msgspec.msgpack.encode(self, order="deterministic")

    @classmethod
    def unpack(cls, packed: bytes) -> RunTally:
        """Return the tally in the bytes of a column."""
        return msgspec.msgpack.decode(packed, type=cls)

    def _has_room_for(self, role: str) -> bool:
        return role in self.spent or len(self.spent) < _FEW


def merge_figures(found: Collection[m.RunFigures]) -> m.RunFigures:
    """Return the figures of a run whose trajectories are in several shards."""
    rounds: list[tuple[int, int]] = []
    kinds: dict[str, tuple[int, int]] = {}
    failures: dict[str, int] = {}
    spent: dict[str, m.Spent] = {}
    for figures in found:
        rounds += [(0, 0)] * (len(figures.rounds) - len(rounds))
        for index, more in enumerate(figures.rounds):
            trajectories, gained = rounds[index]
            rounds[index] = trajectories + more.trajectories, gained + more.gained
        for kind, share in figures.kinds.items():
            met, total = kinds.get(kind, (0, 0))
            kinds[kind] = met + share.met, total + share.total
        for code, count in figures.failures.items():
            failures[code] = min(failures.get(code, 0) + count, MAX_COUNT)
        costs.add_costs(spent, figures.spent)
    tally = RunTally(sum(item.ended for item in found), sum(item.requirements for item in found), rounds, kinds, spent)
    return tally.figures(failures)
