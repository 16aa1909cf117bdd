"""Paint a frame over the one before without flicker: nothing is erased before it is written over.

Rich lays out and colours; this module places frames. A frame is one write. Lines are never padded to the width of the
terminal, so that few of them wrap when it becomes narrower; lines that wrap are counted when the cursor moves back up.
"""

from __future__ import annotations

import os
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment
from rich.text import Text

from gems_actors.terminal_text import Painting, paint, printable_lines

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_ERASE_LINE_END, _ERASE_BELOW = "\x1b[K", "\x1b[J"


class _Escaped:
    """What another renderable shows, without the control characters of its texts."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)


class _EscapeAll(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(shown) for shown in renderables]


def open_console(stream: TextIO, **options: Any) -> Console:
    """Return a console that colours what it is given and escapes the control characters in it."""
    file = cast("IO[str]", Painting(stream))  # it has what a console calls
    console = Console(file=file, highlight=False, markup=False, emoji=False, **options)
    console.push_render_hook(_EscapeAll())
    return console


class Painter:
    """Owns the last lines of a terminal until closed; nothing else may write to it meanwhile."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console = open_console(stream, force_terminal=True, legacy_windows=False)
        self._line_widths: list[int] = []
        self._last = ""

    @property
    def size(self) -> tuple[int, int]:
        """Current columns and lines of the terminal."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except OSError:
            columns, lines = 80, 24
        return max(columns or 80, 20), max(lines or 24, 4)

    def paint(self, renderable: RenderableType, *, is_last: bool = False) -> None:
        """Show a frame in place of the one before.

        Lines below the terminal are cut, because they could not be written over; the last frame is shown whole.
        """
        columns, rows = self.size
        lines = self._render(renderable, columns)[: None if is_last else rows - 1]
        frame = "".join(f"{line}{_ERASE_LINE_END}\n" for line in lines)
        if frame == self._last:
            return
        wrapped_rows = sum(max(1, -(-width // columns)) for width in self._line_widths)
        up = f"\x1b[{wrapped_rows}F" if wrapped_rows else ""
        self._write(_HIDE_CURSOR + up + frame + _ERASE_BELOW)
        self._last = frame
        self._line_widths = [Text.from_ansi(line).cell_len for line in lines]

    def close(self) -> None:
        """Leave the last frame and show the cursor again."""
        self._write(_SHOW_CURSOR)

    def _render(self, renderable: RenderableType, columns: int) -> list[str]:
        self._console.width = columns
        with self._console.capture() as capture:
            self._console.print(renderable)
        return [line.rstrip() for line in capture.get().removesuffix("\n").split("\n")]

    def _write(self, text: str) -> None:
        paint(self._stream, text)
        self._stream.flush()
