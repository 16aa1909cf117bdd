"""A bulk on a terminal: one bar with what it has come to below it, written over as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gems_actors.app.bulk.totals import Standing, outcome_of, pace_of
from gems_actors.cli.terminal.draw_view import Glyphs, marks_for, wrap
from gems_actors.cli.terminal.painter import Painter

_MIN_BAR_CELLS, _MAX_BAR_CELLS = 8, 40
_MAX_NOTE_LINES: Final = 2


def render(standing: Standing, columns: int, marks: Glyphs) -> Group:
    """Return lines, none wider than `columns`; the bar gives way where there is no room for it."""
    pace, lines = pace_of(standing), _lines_of(outcome_of(standing), columns, marks)
    if standing.note:
        lines += wrap(Text(standing.note, "bold yellow"), columns, _MAX_NOTE_LINES, marks)
    bar_cells = min(_MAX_BAR_CELLS, columns - len(marks.between.join(pace)) - 1)
    if standing.total is None or bar_cells < _MIN_BAR_CELLS:
        return Group(*_lines_of(pace, columns, marks), *lines)
    first = Table.grid(padding=(0, 1))
    first.add_column(width=bar_cells)
    first.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, standing.total), completed=standing.finished, width=bar_cells)
    first.add_row(bar, Text(marks.between.join(pace), "bold"))
    return Group(first, *lines)


def _lines_of(parts: Sequence[str], columns: int, marks: Glyphs) -> list[RenderableType]:
    """Break between parts, and within one only where it is too long for a line of its own."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1] + marks.between + part) <= columns:
            lines[-1] += marks.between + part
        else:
            lines.append(part)
    return [wrapped for line in lines for wrapped in wrap(Text(line), columns, len(line), marks)]


class LiveBar:
    """Owns the last lines of a terminal until closed."""

    is_live = True

    def __init__(self, stream: TextIO) -> None:
        self._painter = Painter(stream)
        self._marks = marks_for(stream.encoding)

    def show(self, standing: Standing) -> None:
        """Show how far it is in place of what was shown before."""
        self._painter.paint(render(standing, self._painter.size[0], self._marks))

    def finish(self, standing: Standing) -> None:
        """Leave how far it came standing, and give the cursor back."""
        self.show(standing)
        self._painter.close()
