"""The input of a bulk: which file, which of its tasks, and how many."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from gems_actors.app.bulk.tasks import InputFormat, format_of
from gems_actors.app.prompts import PromptError
from gems_actors.errors import UsageError

STANDARD_INPUT: Final = "standard input"


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


def open_source(stack: ExitStack, file: Path) -> tuple[BinaryIO, InputFormat]:
    """Return an input file, open until the stack ends, and its format; `-` is standard input.

    Raises:
        UsageError: the file cannot be read, or its name ends in no known format.
    """
    if file == Path("-"):
        return sys.stdin.buffer, "txt"
    try:
        return stack.enter_context(file.open("rb")), format_of(file)
    except OSError as error:
        raise UsageError(f"FILE: {file}: expected a readable file, got: {error.strerror}") from error
    except PromptError as error:
        raise UsageError(f"FILE: {error}") from error
