"""Cancels the calls of an actor at their deadlines: one task for all, because a scope for each costs too much.

The scopes of a handler therefore do not know the deadline of its request; `current_deadline` does.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count

import trio

from gems_actors.call_context import Call

_MAX_IDLE = 1000
"""Deadlines of calls that are over kept before they are swept, in addition to twice the number of calls."""


class DeadlineWatch:
    """The deadlines of calls in progress."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Call]] = []
        self._order = count()
        self._next_at = math.inf
        self._sleep = trio.CancelScope()
        self._sweep_at = _MAX_IDLE

    def __len__(self) -> int:
        """Number of deadlines, including those of calls that are over."""
        return len(self._heap)

    def add(self, call: Call) -> None:
        """Watch a call's deadline, in place of an earlier one."""
        deadline = call.deadline
        if deadline == math.inf:
            return
        heappush(self._heap, (deadline, next(self._order), call))
        if deadline < self._next_at:
            self._next_at = self._sleep.deadline = deadline
        if len(self._heap) > self._sweep_at:
            self._heap = [item for item in self._heap if not item[2].is_over and item[0] == item[2].deadline]
            heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + _MAX_IDLE

    async def run(self) -> None:
        """Cancel calls until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._next_at) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, _, call = heappop(self._heap)
                if not call.is_over and call.deadline <= now:
                    call.has_expired = True
                    call.cancel()
            self._next_at = self._heap[0][0] if self._heap else math.inf
