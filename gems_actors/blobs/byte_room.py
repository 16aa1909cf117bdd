"""Room for bytes in memory that peers share: each has a part, and those who hold theirs too long give it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio


class ByteRoom:
    """A limit of bytes in all and for each peer; something larger than that is let in alone."""

    def __init__(self, total_bytes: int, peer_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._peer_bytes = peer_bytes
        self._held: Counter[Hashable] = Counter()
        self._held_bytes = 0
        self._freed = trio.Event()
        self._waiting = 0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for room."""
        return self._waiting > 0

    @asynccontextmanager
    async def hold(self, peer: Hashable, size_bytes: int) -> AsyncIterator[None]:
        """Wait for room, and hold it until the block ends."""
        self._waiting += 1
        try:
            while not self._fits(peer, size_bytes):
                await self._freed.wait()
        finally:
            self._waiting -= 1
        self._held[peer] += size_bytes
        self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._held_bytes -= size_bytes
            self._held[peer] -= size_bytes
            if not self._held[peer]:
                del self._held[peer]
            freed, self._freed = self._freed, trio.Event()
            freed.set()

    def _fits(self, peer: Hashable, size_bytes: int) -> bool:
        fits = not self._held_bytes or self._held_bytes + size_bytes <= self._total_bytes
        return fits and (not self._held[peer] or self._held[peer] + size_bytes <= self._peer_bytes)
