"""The tasks of a bulk: what they are, and which of them a run selects. `reading` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gems_actors.app.bulk.finished.ledger import TaskRef

STANDARD_INPUT: Final = "standard input"
MAX_SAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    """A picture that a record is drawn from."""

    column: str
    """Field of the record that gives it."""
    name: str
    """Path relative to the folder of the input, or a name for the bytes."""
    data: bytes | None = None
    """The file, where it is in the input itself."""
    digest: str = ""
    """SHA-256 of the file as it is, 64 hexadecimal digits; empty until it was looked at."""
    width_px: int = 0
    """Width as the picture is shown, which may be the height in its file."""
    height_px: int = 0


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
    id: str = ""
    """Id by content, 16 hexadecimal digits, the same wherever the record stands; empty where tasks go by index."""
    name: str = ""
    """Name of its files, if the user gave one with `--id-column`."""
    references: tuple[Source, ...] = ()
    """Pictures that it is drawn from."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files that it is drawn from."""
        return tuple(source.name for source in self.references)

    @property
    def digests(self) -> list[str]:
        """Digests of the files that it is drawn from."""
        return [source.digest for source in self.references]

    @property
    def ref(self) -> TaskRef:
        """What the task is known by: its id, or its index without one."""
        return self.id or self.index


@dataclass(frozen=True, slots=True)
class BadTask:
    """One record that cannot be drawn."""

    index: int
    where: str
    """Line or row in the file, counted from 1."""
    text: str
    """Text of the record, with U+FFFD for bytes that are not UTF-8."""
    reason: str
    id: str = ""
    """As for a `Task`."""

    @property
    def ref(self) -> TaskRef:
        """What the record is known by: its id, or its index without one."""
        return self.id or self.index


@dataclass(frozen=True, slots=True)
class Continuation:
    """How tasks that have a picture are continued: their trajectories are reopened."""

    max_rounds: int | None = None
    """Rounds in all; by default as many as before."""


@dataclass(frozen=True, slots=True)
class Part:
    """The tasks of a run that are selected."""

    shard: tuple[int, int] = (1, 1)
    """`(i, n)`: only tasks whose id, or index without one, is `i - 1` modulo `n`."""
    limit: int | None = None
    """Maximum tasks to draw now, not counting those that are done."""
    only: frozenset[tuple[TaskRef, int]] | None = None
    """Single tasks, by id or index, and sample; all tasks by default."""
    continuation: Continuation | None = None
    """Continue the tasks in `only`, which are done; by default tasks that are done are left out."""

    @property
    def is_all(self) -> bool:
        """Whether every task is selected; the limit does not matter."""
        return self.shard == (1, 1) and self.only is None

    def has(self, ref: TaskRef, index: int, sample: int) -> bool:
        """Return whether a task, known by its id and by its index, is selected; the limit does not matter."""
        number, count = self.shard
        if count > 1 and (int(ref, 16) if isinstance(ref, str) else ref) % count != number - 1:
            return False
        return self.only is None or (ref, sample) in self.only or (index, sample) in self.only
