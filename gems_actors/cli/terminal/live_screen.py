"""The live view at work: takes events and the router's table, and paints what `live` makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TextIO

import trio

from gems_actors.app.draw_progress import Progress, advance, finish
from gems_actors.cli.terminal.draw_view import View, marks_for, render
from gems_actors.cli.terminal.painter import Painter
from gems_actors.client import Mesh
from gems_actors.errors import GemsError
from protocol.messages import Event, Picture, ReadStatus

_FRAME_S = 0.1
_STATUS_S = 0.2
_ALL_ROWS = 10_000


class LiveWatch:
    """Repaints the view as things happen and time goes by."""

    def __init__(self, stream: TextIO, progress: Progress, seed: int) -> None:
        """Paint on the terminal behind `stream`; `progress` is what is known before the first event."""
        self._painter = Painter(stream)
        self._marks = marks_for(stream.encoding)
        self._began = trio.current_time()
        self._view = View(progress, seed)
        self._is_closed = False
        self._paint()

    def take(self, event: Event) -> None:
        """Let the next frame show what an event brought."""
        self._view = replace(self._view, progress=advance(self._view.progress, event))

    def note(self, text: str) -> None:
        """Show it below everything else."""
        self._view = replace(self._view, note=text)
        self._paint()

    def finish(self, picture: Picture) -> None:
        """Leave the whole story standing; what the roles do now says nothing of it."""
        self._view = replace(self._view, progress=finish(self._view.progress, picture), roles=(), note="")
        self._paint(is_last=True)
        self.close()

    def close(self) -> None:
        """Give the cursor back."""
        if not self._is_closed:
            self._is_closed = True
            self._painter.close()

    async def run(self, mesh: Mesh) -> None:
        """Repaint until cancelled."""
        self._view = replace(self._view, is_connected=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_roles, mesh)
            while True:
                self._paint()
                await trio.sleep(_FRAME_S)

    async def _follow_roles(self, mesh: Mesh) -> None:
        while True:
            with trio.move_on_after(5 * _STATUS_S) as patience:
                try:
                    self._view = replace(self._view, roles=(await mesh.ask(ReadStatus())).roles)
                except GemsError:
                    self._view = replace(self._view, roles=())
            if patience.cancelled_caught:  # the router is away and will be back: the request above repeats itself
                self._view = replace(self._view, roles=())
            await trio.sleep(_STATUS_S)

    def _paint(self, *, is_last: bool = False) -> None:
        if not self._is_closed:
            self._view = replace(self._view, elapsed_s=trio.current_time() - self._began)
            columns, rows = self._painter.size
            frame = render(self._view, columns, _ALL_ROWS if is_last else rows, self._marks)
            self._painter.paint(frame, is_last=is_last)
