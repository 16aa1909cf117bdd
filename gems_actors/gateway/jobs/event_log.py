"""The events of one job, with ids by which a client goes on where it was cut off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import trio

MAX_EVENTS: Final = 1000


class EventLog:
    """The latest events; readers keep their own position, so that a slow one costs nothing."""

    def __init__(self, boot: str) -> None:
        """Start empty; `boot` makes the ids of one gateway different from those of the next."""
        self._boot = boot
        self._events: deque[tuple[int, str, dict[str, Any]]] = deque(maxlen=MAX_EVENTS)
        self.last = 0
        """Number of the newest event; 0 before the first."""
        self.is_closed = False
        self._changed = trio.Event()

    def close(self) -> None:
        """Tell the readers that no more events follow here."""
        self.is_closed = True
        self.wake()

    def add(self, event: str, tree: dict[str, Any]) -> None:
        """Add an event, and wake the readers."""
        self.last += 1
        self._events.append((self.last, event, tree))
        self.wake()

    def wake(self) -> None:
        """Wake the readers."""
        self._changed.set()
        self._changed = trio.Event()

    def id_of(self, number: int) -> str:
        """Return the id of an event for clients."""
        return f"{self._boot}-{number}"

    def position_of(self, id_: str | None) -> int | None:
        """Return the number of the event with an id; None unless everything after it is still here."""
        boot, _, number = (id_ or "").partition("-")
        if boot != self._boot or not number.isdecimal() or len(number) > 15:
            return None
        oldest = self._events[0][0] if self._events else 1
        return int(number) if oldest - 1 <= int(number) <= self.last else None

    def after(self, position: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Yield the events after a position."""
        yield from [event for event in self._events if event[0] > position]

    def has_all_after(self, position: int) -> bool:
        """Return whether no event after a position has been dropped."""
        return not self._events or self._events[0][0] <= position + 1

    async def changed(self) -> None:
        """Return when an event was added."""
        await self._changed.wait()
