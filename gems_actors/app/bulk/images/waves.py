"""Which tasks of a pool get a further image: wave by wave, 64 tasks each. Pure.

A pool is a stretch of the input. Its tasks draw their first round; then those with the highest expected gain draw the
next one, and so on until the pool's images are spent or no image is worth drawing. The table of gains is built again
after every wave, so after every 64 tasks that have finished the round that they were granted.

A large pool has several waves in flight, so that those who draw never wait for a single task. A wave is decided by the
complete waves alone, up to a number that follows from its own number: tasks of later waves are neither candidates nor
observed, even if their images are there already. So decisions depend on the pictures alone: neither the order in which
tasks finish nor an interruption changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gems_actors.app.bulk.images.gains import GainTable, Standing, Sums

TASKS_OF_POOL: Final = 4096
"""Tasks among which images are spread at once; as many may be in flight."""
TASKS_OF_WAVE: Final = 64
"""Tasks of a wave; between two waves, the table is built again."""
_SHARE_IN_FLIGHT: Final = 16
"""One part in this many of a pool's images beyond the first rounds is in flight: decisions wait for the others."""
_NOT_WORTH_IT: Final = 0.02
"""Expected gain per image below which a trajectory counts as hopeless."""

Chosen = list[tuple["Member", float]]
"""The tasks of a wave, each with its expected gain."""


@dataclass(slots=True)
class Member:
    """A task of a pool."""

    position: int
    """Place among the tasks of the run, from 0."""
    cost: int = 1
    """Images of one of its rounds."""
    began: int = 0
    """Rounds that it had drawn before the present plan."""
    rounds: int = 0
    """Rounds that it was allotted, up to its latest wave."""
    wave: int = 0
    """Number of its latest wave; 0 before its first one."""
    standings: tuple[Standing, ...] = ()
    """How it stood after each of its rounds, also those of later waves that an earlier process had drawn."""
    may_continue: bool = False
    """Whether more images are all that it lacks."""
    recorded: dict[int, float] = field(default_factory=dict)
    """Expected gain by wave, for the waves of this plan in which an earlier process allotted it an image."""

    has_failed: bool = False
    """Whether it failed for now: another process may still draw the images that it was allotted."""

    @property
    def images(self) -> int:
        """Images that it was allotted, without those that it did not need because it ended before."""
        return self.images_by(self.wave)

    def images_by(self, known: int) -> int:
        """Return its images when the waves up to `known` are complete: in a later one, all that it was allotted."""
        is_over = self.wave <= known and not self.may_continue and not self.has_failed
        return self.cost * max(1, min(self.rounds, len(self.standings)) if is_over else self.rounds)

    def take(self, standings: tuple[Standing, ...], *, may_continue: bool) -> None:
        """Take note of what was drawn."""
        self.standings, self.may_continue = standings, may_continue

    @property
    def is_waiting(self) -> bool:
        """Whether it would draw another image: later ones in memory were drawn, so they will be."""
        return self.may_continue or self.rounds < len(self.standings)

    @property
    def now(self) -> Standing:
        """How it stands after its latest wave."""
        return self.standings[min(self.rounds, len(self.standings)) - 1]

    @property
    def observations(self) -> Sequence[tuple[Standing, Standing]]:
        """How it stood before and after the round of its latest wave; nothing if it did not draw it."""
        before_and_after = self.standings[self.rounds - 2 : self.rounds]
        return [before_and_after] if len(before_and_after) == 2 else []


class Waves:
    """The waves of a pool whose tasks have drawn their first rounds."""

    def __init__(
        self,
        members: Sequence[Member],
        sums: Sums,
        spare: int,
        cost: int,
        *,
        tasks_of_wave: int = TASKS_OF_WAVE,
    ) -> None:
        """Begin with no wave.

        Args:
            members: tasks of the pool.
            sums: table of gains of the pools before.
            spare: images that the pool may draw beyond those that its tasks have.
            cost: images of a round of a task without a number of its own.
            tasks_of_wave: tasks of a wave; the same for every process of a plan.
        """
        self._members, self._table, self._tasks_of_wave = members, GainTable(sums), tasks_of_wave
        self._images = spare + sum(member.images for member in members)
        self._in_flight = waves_in_flight(spare, cost * tasks_of_wave)
        self._number = 0
        """Number of the latest wave."""

    @property
    def known(self) -> int:
        """Number of the wave that must be complete, as all before it, when the next one is decided."""
        return max(0, self._number + 1 - self._in_flight)

    @property
    def sums(self) -> Sums:
        """Table of gains by which the latest wave was decided."""
        return self._table.sums

    def decide(self) -> tuple[int, Chosen] | None:
        """Return the number of the next wave and its tasks, possibly none while others draw; None after the last one.

        What an earlier process recorded for this wave is obeyed; the others follow by their gain per image, then in the
        order of the input.
        """
        known, self._number = self.known, self._number + 1
        complete = [member for member in self._members if member.wave <= known]
        if known:
            self._table.observe(item for member in complete if member.wave == known for item in member.observations)
        chosen = [
            (member, member.recorded[self._number]) for member in self._members if self._number in member.recorded
        ]
        left = self._images - sum(member.images_by(known) for member in self._members)
        left -= sum(member.cost for member, _ in chosen)
        for gain, member in self._by_gain(complete):
            if len(chosen) >= self._tasks_of_wave:
                break
            if member.cost <= left:
                chosen.append((member, gain))
                left -= member.cost
        for member, _ in chosen:
            member.rounds, member.wave = member.rounds + 1, self._number
        is_last = len(complete) == len(self._members) and not any(
            wave > self._number for member in self._members for wave in member.recorded
        )
        return None if is_last and not chosen else (self._number, chosen)

    def _by_gain(self, complete: Sequence[Member]) -> list[tuple[float, Member]]:
        """Return the candidates of a wave that are worth an image with their expected gain, the best first."""
        waiting = [m for m in complete if m.is_waiting and m.standings and self._number not in m.recorded]
        gain_of = {standing: self._table.expected_gain(standing) for standing in {member.now for member in waiting}}
        gains = [(gain_of[member.now], member) for member in waiting]
        gains = [(gain, member) for gain, member in gains if gain / member.cost >= _NOT_WORTH_IT]
        return sorted(gains, key=lambda item: (-item[0] / item[1].cost, item[1].position))


def waves_in_flight(spare: int, size: int) -> int:
    """Return how many waves of a pool are in flight, from its images beyond the first rounds and those of a wave."""
    return max(1, spare // (_SHARE_IN_FLIGHT * size))


def spare_images(left: int, tasks: int, tasks_left: int, cost: int) -> int:
    """Return how many images a pool may draw beyond the first round of its tasks.

    What is left beyond the first rounds of later tasks is shared among the pools by their numbers of tasks.

    Args:
        left: images of the run that neither earlier pools nor the first rounds of this one have taken.
        tasks: tasks of this pool.
        tasks_left: tasks of this pool and of later ones.
        cost: images of a first round.
    """
    later = max(0, tasks_left - tasks)
    return max(0, left - cost * later) * tasks // max(1, tasks + later)
