"""When a run gives up on servers that fail. Pure: time is an argument, in seconds of any one clock."""

from __future__ import annotations

from typing import Final

MAX_FAILURES: Final = 5
"""Failures in a row that stop a run, once its time to wait is over."""
_MIN_FAILING_S: Final = 5.0
"""Shortest time for which requests must have failed before a run stops while they are still being retried."""


class Outage:
    """Failures of servers since the last answer: those of whole tasks, and those that roles still retry.

    A failure counts only if the servers caused it; refusals of a prompt and unusable input must not be reported here.
    """

    def __init__(self, wait_s: float) -> None:
        """Wait up to `wait_s` seconds for servers that fail."""
        self.wait_s = wait_s
        self.answers = 0
        """Tasks that the servers have completed."""
        self.reason = ""
        """The latest failure; empty while there is none."""
        self._failures = self._refusals = 0
        self._failed_at: float | None = None
        self._retried_since: float | None = None
        self._answered_at = float("-inf")

    def since(self) -> float | None:
        """Return when the servers began to fail; None while they do not."""
        times = [time for time in (self._failed_at, self._retried_since) if time is not None]
        return min(times, default=None)

    def succeed(self, now: float) -> None:
        """Count a task that the servers have completed."""
        self.answers += 1
        self.reason = ""
        self._failures = self._refusals = 0
        self._failed_at = self._retried_since = None
        self._answered_at = now

    def fail(self, now: float, reason: str, *, is_refusal: bool = False) -> None:
        """Count a task that failed because of the servers; a refusal is one of every request, such as of the key."""
        self.reason = reason
        self._failures += 1
        self._refusals += is_refusal
        if self._failed_at is None:
            self._failed_at = now

    def observe(self, now: float, failing_s: float, reason: str) -> None:
        """Take in for how long the requests of a role have failed without an answer; 0 if they do not fail."""
        if not failing_s:
            self._retried_since = None
            return
        self._retried_since = max(now - failing_s, self._answered_at)
        self.reason = reason

    def is_over(self, now: float) -> bool:
        """Return whether the run has waited long enough; a refusal of every request is not waited for."""
        if self._refusals >= MAX_FAILURES:
            return True
        if self._failed_at is not None and self._failures >= MAX_FAILURES and now - self._failed_at >= self.wait_s:
            return True
        limit_s = max(self.wait_s, _MIN_FAILING_S)
        return self._retried_since is not None and now - self._retried_since >= limit_s
