"""The live view of a bulk: a bar with its results below, painted over itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from gems_actors.app.bulk.interface import BulkView
from gems_actors.app.bulk.totals import BulkProgress, rate_parts, result_parts
from gems_actors.cli.terminal.draw_view import Glyphs, glyphs_for, wrap
from gems_actors.cli.terminal.painter import Painter
from gems_actors.terminal_text import printable

_MIN_BAR_CELLS, _MAX_BAR_CELLS = 8, 40
_MAX_NOTE_LINES: Final = 2


def render(progress: BulkProgress, columns: int, glyphs: Glyphs) -> Group:
    """Return lines of at most `columns`; the bar is left out if there is no room for it."""
    rate, lines = rate_parts(progress), _lines_of(result_parts(progress), columns, glyphs)
    if progress.note:
        lines += wrap(Text(printable(progress.note), "bold yellow"), columns, _MAX_NOTE_LINES, glyphs)
    bar_cells = min(_MAX_BAR_CELLS, columns - len(glyphs.between.join(rate)) - 1)
    if progress.total is None or bar_cells < _MIN_BAR_CELLS:
        return Group(*_lines_of(rate, columns, glyphs), *lines)
    first = Table.grid(Column(width=bar_cells), Column(no_wrap=True), padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.total), completed=progress.finished, width=bar_cells)
    first.add_row(bar, Text(glyphs.between.join(rate), "bold"))
    return Group(first, *lines)


def _lines_of(parts: Sequence[str], columns: int, glyphs: Glyphs) -> list[RenderableType]:
    """Break lines between parts, and within a part only if it is longer than a line."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1] + glyphs.between + part) <= columns:
            lines[-1] += glyphs.between + part
        else:
            lines.append(part)
    return [wrapped for line in lines for wrapped in wrap(Text(line), columns, len(line), glyphs)]


class BulkBar(BulkView):
    """Owns the last lines of a terminal until finished."""

    is_live = True

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._painter, self._glyphs = stream, Painter(stream), glyphs_for(stream.encoding)

    def say(self, text: str) -> None:
        """Write a line, before the first update."""
        print(text, file=self._stream)

    def show(self, progress: BulkProgress) -> None:
        self._painter.paint(render(progress, self._painter.size[0], self._glyphs))

    def finish(self, progress: BulkProgress) -> None:
        self.show(progress)
        self._painter.close()
