"""Cancels the calls of an actor at their deadlines: one task for all, because a scope for each costs too much.

The scopes of a handler therefore do not know the deadline of its request; `current_deadline` does. Nearly all calls are
over long before their deadlines, so nothing is kept for one: when the earliest deadline comes, all calls are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import trio

from gems_actors.call_context import Call

_GRAIN_S = 0.01
"""Shortest time between two looks at all calls, by which a deadline may be late."""


class DeadlineWatch:
    """The deadlines of calls in progress."""

    def __init__(self, calls: Collection[Call]) -> None:
        """Watch what is in a collection at any time, such as the values of a dict."""
        self._calls = calls
        self._next_at = math.inf
        self._sleep = trio.CancelScope()

    def note(self, call: Call) -> None:
        """Take note of the deadline of a call that is new, or whose deadline has changed."""
        if call.deadline < self._next_at:
            self._next_at = self._sleep.deadline = call.deadline

    async def run(self) -> None:
        """Cancel calls until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._next_at) as self._sleep:
                await trio.sleep_forever()
            now, next_at = trio.current_time(), math.inf
            for call in self._calls:
                if call.deadline > now:
                    next_at = min(next_at, call.deadline)
                elif not call.is_cancelled:
                    call.has_expired = True
                    call.cancel()
            self._next_at = max(next_at, now + _GRAIN_S)
