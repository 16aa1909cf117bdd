"""How many pictures are drawn for HTTP clients at once, and when a refused client should come back. Pure."""

from __future__ import annotations

from typing import Final

from gems_actors.errors import OverloadedError

_FIRST_GUESS_S: Final = 1.0
"""Time that a picture takes, until the first one has been drawn or has taken longer."""
_MIN_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
_SHARE_OF_NEWEST: Final = 0.1
"""Weight of the newest picture in the mean; the first ten count the same."""


class Admission:
    """Counts the pictures in flight."""

    def __init__(self, max_draws: int) -> None:
        self._max = max_draws
        self._mean_s = 0.0
        self._drawn = 0
        self._busy_since = 0.0
        """When the first of those in flight was admitted, if none has been drawn yet."""
        self._expected = 0.0
        """Pictures of clients that were told to come back, and are not due yet."""
        self._expected_at = 0.0
        self.in_flight = 0
        self.refused = 0
        """Requests that were told to come back."""

    def admit(self, count: int, now: float) -> None:
        """Begin some pictures, all or none.

        Raises:
            OverloadedError: too many are in flight. Clients that are refused are told times one after another, as far
                apart as pictures end, so that they neither all come back at once nor leave the mesh without work.
        """
        if self.in_flight + count <= self._max:
            if not self.in_flight:
                self._busy_since = now
            self.in_flight += count
            return
        self.refused += 1
        between_s = self._picture_s(now) / self._max
        due = (now - self._expected_at) / between_s
        self._expected = min(max(self._expected - due, 0.0) + count, _MAX_RETRY_S / between_s)
        self._expected_at = now
        raise OverloadedError(
            f"expected room for {count} of {self._max} pictures at once, got {self.in_flight} in flight",
            max(self._expected * between_s, _MIN_RETRY_S),
        )

    def end(self, count: int, took_s: float, *, is_drawn: bool) -> None:
        """End some pictures that took some time; those that failed say nothing about how long a picture takes."""
        self.in_flight -= count
        if is_drawn:
            self._drawn += 1
            self._mean_s += max(_SHARE_OF_NEWEST, 1 / self._drawn) * (took_s - self._mean_s)

    def _picture_s(self, now: float) -> float:
        """Return about how long a picture takes."""
        return max(self._mean_s, 0.001) if self._drawn else max(_FIRST_GUESS_S, now - self._busy_since)
