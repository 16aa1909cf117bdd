"""What a further image is expected to gain, learned from the images that a run has drawn. Pure.

A table of means: how many more requirements the next image met, for trajectories by their number of images and by the
number and kinds of their unmet requirements. A cell with few observations leans on the coarser cell above it, and
the coarsest on a rule of thumb, so that the table is of use from the first image on. All sums are whole numbers: the
order in which observations arrive changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from actors.ranking import choose_best
from protocol.messages import Picture

_FIRST_GUESS: Final = 0.35
"""Share of the unmet requirements that a further image meets, before anything is known."""
_WEIGHT: Final = 4.0
"""Observations of its own that a cell needs to count as much as the coarser cell above it."""
_MOST_UNMET: Final = 12
"""Trajectories with this many unmet requirements or more share a cell."""

Sums = Mapping[str, tuple[int, int]]
"""Observations and requirements gained, by cell."""


class Standing(NamedTuple):
    """How a trajectory stands after some rounds."""

    round: int
    unmet: tuple[str, ...]
    """Kinds of the requirements that its best attempt does not meet, in alphabetical order."""


def standings_of(picture: Picture) -> tuple[Standing, ...]:
    """Return how a trajectory stood after each of its rounds; words that were not understood are nobody's fault."""
    kinds = {item.id: item.kind for item in picture.requirements if not item.not_understood}
    found = []
    for round_ in sorted({attempt.round for attempt in picture.attempts}):
        best, _ = choose_best([attempt for attempt in picture.attempts if attempt.round <= round_])
        left = (item for item in best.verdicts if item.answer != "met" and item.requirement in kinds)
        found.append(Standing(round_, tuple(sorted(kinds[item.requirement] for item in left))))
    return tuple(found)


class GainTable:
    """Mean gains of a further image."""

    def __init__(self, sums: Sums | None = None) -> None:
        """Continue from the sums of another table, or from nothing."""
        self._sums = dict(sums or {})

    @property
    def sums(self) -> Sums:
        """What was observed, for another process to continue from."""
        return self._sums

    def observe(self, standings: Iterable[tuple[Standing, Standing]]) -> None:
        """Take in how trajectories stood before and after an image."""
        for before, after in standings:
            gain = max(0, len(before.unmet) - len(after.unmet))
            for cell in _cells_of(before):
                count, total = self._sums.get(cell, (0, 0))
                self._sums[cell] = (count + 1, total + gain)

    def expected_gain(self, standing: Standing) -> float:
        """Return how many requirements more the next image is expected to meet."""
        gain = _FIRST_GUESS * len(standing.unmet)
        for cell in _cells_of(standing):
            count, total = self._sums.get(cell, (0, 0))
            gain = (total + _WEIGHT * gain) / (count + _WEIGHT)
        return gain


def _cells_of(standing: Standing) -> Iterator[str]:
    """Yield the cells of a standing, the coarsest first."""
    unmet = min(len(standing.unmet), _MOST_UNMET)
    yield f"{unmet}"
    yield f"{unmet} after {standing.round}"
    yield f"{unmet} after {standing.round}: {' '.join(dict.fromkeys(standing.unmet))}"
