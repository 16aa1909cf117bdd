"""Watches a bulk while it runs: who pauses or cancels it, what roles say, and what its user is shown of all that."""

from __future__ import annotations

import trio

from gems_actors.app import session
from gems_actors.app.bulk.running.opening import OpenBulk
from gems_actors.app.graceful_stop import await_hopeless
from gems_actors.app.interrupts import Interrupts
from gems_actors.client import Mesh
from protocol.messages import RunState

_LIVE_PERIOD_S, _PLAIN_PERIOD_S, _FIRST_S = 0.25, 5.0, 1.0
"""Time between two updates of a view: one that is painted over, and one that adds a line each time, to its first."""


class RunWatch:
    """The state of a bulk's run as the mesh tells it."""

    def __init__(self, bulk: OpenBulk) -> None:
        self._bulk = bulk
        self.is_cancelled = trio.Event()
        self.cancelled_by = ""
        self.obstacle = ""
        """What kept tasks in flight from being finished after an interrupt."""
        self._state: RunState | None = None
        """What pauses or cancels the run."""
        self._role_notes = ""

    @property
    def is_paused(self) -> bool:
        """Whether somebody has paused the run."""
        return self._state is not None and self._state.state == "paused"

    def start(self, nursery: trio.Nursery, mesh: Mesh, interrupts: Interrupts) -> None:
        """Watch and show the run in tasks of a nursery."""
        nursery.start_soon(self._show_progress, interrupts)
        nursery.start_soon(session.watch_role_notes, mesh, self._take_role_notes)
        nursery.start_soon(session.watch_run_state, mesh, self._bulk.run, self.take_state)
        nursery.start_soon(self._end_when_hopeless, mesh, interrupts)

    def take_state(self, state: RunState | None) -> None:
        """Show who paused or resumed the run, and end it once it is cancelled."""
        if state == self._state:
            return
        self._state = state
        self._bulk.progressing.pause(is_paused=self.is_paused)
        if not self._bulk.view.is_live:  # the next line of progress may be seconds away
            self._bulk.view.say("resumed" if state is None else f"{state.state} by {state.by}")
        if state is not None and state.state == "cancelled":
            self.cancelled_by = state.by
            self.is_cancelled.set()

    def _take_role_notes(self, notes: str) -> None:
        self._role_notes = notes

    async def _end_when_hopeless(self, mesh: Mesh, interrupts: Interrupts) -> None:
        """Stop waiting after an interrupt for tasks in flight that nobody can finish; the next run draws them."""
        self.obstacle = await await_hopeless(mesh, self._bulk.run, interrupts.asked)
        self._bulk.servers.scope.cancel()

    async def _show_progress(self, interrupts: Interrupts) -> None:
        """Show the progress from time to time until cancelled."""
        bulk, period_s = self._bulk, _FIRST_S
        while True:
            with trio.move_on_after(_LIVE_PERIOD_S if bulk.view.is_live else period_s):
                if interrupts.asked.is_set():
                    await trio.sleep_forever()
                await interrupts.asked.wait()
            period_s = _PLAIN_PERIOD_S
            state = "" if self._state is None else f"{self._state.state} by {self._state.by}"
            note = bulk.servers.note() or self._role_notes
            if interrupts.asked.is_set():
                note = f"finishing {bulk.progressing.in_flight} tasks in flight; Ctrl-C again stops at once"
            bulk.view.show(bulk.progress("; ".join(filter(None, (state, note)))))
