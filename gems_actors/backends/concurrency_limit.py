"""Adaptive concurrency limit of one model server: a window of requests in flight, a circuit breaker, and pauses.

Pure: time is an argument, in seconds of any one clock. It knows neither the requests nor their callers.

The window starts at one request and doubles each round trip until latency rises (slow start, as in TCP); then it is
cut to what the server evidently works on at once. While latency is low again it grows by a quarter each round trip,
because a busy moment of our own host looks the same as a queue, and slowly once a limit was found. When the server
reports that it is busy, the window closes to the number of requests it still holds; the rejected one is not among them,
so one rejection finds the server's limit. The window then holds still for a while, longer each time the limit is found
at the same size.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal

_FIRST_WINDOW: Final = 1.0
_SLOWDOWN: Final = 2.0
"""Ratio of the smoothed latency to the lowest one above which requests are taken to queue inside the server."""
_EARLY_SLOWDOWN: Final = 1.5
"""The same ratio during slow start, in which the window doubles before the next answer shows the effect."""
_SWIFT_S: Final = 0.1
"""Latency up to which no request is taken to queue: a busy host of ours explains as much."""
_EASING: Final = 0.1
"""Minimum amount that each answer takes off the window while latency is above that ratio; at small windows it is half a
request per round trip."""
_SMOOTHING: Final = 0.1
_EARLY_SMOOTHING: Final = 0.3
"""Weight of each answer in the smoothed latency during slow start."""
_FORGETTING_S: Final = 600.0
"""Seconds without requests in which the remembered lowest latency doubles."""
_MAX_DOUBLINGS: Final = 64.0
"""Enough to forget any latency; a float cannot hold the doublings of a week without answers."""
_SHRINK: Final = 0.7
"""Factor on the window after a timeout."""
_GROWTH: Final = 1 / 16
"""Minimum amount that each answer adds to a window in full use; during slow start, each adds 1."""
_EARLY_GROWTH: Final = 1 / 4
"""The same amount as long as neither a rejection nor a timeout has shown a limit, while latency is as in slow start."""
_HOLD_S: Final = (0.5, 4.0)
"""Shortest and longest time in seconds for which the window does not grow after a rejection."""
_HOLD_PER_PAUSE: Final = 30
"""Minimum hold as a multiple of the pause that the server asked for."""
_HOLD_PER_LATENCY: Final = 8
"""Minimum hold after a timeout of a crowded server as a multiple of the latency."""
_CROWDED: Final = 4
"""A server is crowded if it answers no faster than in a quarter of the time after which a request timed out."""
_MAX_PATIENCE: Final = 2 / 3
"""Share of that time above which latency lets the window grow no more."""
_FAULTS_IN_A_ROW: Final = 5
_OPEN_S: Final = (1.0, 30.0)
"""Seconds for which the breaker stays open: the first time, and at most."""
_AWAY_S: Final = 2.0
"""Longest remaining pause for which requests still wait instead of going to another server."""

BreakerState = Literal["closed", "open", "half-open"]


class AdaptiveLimit:
    """Limit on the requests that one process may have in flight at one server."""

    def __init__(self) -> None:
        self.window = _FIRST_WINDOW
        """Maximum requests in flight, at least 1; fractions count as growth in progress."""
        self.in_flight = 0
        self._patience_s = inf
        """Time after which a request timed out because the server was crowded."""
        self._filling = 0
        """How many of the requests that last filled the window are still in flight."""
        self.latency_s = 0.0
        """Smoothed latency of the answers; 0 before the first."""
        self.has_answered = False
        self.last_failure = ""
        self.answered_at = -inf
        """Time of the last answer."""
        self._lowest_s = inf
        self._is_starting = True
        self._has_found_limit = False
        """Whether a rejection or a timeout has shown that the server takes no more."""
        self._ceiling = 0.0
        self._hold_s, self._hold_until = _HOLD_S[0], -inf
        self._paused_until = -inf
        self.pause_reason = ""
        """Why the server is paused, or was last."""
        self._faults = 0
        self._open_s = 0.0
        """Seconds of the breaker's current or last open phase; 0 while it is closed."""
        self._half_open_at = -inf

    # ----------------------------------------------------------------------------------------- what is allowed now

    def breaker_state(self, now: float) -> BreakerState:
        """Return `closed` while all requests pass, `open` while none do, `half-open` when one may try."""
        if self.is_closed:
            return "closed"
        return "open" if now < self._half_open_at else "half-open"

    @property
    def is_closed(self) -> bool:
        """Whether the breaker is closed; only an answer closes it."""
        return not self._open_s

    def can_start(self, now: float) -> bool:
        """Return whether a request may go to the server now."""
        if now < self.resumes_at():
            return False
        return self.in_flight < (1 if self._open_s else max(1, int(self.window)))

    def resumes_at(self) -> float:
        """Return the time before which no request may start: the end of a pause, or when the breaker half-opens."""
        return max(self._paused_until, self._half_open_at)

    def is_unavailable(self, now: float) -> bool:
        """Return whether requests should fail over: the breaker is not closed, or a longer pause is left."""
        return bool(self._open_s) or self._paused_until > now + _AWAY_S

    # ----------------------------------------------------------------------------------------- what has happened

    def start(self) -> None:
        """Count a request that goes to the server; one of the methods below ends it."""
        self.in_flight += 1
        if self.in_flight >= int(self.window):
            self._filling = self.in_flight

    def cancel(self) -> None:
        """End a request that its caller cancelled, which says nothing about the server."""
        self._end()

    def refuse(self, now: float) -> None:
        """End a request that was refused, which shows that the server works, and not how long its work takes."""
        self._close()
        self._end()
        self.has_answered, self.answered_at = True, now

    def succeed(self, now: float, latency_s: float) -> None:
        """End a request that was answered."""
        self._close()
        was_used = self._filling > 0 or 2 * self.in_flight >= self.window
        self._end()
        smoothing = _EARLY_SMOOTHING if self._is_starting else _SMOOTHING
        self.latency_s += (latency_s - self.latency_s) * (smoothing if self.latency_s else 1.0)
        self._forget(now, latency_s)
        self._lowest_s, self.answered_at = min(self._lowest_s, self.latency_s), now
        self.has_answered = True
        usual_s = max(self._lowest_s, _SWIFT_S)
        if self._is_starting and self.latency_s > _EARLY_SLOWDOWN * usual_s:
            self._is_starting = False
            self.window = max(1.0, self.window * usual_s / self.latency_s)
        elif self.latency_s > _SLOWDOWN * usual_s:
            self.window = max(1.0, self.window - max(_EASING, 0.5 / self.window))
        elif was_used and now >= self._hold_until and self.latency_s <= _MAX_PATIENCE * self._patience_s:
            is_early = not self._has_found_limit and self.latency_s <= _EARLY_SLOWDOWN * usual_s
            growth = _EARLY_GROWTH if is_early else _GROWTH
            self.window += 1.0 if self._is_starting else max(growth, 1.0 / self.window)

    def reject(self, now: float, reason: str, wait_s: float | None) -> None:
        """End a request that the busy server turned away, and pause for `wait_s` where the server names a time."""
        self._end()
        self.last_failure = reason
        self._close()
        self.has_answered = True
        self._is_starting, self._has_found_limit = False, True
        if now >= self._hold_until:
            is_same_limit = self.in_flight >= 0.9 * self._ceiling
            self._hold_s = min(2 * self._hold_s, _HOLD_S[1]) if is_same_limit else _HOLD_S[0]
        self.window = min(self.window, max(1.0, float(self.in_flight)))
        self._ceiling = self.window
        self._hold_until = now + self._hold_s
        if wait_s is not None:
            self.pause(now, wait_s, reason)
            self._hold_until = now + max(self._hold_s, _HOLD_PER_PAUSE * wait_s)

    def disregard(self, now: float, reason: str, *, waited_s: float | None = None) -> None:
        """End a request that failed for its own sake at a server that works; the breaker stays as it is."""
        self._end()
        self.last_failure = reason
        self.has_answered = True
        if waited_s is not None:
            self._shrink(now, waited_s)

    def fail(self, now: float, reason: str, *, waited_s: float | None = None) -> None:
        """End a request that the server failed, did not answer within `waited_s` seconds, or could not be sent."""
        self._end()
        self.last_failure = reason
        self._faults += 1
        if waited_s is not None:
            self._shrink(now, waited_s)
        # Requests that were in flight when the breaker opened do not extend the open phase.
        if (self._open_s or self._faults >= _FAULTS_IN_A_ROW) and now >= self._half_open_at:
            self._open_s = min(2 * self._open_s, _OPEN_S[1]) if self._open_s else _OPEN_S[0]
            self._half_open_at = now + self._open_s

    def pause(self, now: float, wait_s: float, reason: str) -> None:
        """Start no request for `wait_s` seconds; a longer pause already in effect stays."""
        if now + wait_s > self._paused_until:
            self._paused_until, self.pause_reason = now + wait_s, reason

    def _shrink(self, now: float, waited_s: float) -> None:
        """Make the window smaller after a timeout, once for all requests that were in flight."""
        if now >= self._hold_until:
            self._is_starting, self._has_found_limit = False, True
            self.window = max(1.0, self.window * _SHRINK)
            is_crowded = self.latency_s * _CROWDED >= waited_s  # else this request hangs, and the others do not
            self._hold_until = now + max(_HOLD_S[0], _HOLD_PER_LATENCY * self.latency_s if is_crowded else 0.0)
            self._patience_s = waited_s if is_crowded else inf

    def _forget(self, now: float, latency_s: float) -> None:
        """Raise the lowest latency where it may no longer hold, because the server may have become slower for good."""
        idle_s = max(0.0, now - latency_s - self.answered_at)
        self._lowest_s *= 2 ** min(idle_s / _FORGETTING_S, _MAX_DOUBLINGS)
        if self.window < 2 and not self.in_flight and latency_s > self._lowest_s:  # no other request made it wait
            self._lowest_s += (latency_s - self._lowest_s) * _SMOOTHING

    def _end(self) -> None:
        self.in_flight -= 1
        self._filling = max(0, self._filling - 1)

    def _close(self) -> None:
        if self._open_s:  # the server may come back with less capacity
            self.window, self._is_starting, self._has_found_limit = min(self.window, _FIRST_WINDOW), True, False
        self._faults, self._open_s, self._half_open_at = 0, 0.0, -inf
