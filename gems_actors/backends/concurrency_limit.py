"""How hard one model server is pressed: a window of requests that adapts, a breaker, and the pauses it asks for.

Pure: time is an argument, in seconds of any one clock. It does not know what is asked, nor who waits.

The window grows with each answer while answers stay quick, and closes down to what the server holds when it says that
it is busy: a request that is turned away does not count among those it holds, so the window finds the server's limit at
once. After that it is left alone for a while, longer each time it is found at the same place.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal

_FIRST_WINDOW: Final = 8.0
_SLOWER: Final = 2.0
"""Answers that take so many times as long as the quickest did mean that they wait for one another."""
_EASING: Final = 0.1
"""Of the window, for each answer that took so much longer."""
_SMOOTHING: Final = 0.1
_FORGETTING_S: Final = 600.0
"""In which the quickest is believed half as quick: a server may get slower for good."""
_SHRINK: Final = 0.7
"""Of the window, after an answer that did not come in time."""
_GROWTH: Final = 1 / 16
"""Of the window, with the answers that one window holds; at first it doubles."""
_HOLD_S: Final = (0.5, 4.0)
"""For how long a window that found the limit does not grow: the first time, and at most."""
_DEAR: Final = 30
"""Such a window does not grow for so many times the pause that finding the limit has cost."""
_FAULTS_IN_A_ROW: Final = 5
_OPEN_S: Final = (1.0, 30.0)
"""For how long a breaker stays open: the first time, and at most."""
_AWAY_S: Final = 2.0

BreakerState = Literal["closed", "open", "half-open"]


class AdaptiveLimit:
    """What one process may ask of one server now."""

    def __init__(self) -> None:
        self.window = _FIRST_WINDOW
        """How many requests it may hold at once, at least 1."""
        self.in_flight = 0
        self.latency_s = 0.0
        """Of an answer, smoothed; 0 before the first."""
        self.has_answered = False
        self.last_failure = ""
        self._quickest_s, self._answered_at = inf, -inf
        self._is_starting = True
        self._ceiling = 0.0
        self._hold_s, self._hold_until = _HOLD_S[0], -inf
        self._paused_until = -inf
        self._faults = 0
        self._open_s = 0.0
        """Of the breaker, the last time; 0: closed."""
        self._opens_at = -inf

    # ----------------------------------------------------------------------------------------- what may be done

    def breaker(self, now: float) -> BreakerState:
        """Return whether requests go through, none do, or one that tries."""
        if self.is_closed:
            return "closed"
        return "open" if now < self._opens_at else "half-open"

    @property
    def is_closed(self) -> bool:
        """Whether the breaker lets requests through; what ends another state is an answer."""
        return not self._open_s

    def may_begin(self, now: float) -> bool:
        """Whether a request may go to the server now."""
        if now < self.opens_at():
            return False
        return self.in_flight < (1 if self._open_s else max(1, int(self.window)))

    def opens_at(self) -> float:
        """Return the time before which none may go: the end of a pause, or the next try of an open breaker."""
        return max(self._paused_until, self._opens_at if self._open_s else -inf)

    def is_away(self, now: float) -> bool:
        """Whether the server is out of reach for longer than a moment, so that another should be asked."""
        return bool(self._open_s) or self._paused_until > now + _AWAY_S

    # ----------------------------------------------------------------------------------------- what has happened

    def begin(self) -> None:
        """A request goes to the server; each ends in exactly one of the calls below, `pause` aside."""
        self.in_flight += 1

    def withdraw(self) -> None:
        """It is not wanted any more, and says nothing about the server."""
        self.in_flight -= 1

    def succeed(self, now: float, took_s: float) -> None:
        """An answer got, were it a refusal: the server is well."""
        was_used = 2 * self.in_flight >= self.window
        self.in_flight -= 1
        self._close()
        self.latency_s += (took_s - self.latency_s) * (_SMOOTHING if self.latency_s else 1.0)
        if self._quickest_s < inf:
            self._quickest_s *= 2 ** ((now - self._answered_at) / _FORGETTING_S)
        self._quickest_s, self._answered_at = min(self._quickest_s, self.latency_s), now
        self.has_answered = True
        if self.latency_s > _SLOWER * self._quickest_s:
            self._is_starting = False
            self.window = max(1.0, self.window - _EASING)
        elif was_used and now >= self._hold_until:
            self.window += 1.0 if self._is_starting else max(_GROWTH, 1.0 / self.window)

    def be_turned_away(self, now: float, reason: str, wait_s: float | None) -> None:
        """The server is busy; where it says for how long, nothing goes to it meanwhile."""
        self.in_flight -= 1
        self.last_failure = reason
        self._close()
        self.has_answered = True
        self._is_starting = False
        if now >= self._hold_until:
            is_same_place = self.in_flight >= 0.9 * self._ceiling
            self._hold_s = min(2 * self._hold_s, _HOLD_S[1]) if is_same_place else _HOLD_S[0]
        self.window = min(self.window, max(1.0, float(self.in_flight)))
        self._ceiling = self.window
        self._hold_until = now + self._hold_s
        if wait_s is not None:
            self.pause(now, wait_s)
            self._hold_until = now + max(self._hold_s, _DEAR * wait_s)

    def fail(self, now: float, reason: str, *, is_late: bool = False) -> None:
        """No answer got, or none that can be one; `is_late` where it was waited for in vain."""
        self.in_flight -= 1
        self.last_failure = reason
        self._faults += 1
        if is_late and now >= self._hold_until:
            self._is_starting = False
            self.window = max(1.0, self.window * _SHRINK)
            self._hold_until = now + _HOLD_S[0]
        # What was under way when it opened does not count again.
        if (self._open_s or self._faults >= _FAULTS_IN_A_ROW) and now >= self._opens_at:
            self._open_s = min(2 * self._open_s, _OPEN_S[1]) if self._open_s else _OPEN_S[0]
            self._opens_at = now + self._open_s

    def pause(self, now: float, wait_s: float) -> None:
        """Nothing goes to the server for so long."""
        self._paused_until = max(self._paused_until, now + wait_s)

    def _close(self) -> None:
        if self._open_s:  # it may come up with less strength than it had
            self.window, self._is_starting = min(self.window, _FIRST_WINDOW), True
        self._faults, self._open_s, self._opens_at = 0, 0.0, -inf
