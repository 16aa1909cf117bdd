"""How many pictures are drawn for HTTP clients at once, and when a refused client should come back. Pure."""

from __future__ import annotations

from typing import Final

from gems_actors.errors import OverloadedError

_FIRST_GUESS_S: Final = 5.0
"""Time that a picture takes, until the first one has been drawn."""
_MIN_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
_SHARE_OF_NEWEST: Final = 0.1


class Admission:
    """Counts the pictures in flight."""

    def __init__(self, max_draws: int) -> None:
        self._max = max_draws
        self._mean_s = _FIRST_GUESS_S
        self.in_flight = 0
        self.refused = 0
        """Requests that were told to come back."""

    def admit(self, count: int) -> None:
        """Begin some pictures, all or none.

        Raises:
            OverloadedError: too many are in flight; with the time after which enough of them are expected to be done.
        """
        excess = self.in_flight + count - self._max
        if excess > 0:
            self.refused += 1
            retry_s = self._mean_s * excess / self._max
            raise OverloadedError(
                f"expected room for {count} of {self._max} pictures at once, got {self.in_flight} in flight",
                min(max(retry_s, _MIN_RETRY_S), _MAX_RETRY_S),
            )
        self.in_flight += count

    def end(self, count: int, took_s: float, *, is_drawn: bool) -> None:
        """End some pictures that took some time; those that failed say nothing about how long a picture takes."""
        self.in_flight -= count
        if is_drawn:
            self._mean_s += _SHARE_OF_NEWEST * (took_s - self._mean_s)
