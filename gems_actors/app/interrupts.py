"""Ctrl-C and SIGTERM: the first stops gracefully, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from gems_actors.tasks import open_background


class Interrupts:
    """The signals received so far; made by `open_interrupts`."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        """Set at the first signal: stop gracefully, after the requests in flight."""
        self.is_by_term = False
        """Whether the first signal was SIGTERM, which batch systems send to reclaim a node; Ctrl-C sends SIGINT."""
        self.is_hurried = False
        """Whether there was a second signal; it cancels everything within `open_interrupts`."""
        self._on_hurry: list[Callable[[], None]] = []

    def on_hurry(self, act: Callable[[], None]) -> None:
        """Call `act` at the second signal, before the cancellation."""
        self._on_hurry.append(act)

    async def call_at_first(self, act: Callable[[], None]) -> None:
        """Call `act` after the first signal."""
        await self.asked.wait()
        act()

    async def watch(self, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        """Handle signals until cancelled; only the main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            task_status.started()
            return
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
    """Handle SIGINT and SIGTERM while the block runs and while it is left.

    The second signal cancels the block, and this context swallows the cancellation: check `is_hurried` after it.
    """
    interrupts = Interrupts()
    async with open_background() as nursery:
        with trio.CancelScope() as everything:
            await nursery.start(interrupts.watch, everything)
            yield interrupts
