"""Views of how far a bulk is: a line from time to time, for people or machines, or a bar that is written over."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol, TextIO

import click

from gems_actors.app.bulk.totals import Standing, progress_event, progress_line
from gems_actors.app.picture_files import encode_json
from gems_actors.cli.terminal.watch import can_show_live


class View(Protocol):
    """Somebody who is shown how far a bulk is."""

    is_live: bool
    """Whether what it shows is written over."""

    def show(self, standing: Standing) -> None:
        """Show it now."""

    def finish(self, standing: Standing) -> None:
        """Show it for the last time."""


class _Lines:
    """Writes a line each time, without control codes."""

    is_live = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, standing: Standing) -> None:
        print(progress_line(standing), file=self._stream)

    finish = show


class _Events:
    """Writes a line of JSON each time to standard output, where the summary follows."""

    is_live = False

    def show(self, standing: Standing) -> None:
        with suppress(OSError):  # who reads it may be gone, and the work goes on
            click.echo(encode_json(progress_event(standing)))

    def finish(self, standing: Standing) -> None:
        """Leave it to the summary."""


def view_for(stream: TextIO, *, as_json: bool) -> View:
    """Return the view that suits a stream: lines of JSON, a bar that is written over, or lines of text."""
    if as_json:
        return _Events()
    if can_show_live(stream):
        from gems_actors.cli.terminal.bulk_bar import LiveBar  # rich, which plain lines need not load

        return LiveBar(stream)
    return _Lines(stream)
