"""Ctrl-C and SIGTERM: once to finish what is in hand, twice to stop at once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from gems_actors.tasks import open_background


class Interrupts:
    """What the user asked for by signals so far; made by `open_interrupts`."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        """The user wants an end: finish what is in hand."""
        self.is_by_term = False
        """The first signal was SIGTERM, by which a batch system takes its node back; a person sends SIGINT."""
        self.is_hurried = False
        """The user wants it now; everything within `open_interrupts` is cancelled."""
        self._on_hurry: list[Callable[[], None]] = []

    def on_hurry(self, act: Callable[[], None]) -> None:
        """Have `act` called at the second signal, before the cancellation."""
        self._on_hurry.append(act)

    async def watch(self, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        """Obey signals until cancelled."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if not self.asked.is_set():
                    self.is_by_term = number == signal.SIGTERM
                    self.asked.set()
                    continue
                self.is_hurried = True
                for act in self._on_hurry:
                    act()
                everything.cancel()


@asynccontextmanager
async def open_interrupts() -> AsyncIterator[Interrupts]:
    """Take SIGINT and SIGTERM for as long as the block runs, also while it is being left.

    After the second signal the block is cancelled, and this context swallows the cancellation: look at `is_hurried`.
    """
    interrupts = Interrupts()
    async with open_background() as nursery:
        with trio.CancelScope() as everything:
            await nursery.start(interrupts.watch, everything)
            yield interrupts
