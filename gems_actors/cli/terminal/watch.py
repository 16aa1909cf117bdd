"""Shows a draw while it goes on: a live view on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
from typing import Protocol, TextIO

import trio

from gems_actors.app.draw_progress import Progress, advance, finish, lines_of
from gems_actors.client import Mesh
from protocol.messages import Event, Picture


class Watch(Protocol):
    """Somebody who is told how a draw goes."""

    def take(self, event: Event) -> None:
        """Something happened."""

    def note(self, text: str) -> None:
        """The user should know something about what comes next."""

    def finish(self, picture: Picture) -> None:
        """The picture is there; nothing is shown after this."""

    def close(self) -> None:
        """Nothing more is shown, picture or not; may be called twice."""

    async def run(self, mesh: Mesh) -> None:
        """Keep what is shown up to date until cancelled."""


def can_show_live(stream: TextIO) -> bool:
    """Return whether lines written to a stream can be written over."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def choose_watch(stream: TextIO, progress: Progress, seed: int, *, is_live: bool) -> Watch:
    """Return the view that suits a stream."""
    if is_live:
        from gems_actors.cli.terminal.live_screen import LiveWatch  # rich, which plain lines need not load

        return LiveWatch(stream, progress, seed)
    return PlainWatch(stream, progress, seed)


class PlainWatch:
    """Writes a line for every step, without control codes."""

    def __init__(self, stream: TextIO, progress: Progress, seed: int) -> None:
        """Write to `stream`; `progress` is what is known before the first event."""
        self._stream = stream
        self._progress = progress
        self._seed = seed

    def take(self, event: Event) -> None:
        """Tell what an event brought."""
        self._progress = advance(self._progress, event)
        for line in lines_of(self._progress, event):
            self._say(line)

    def note(self, text: str) -> None:
        """Say it."""
        self._say(text)

    def finish(self, picture: Picture) -> None:
        """Say nothing: the outcome stands on standard output."""
        self._progress = finish(self._progress, picture)

    def close(self) -> None:
        """Leave what stands."""

    async def run(self, mesh: Mesh) -> None:
        """Say what the draw can be repeated with; further lines are written as events come."""
        self._say(f"seed: {self._seed}")
        await trio.sleep_forever()

    def _say(self, line: str) -> None:
        print(line, file=self._stream)
