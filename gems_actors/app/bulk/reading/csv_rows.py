"""Read the rows of a CSV file: every line is part of exactly one row, whatever its quotes.

A quote that is never closed costs its own line only: the lines after it are read as rows of their own. The `csv` module
alone would take them all for one cell, or stop in the middle of a cell over its limit and go on with the rest.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from gems_actors.app.bulk.reading.records import MAX_RECORD_BYTES
from gems_actors.app.bulk.reading.text_lines import read_lines
from gems_actors.app.prompts import PromptError, check_text

_MAX_HELD: Final = 16 * MAX_RECORD_BYTES
"""Characters within one quoted cell after which its quote counts as never closed."""
_OTHER_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row."""

    line: int
    """Number of its first line, from 1."""
    text: str
    """Its lines; bytes that are not UTF-8 are lone surrogates."""
    cells: Sequence[str] = ()
    fault: str = ""
    """Why it has no cells."""


class CsvFile:
    """A CSV file whose first row, with the names of the columns, has been read."""

    def __init__(self, stream: BinaryIO, prompt_column: str) -> None:
        """Read the names of the columns.

        Raises:
            PromptError: there is no such column of prompts, or the names cannot be used.
        """
        texts = (line.decode(errors="surrogateescape") for line in read_lines(stream, _MAX_HELD))
        self._lines = _Lines(texts)
        self._skips_spaces = True  # `prompt, seed` and `prompt,seed` name the same columns
        self._rows = self._reader()
        header = next(self.rows(), CsvRow(1, ""))
        names = [name.strip() for name in header.cells]
        self.names = [name or f"column {number}" for number, name in enumerate(names, 1)]
        """Names of the columns; a column without one is named by its number."""
        _check_header(header, self.names, prompt_column)
        self._skips_spaces = any(after.startswith(" ") for after in header.text.split(",")[1:])
        self._rows = self._reader()

    def rows(self) -> Iterator[CsvRow]:
        """Yield the rows that follow, without blank lines."""
        csv.field_size_limit(2 * _MAX_HELD)
        while (row := self._next_row()) is not None:
            if row.fault or any(row.cells):
                yield row

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, strict=True, skipinitialspace=self._skips_spaces)

    def _next_row(self) -> CsvRow | None:
        lines = self._lines
        lines.begin_row()
        try:
            cells = next(self._rows, None)
        except csv.Error as error:
            self._rows = self._reader()  # in place of one that stopped within a cell
            lines.give_back()
            number, text = lines.taken[0]
            if len(text) > MAX_RECORD_BYTES:
                return CsvRow(number, text, fault=_too_long())
            if len(lines.taken) == 1 and (tolerated := self._cells_of(text)):
                return CsvRow(number, text, tolerated)
            if len(lines.taken) > 1 or "unexpected end" in str(error):
                return CsvRow(number, text, fault="expected quotes in pairs, got one that is not closed")
            return CsvRow(number, text, fault=f"expected a row, got: {error}")
        if cells is None:
            return None
        text = lines.taken[0][1] if len(lines.taken) == 1 else "".join(line for _, line in lines.taken)
        if len(text) > MAX_RECORD_BYTES:
            return CsvRow(lines.taken[0][0], text, fault=_too_long())
        return CsvRow(lines.taken[0][0], text, cells)

    def _cells_of(self, line: str) -> Sequence[str] | None:
        """Return the cells of a line whose quotes are not quite right, or None if a cell does not end in it."""
        reader = csv.reader([line, "\n"], skipinitialspace=self._skips_spaces)
        try:
            cells = next(reader)
        except csv.Error:
            return None
        return cells if reader.line_num == 1 else None


class _Lines:
    """Lines for a `csv.reader`; those that it has taken can be given back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = enumerate(lines, 1)
        self._ahead = deque[tuple[int, str]]()
        self._size = 0
        self.taken: list[tuple[int, str]] = []
        """Lines of the current row with their numbers."""

    def begin_row(self) -> None:
        """Begin a row."""
        self._size = 0
        self.taken = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._size > _MAX_HELD:
            raise csv.Error("the cell is too long")
        item = self._ahead.popleft() if self._ahead else next(self._lines)
        self.taken.append(item)
        self._size += len(item[1])
        return item[1]

    def give_back(self) -> None:
        """Let all lines of the current row but its first be taken by the rows that follow."""
        self._ahead.extendleft(reversed(self.taken[1:]))


def _check_header(header: CsvRow, names: Sequence[str], prompt_column: str) -> None:
    if header.fault:
        raise PromptError(f"expected a line with the names of columns: {header.fault}")
    check_text(header.text)
    if prompt_column not in names:
        for separator, title in _OTHER_SEPARATORS.items():
            if prompt_column in (name.strip(' \r\n"') for name in header.text.split(separator)):
                raise PromptError(f"expected commas between columns, got {title}; save it with commas")
    check_columns(names if header.cells else (), prompt_column)


def check_columns(names: Sequence[str], prompt_column: str) -> None:
    """Check that a table has a column of prompts and that the names of its columns differ.

    Raises:
        PromptError: it has none, or two columns have the same name.
    """
    if prompt_column not in names:
        found = ", ".join(names) or "an empty file"
        hint = "; --prompt-column names another" if names else ""
        raise PromptError(f"expected a column named {prompt_column}, got {found}{hint}")
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PromptError(f"expected columns whose names differ, got {twice} twice")


def _too_long() -> str:
    return f"expected a row of at most {MAX_RECORD_BYTES:,} characters, got more"
