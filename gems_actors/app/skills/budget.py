"""What learning may spend, and what it has spent: counted from what is on disk, so that a kill forgets nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from gems_actors.app.bulk.folder import inspect_folder
from gems_actors.app.bulk.rows import Row
from protocol.costs import chat_cost
from protocol.messages import SkillProposal

_FIRST: Final = 4
"""Pictures that are drawn before anything is known of what one costs."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of all calls for one folder together; None: no limit."""

    max_images: int | None
    max_calls: int | None
    """Calls of chat models."""

    def exceeds(self, images: int, calls: int) -> bool:
        """Return whether there is more to spend than what was spent."""
        more_images = self.max_images is None or self.max_images > images
        return more_images and (self.max_calls is None or self.max_calls > calls)


class Spending:
    """What the folder of a learning command has cost so far."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._folder, self._budget = folder, budget
        self.images = self.calls = self._pictures = 0
        self._dearest = 0
        """Most calls of one picture in the dearest bulk, as a mean, rounded up."""
        self.count()

    def count(self) -> None:
        """Count everything on disk."""
        self.images = self.calls = self._pictures = self._dearest = 0
        bulks = [self._folder / "evidence", *sorted(self._folder.glob("proposals/*/with*"))]
        for bulk in (bulk for bulk in bulks if (bulk / "run.json").exists()):
            self._count_bulk(bulk)
        for path in self._folder.glob("proposals/*/proposal.json"):
            self.calls += msgspec.json.decode(path.read_bytes(), type=SkillProposal).spent.calls

    def _count_bulk(self, bulk: Path) -> None:
        pictures = images = 0

        def take(row: Row) -> None:
            nonlocal pictures, images
            pictures += 1
            images += row.images

        calls = chat_cost(inspect_folder(bulk, take).spent).calls
        self.images, self.calls, self._pictures = self.images + images, self.calls + calls, self._pictures + pictures
        if pictures:
            self._dearest = max(self._dearest, -(-calls // pictures))

    def can_call(self, calls: int) -> bool:
        """Return whether a number of further calls stays within the budget."""
        self.count()
        return self._budget.max_calls is None or self.calls + calls <= self._budget.max_calls

    def pictures_allowed(self, wanted: int, images_each: int) -> int:
        """Return how many further pictures stay within the budget, each of up to a number of images.

        What a picture costs in calls is known only afterwards: twice the mean of the dearest bulk so far is reserved,
        and the first few pictures are drawn to learn it.
        """
        self.count()
        allowed = wanted
        if self._budget.max_images is not None:
            allowed = min(allowed, (self._budget.max_images - self.images) // images_each)
        if self._budget.max_calls is not None:
            left = self._budget.max_calls - self.calls
            allowed = min(allowed, left // (2 * self._dearest) if self._dearest else _FIRST if left > 0 else 0)
        return allowed
