"""How many images a run may draw."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor


@dataclass(frozen=True, slots=True)
class ImageBudget:
    """Images of a run: a total, or a mean over its tasks."""

    images: int | None = None
    mean: float | None = None

    def total(self, tasks: int) -> int:
        """Return the images of a run with this number of tasks."""
        return self.images if self.images is not None else floor((self.mean or 0.0) * tasks)
