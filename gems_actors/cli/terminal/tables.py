"""Tables of plain text, and lines cut to the width of the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Iterator, Sequence


def table_lines(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> Iterator[str]:
    """Yield rows as lines with aligned columns; the last column keeps its length.

    Args:
        rows: cells, those of the heading first.
        left: indices of the columns that are aligned to the left; the others are aligned to the right.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, last in rows:
        aligned = [
            f"{cell:<{width}}" if column in left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield "  ".join([*aligned, last]).rstrip()


def fit_to_terminal(line: str) -> str:
    """Return a line cut to the width of the terminal on standard output; whole where output is a file or a pipe."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return line if len(line) <= columns else f"{line[: columns - 3]}..."
