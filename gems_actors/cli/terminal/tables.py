"""Tables of plain text, and lines cut to the width of the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Iterator, Sequence
from typing import Final

from gems_actors.terminal_text import printable

_MAX_WHAT_CHARS: Final = 40
"""Characters of a prompt or of the name of a file in a table."""


def table_lines(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> Iterator[str]:
    """Yield rows as lines with aligned columns; the last column keeps its length, and no cell adds a line.

    Args:
        rows: cells, those of the heading first.
        left: indices of the columns that are aligned to the left; the others are aligned to the right.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, last in rows:
        aligned = [
            f"{cell:<{width}}" if column in left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield "  ".join([*aligned, last]).rstrip()


def run_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield runs as a table; where it does not fit, with what each is and where in a second line.

    Args:
        rows: cells, those of the heading first: name, state, done, failed, began, what, where.
    """
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    left = (0, 1, 4, 5, 6)
    shortened = [(*row[:5], _cut(row[5], _MAX_WHAT_CHARS), row[6]) for row in rows]
    lines = list(table_lines(shortened, left=left))
    if columns is None or max(map(len, lines)) <= columns:
        yield from lines
        return
    for line, row in zip(table_lines([row[:5] for row in rows], left=left), rows, strict=True):
        yield line
        room = columns - 4  # the margin, and a blank between the two
        what = _cut(row[5], max(room // 3, room - len(row[6])))
        yield f"  {what}  {_cut(row[6], room - len(what), keeps_end=True)}"


def _cut(text: str, length: int, *, keeps_end: bool = False) -> str:
    """Return a text of at most `length` characters; of a path, the end says more than the beginning."""
    if len(text) <= length:
        return text
    return f"...{text[3 - length :]}" if keeps_end else f"{text[: length - 3]}..."


def counted(number: int, noun: str) -> str:
    """Return a number of things, such as `1 record` or `2 records`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def fit_to_terminal(line: str) -> str:
    """Return a line cut to the width of the terminal on standard output; whole where output is a file or a pipe."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return line if len(line) <= columns else f"{line[: columns - 3]}..."


def format_bytes(size: int) -> str:
    """Return a number of bytes with its largest fitting unit."""
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"
