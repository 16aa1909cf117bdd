"""When a process lets messages of the bulk lane gather before it reads on. Pure.

At a thousand messages a second, each of which travels alone, waking up for one takes most of the CPU time that the mesh
needs: ten times what is then done with it. Nobody waits for a message of the bulk lane, so a process that gets many of
them reads them together, a few milliseconds late, and its answers leave together too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.envelope import Kind, Lane

REST_S: Final = 0.004
_MAX_GAP_S: Final = 0.002
"""Mean time from one message to the next beyond which waiting would not bring two together."""
_LONGEST_GAP_S: Final = 0.02
"""What a pause counts for at most."""
_WEIGHT: Final = 0.1
_CARRIED: Final = bytes((Kind.REQUEST, Kind.REPLY, Kind.FAILURE))
"""Kinds of messages that somebody may wait for."""
_BULK: Final = bytes((Lane.BULK,))


class Rests:
    """What arrived lately, and how long to rest for it."""

    def __init__(self) -> None:
        self._gap_s = _LONGEST_GAP_S
        self._noted_at = 0.0
        self._is_bulk = False

    def note(self, now: float, messages: Sequence[Sequence[bytes]], *, place: int) -> None:
        """Take note of messages that have just arrived, at least one; `place` is that of the frame in each."""
        gap_s = min((now - self._noted_at) / len(messages), _LONGEST_GAP_S)
        self._gap_s += _WEIGHT * (gap_s - self._gap_s)
        self._noted_at = now
        for message in messages:
            frame = message[place]
            if frame[3:4] in _CARRIED:
                self._is_bulk = frame[4:5] == _BULK
                if not self._is_bulk:
                    return

    @property
    def is_due(self) -> bool:
        """Whether to rest before reading on: many messages arrive, and all lately were of the bulk lane."""
        return self._is_bulk and self._gap_s < _MAX_GAP_S
