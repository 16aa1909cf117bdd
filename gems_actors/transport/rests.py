"""When a process lets messages of the bulk lane gather before it reads on. Pure.

A thread that wakes up finds cold caches, which costs 0.1 ms of CPU time: more than the mesh itself needs for a message.
Nobody waits for a message of the bulk lane, so a process that gets many of them reads them together, some milliseconds
late, and its answers leave together too. Each request is held up that way at four hops. So a process rests only for a
small part of the time that its requests take anyway, which by Little's law is their number times the time from one
message to the next: where few are in flight, each would have to wait for a message that never comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from protocol.envelope import Kind, Lane

MAX_REST_S: Final = 0.05
_SHARE: Final = 8
"""One message gathers for each so many requests in flight."""
_REST_S: Final = 0.02
"""Longest rest with up to a hundred requests in flight: a device that they only just keep busy must not wait."""
_REST_S_EACH: Final = 0.0002
"""Longest rest with more of them, for each: the more, the longer each waits for the device anyway."""
_LEAST_TOGETHER: Final = 2
"""Messages below which resting would bring nothing together."""
_LONGEST_GAP_S: Final = 0.02
"""What a pause counts for at most."""
_WEIGHT: Final = 0.1
_INTERACTIVE_S: Final = 0.5
"""Time after an interactive message in which nothing rests: its client's next one, or the answer, must not wait."""
_CARRIED: Final = bytes((Kind.REQUEST, Kind.REPLY, Kind.FAILURE))
"""Kinds of messages that somebody may wait for."""
_BULK: Final = bytes((Lane.BULK,))
_ROUTER: Final = b"router".ljust(16, b"\0")
"""The role of the router itself. What a bulk asks it every second is of no lane."""


class Rests:
    """What arrived lately, and how long to rest for it."""

    def __init__(self) -> None:
        self._gap_s = _LONGEST_GAP_S
        """Mean time from one message to the next."""
        self._noted_at = 0.0
        self._interactive_at = -inf
        self._is_bulk = False

    def note(self, now: float, messages: Sequence[Sequence[bytes]], *, place: int) -> None:
        """Take note of messages that have just arrived, at least one; `place` is that of the frame in each."""
        gap_s = min((now - self._noted_at) / len(messages), _LONGEST_GAP_S)
        self._gap_s += _WEIGHT * (gap_s - self._gap_s)
        self._noted_at = now
        for message in messages:
            frame = message[place]
            if frame[3:4] in _CARRIED:
                if frame[4:5] == _BULK:
                    self._is_bulk = True
                elif frame[52:68] != _ROUTER:
                    self._is_bulk, self._interactive_at = False, now
                    return

    def rest_s(self, in_flight: int) -> float:
        """Return how long to rest before reading on, with some requests in flight; 0 unless all lately were bulk."""
        if not self._is_bulk or self._noted_at - self._interactive_at < _INTERACTIVE_S:
            return 0.0
        longest_s = min(max(_REST_S, _REST_S_EACH * in_flight), MAX_REST_S)
        rest_s = min(in_flight // _SHARE * self._gap_s, longest_s)
        return rest_s if rest_s >= _LEAST_TOGETHER * self._gap_s else 0.0
