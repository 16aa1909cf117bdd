"""Views of a draw: plain lines here, and the choice of the painted view where a terminal allows it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import click
import trio

from gems_actors.app.draw import DrawResult, DrawView
from gems_actors.app.draw_progress import Progress, advance, lines_of, progress_of, references_line
from gems_actors.app.picture_files import encode_json, summary_lines, text_of_path
from gems_actors.client import Mesh
from gems_actors.terminal_text import PrintableStream
from protocol.messages import DrawPicture, Event

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _LossyFile(io.FileIO):
    """A file that drops what cannot be written, so that work goes on after its reader is gone."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(memoryview(data))


@contextmanager
def open_terminal() -> Iterator[TextIO]:
    """Yield a stream on standard error that stays there while the original is redirected to a log."""
    sys.stderr.flush()
    file = io.BufferedWriter(_LossyFile(os.dup(2), "w"))
    with PrintableStream(file, sys.stderr.encoding) as stream:
        yield stream


def can_paint(stream: TextIO) -> bool:
    """Return whether lines on a stream can be painted over; without colours if `NO_COLOR` is set."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def draw_view_for(stream: TextIO, *, may_paint: bool, as_json: bool) -> DrawView:
    """Return a painted view for a terminal, and plain lines otherwise; both print the result when it exists."""
    if may_paint and can_paint(stream) and not as_json:
        from gems_actors.cli.terminal.draw_view import PaintedDraw  # loads rich, which plain lines do not need

        return PaintedDraw(stream)
    return PlainDraw(stream, as_json=as_json)


def print_draw_result(result: DrawResult, *, as_json: bool) -> None:
    """Print the path of a picture and its summary, or everything about it as JSON, to standard output."""
    if as_json:
        click.echo(encode_json(result.to_tree()))
    else:
        summary = summary_lines(result.picture, seed=result.seed, seconds=result.seconds)
        click.echo("\n".join([text_of_path(result.path), *summary]))


class PlainDraw(DrawView):
    """Writes a line for every step, without control codes."""

    _request: DrawPicture
    _progress: Progress

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self._stream, self._as_json = stream, as_json

    def warn(self, text: str) -> None:
        self.note(f"gems: {text}")

    def start(self, request: DrawPicture) -> None:
        self._request, self._progress = request, progress_of(request)

    def take(self, event: Event) -> None:
        self._progress = advance(self._progress, event)
        for line in lines_of(self._progress, event):
            self.note(line)

    def note(self, text: str) -> None:
        print(text, file=self._stream)

    def finish(self, result: DrawResult) -> None:
        print_draw_result(result, as_json=self._as_json)

    async def run(self, mesh: Mesh) -> None:
        """Write the seed, with which the draw can be repeated, and what the picture is drawn from."""
        await trio.lowlevel.checkpoint()
        self.note(f"seed: {self._request.seed}")
        if line := references_line(self._request.references):
            self.note(line)
