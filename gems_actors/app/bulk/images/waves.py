"""Which tasks of a pool get a further image: wave by wave, each after all images of the one before. Pure.

A pool is a stretch of the input. Its tasks draw their first image; then those with the highest expected gain draw the
next one, and so on until the pool's images are spent or no image is worth drawing. Before each wave the table of
gains is built again from all that is known then, so decisions depend on the pictures alone: neither the order in which
tasks finish nor an interruption changes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from gems_actors.app.bulk.images.gains import GainTable, Standing, Sums

TASKS_OF_POOL: Final = 4096
"""Tasks among which images are spread at once; as many may be in flight."""
LEAST_WAVE: Final = 64
"""Images of a wave, at least: between two of them, the table is built again."""
_WAVES: Final = 16
"""Waves of this many images each would spend a large pool's images."""
_NOT_WORTH_IT: Final = 0.02
"""Expected gain per image below which a trajectory counts as hopeless."""


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
    """Rounds that it was allotted, up to the present wave."""
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
        is_over = not self.may_continue and not self.has_failed
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
        """How it stands in the present wave."""
        return self.standings[min(self.rounds, len(self.standings)) - 1]

    @property
    def observations(self) -> Iterable[tuple[Standing, Standing]]:
        """How it stood before and after each image of this plan, up to the present wave."""
        first, last = max(1, self.began), min(self.rounds, len(self.standings))
        return zip(self.standings[first - 1 : last], self.standings[first:last], strict=False)


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


def size_of_wave(spare: int) -> int:
    """Return the number of images of a wave in a pool with `spare` images beyond its first ones."""
    return max(LEAST_WAVE, ceil(spare / _WAVES))


def choose(
    members: Sequence[Member], sums: Sums, wave: int, left: int, size: int
) -> tuple[list[tuple[Member, float]], Sums]:
    """Return who gets an image in a wave, with the expected gain, and the table by which this was decided.

    What an earlier process recorded for this wave is obeyed; the others follow by their gain per image, then in the
    order of the input.

    Args:
        members: tasks of the pool, none of them drawing.
        sums: table of the pools before.
        wave: number of the wave, from 1.
        left: images that the pool may still draw.
        size: images of the wave.
    """
    table = GainTable(sums)
    for member in members:
        table.observe(member.observations)
    chosen = [(member, member.recorded[wave]) for member in members if wave in member.recorded and member.is_waiting]
    room = min(left, size) - sum(member.cost for member, _ in chosen)
    gains = [
        (table.expected_gain(member.now), member)
        for member in members
        if member.is_waiting and member.standings and wave not in member.recorded
    ]
    gains = [(gain, member) for gain, member in gains if gain / member.cost >= _NOT_WORTH_IT]
    gains.sort(key=lambda item: (-item[0] / item[1].cost, item[1].position))
    for gain, member in gains:
        if member.cost <= room:
            chosen.append((member, gain))
            room -= member.cost
    return chosen, table.sums
