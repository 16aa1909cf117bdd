"""Ctrl-C, SIGTERM and SIGHUP: the first stops gracefully, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from gems_actors.os_process import stop_signals
from gems_actors.tasks import open_background


class Interrupts:
    """The signals received so far; made by `open_interrupts`."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        """Set at the first signal: stop gracefully, after the requests in flight."""
        self.is_by_term = False
        """Whether the first signal was SIGTERM, which batch systems send to reclaim a node; Ctrl-C sends SIGINT."""
        self.is_hurried = False
        """Whether there was a second signal."""
        self._on_hurry: list[Callable[[], None]] = []
        self._scopes: list[trio.CancelScope] = []

    def on_hurry(self, act: Callable[[], None]) -> None:
        """Call `act` at the second signal, before the cancellation."""
        self._on_hurry.append(act)

    async def call_at_first(self, act: Callable[[], None]) -> None:
        """Call `act` after the first signal."""
        await self.asked.wait()
        act()

    @contextmanager
    def hurried_scope(self) -> Iterator[None]:
        """Have the second signal cancel the block, and not what follows it; a further signal cancels that as well."""
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                yield
            finally:
                self._scopes.remove(scope)

    async def watch(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Handle signals until cancelled; only the main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            task_status.started()
            return
        with trio.open_signal_receiver(*stop_signals()) as signals:
            task_status.started()
            async for number in signals:
                if not self.asked.is_set():
                    self.is_by_term = number == signal.SIGTERM
                    self.asked.set()
                    continue
                self.is_hurried = True
                for act in self._on_hurry:
                    act()
                scopes = [scope for scope in self._scopes if not scope.cancel_called]
                if scopes:
                    scopes[-1].cancel()


@asynccontextmanager
async def open_interrupts() -> AsyncIterator[Interrupts]:
    """Handle SIGINT, SIGTERM and SIGHUP while the block runs and while it is left.

    The second signal cancels the block, and this context swallows the cancellation: check `is_hurried` after it.
    """
    interrupts = Interrupts()
    async with open_background() as nursery:
        with interrupts.hurried_scope():
            await nursery.start(interrupts.watch)
            yield interrupts
