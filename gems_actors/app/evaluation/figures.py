"""The figures by which runs are compared, as sums over prompts, so that they can be computed for any resample. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Parts = Mapping[str, tuple[float, float]]
"""What one prompt adds to a figure: for each group the sum of its values, and their number."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: the weighted sum, over groups of values, of the mean of each group."""

    name: str
    scale: float = 1.0
    """Factor of the weighted sum."""
    smallest: float = 0.0
    largest: float | None = None
    """End of the scale; None for a figure without one."""
    weights: Mapping[str, float] | None = None
    """Weight of each group; by default all groups weigh the same, and together 1."""

    def value(self, sums: Parts) -> float | None:
        """Return the figure for the sums over some prompts; None if a group is missing or has no values."""
        weights = self.weights or dict.fromkeys(sums, 1 / max(1, len(sums)))
        if not sums or weights.keys() != sums.keys():
            return None
        return self.weighted([(weights[group], total, count) for group, (total, count) in sums.items()])

    def weighted(self, terms: Iterable[tuple[float, float, float]]) -> float | None:
        """Return the figure for each group's weight, sum of values and number of values; None if a number is 0."""
        found = 0.0
        for weight, total, count in terms:
            if count <= 0:
                return None
            found += weight * total / count
        found *= self.scale
        return max(self.smallest, found if self.largest is None else min(found, self.largest))


def sum_parts(parts: Iterable[Parts]) -> dict[str, tuple[float, float]]:
    """Return the sums over prompts."""
    sums: dict[str, tuple[float, float]] = {}
    for one in parts:
        for group, (total, count) in one.items():
            before = sums.get(group, (0.0, 0.0))
            sums[group] = (before[0] + total, before[1] + count)
    return sums
