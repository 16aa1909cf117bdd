"""Frames painted over frames."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from gems_actors.cli.terminal.painter import Painter


class SizedPainter(Painter):
    """A painter on a terminal whose size a test sets."""

    columns, rows = 80, 24

    @property
    def size(self) -> tuple[int, int]:
        return self.columns, self.rows


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_line_is_overwritten_before_its_rest_is_erased(stream: io.StringIO) -> None:
    painter = SizedPainter(stream)
    painter.paint(Text("one\ntwo"))
    painter.paint(Text("1\ntwo"))
    second = stream.getvalue().rpartition("\x1b[?25l")[2]
    assert second == "\x1b[2F1\x1b[K\ntwo\x1b[K\n\x1b[J"


def test_the_same_frame_is_not_written_again(stream: io.StringIO) -> None:
    painter = SizedPainter(stream)
    painter.paint(Text("one"))
    before = stream.getvalue()
    painter.paint(Text("one"))
    assert stream.getvalue() == before


def test_a_frame_never_scrolls_the_terminal_but_the_last_one_is_complete(stream: io.StringIO) -> None:
    painter = SizedPainter(stream)
    painter.rows = 4
    painter.paint(Text("\n".join("abcdef")))
    assert stream.getvalue().count("\n") == 3
    painter.paint(Text("\n".join("abcdef")), is_last=True)
    assert stream.getvalue().count("\n") == 3 + 6


def test_lines_that_wrap_after_a_resize_are_counted(stream: io.StringIO) -> None:
    painter = SizedPainter(stream)
    painter.paint(Text("x" * 70 + "\nshort"))
    painter.columns = 30
    painter.paint(Text("y"))
    assert "\x1b[4F" in stream.getvalue()


def test_closing_shows_the_cursor_again(stream: io.StringIO) -> None:
    painter = SizedPainter(stream)
    painter.paint(Text("one"))
    painter.close()
    assert stream.getvalue().endswith("\x1b[?25h")
