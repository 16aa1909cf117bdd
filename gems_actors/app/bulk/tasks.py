"""The tasks of a bulk: what they are, which of them a run selects, and their seeds. `reading` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from protocol.identity import attempt_seed

STANDARD_INPUT: Final = "standard input"
MAX_SAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """One record that can be drawn."""

    index: int
    """Index among all records, from 0; blank lines of a text file count, so line 1 of an editor is index 0."""
    prompt: str
    seed: int | None = None
    """Seed of the record; by default it is derived from the bulk's seed."""
    samples: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Drawing fields of the record, by the names of `DrawSettings`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the record."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The whole record."""


@dataclass(frozen=True, slots=True)
class BadTask:
    """One record that cannot be drawn."""

    index: int
    where: str
    """Line or row in the file, counted from 1."""
    text: str
    """Text of the record, with U+FFFD for bytes that are not UTF-8."""
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """The tasks of a run that are selected."""

    shard: tuple[int, int] = (1, 1)
    """`(i, n)`: only records whose `index % n == i - 1`."""
    limit: int | None = None
    """Maximum tasks to draw now, not counting those that are done."""
    only: frozenset[tuple[int, int]] | None = None
    """Index and sample of single tasks; all tasks by default."""

    @property
    def is_all(self) -> bool:
        """Whether every task is selected; the limit does not matter."""
        return self.shard == (1, 1) and self.only is None

    def has(self, index: int, sample: int) -> bool:
        """Return whether a task is selected; the limit does not matter."""
        number, count = self.shard
        return index % count == number - 1 and (self.only is None or (index, sample) in self.only)

    def total(self, records: int | None, samples: int) -> int | None:
        """Return the number of selected tasks, or None while the number of records is unknown."""
        if self.only is not None:
            return len(self.only)
        if records is None:
            return None
        number, count = self.shard
        return len(range(number - 1, records, count)) * samples


def seed_of(task: Task, seed: int, sample: int) -> int:
    """Return the seed of one sample of a task, 0 to 2**32 - 1.

    The first sample has the seed of its record, by default a hash of the bulk's seed and the record's index; further
    samples have a hash of that seed. No seed depends on other records.
    """
    first = attempt_seed(seed, task.index + 1, 0) if task.seed is None else task.seed
    if sample == 0:
        return first
    return int.from_bytes(blake2b(f"sample\0{first}\0{sample}".encode(), digest_size=4).digest(), "big")
