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
        self._next_at = 0.0
        """When the client that was refused last is expected back."""
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
            self.in_flight += count
            return
        self.refused += 1
        self._next_at = min(max(self._next_at, now) + self._mean_s * count / self._max, now + _MAX_RETRY_S)
        raise OverloadedError(
            f"expected room for {count} of {self._max} pictures at once, got {self.in_flight} in flight",
            max(self._next_at - now, _MIN_RETRY_S),
        )

    def end(self, count: int, took_s: float, *, is_drawn: bool) -> None:
        """End some pictures that took some time; those that failed say nothing about how long a picture takes."""
        self.in_flight -= count
        if is_drawn:
            self._mean_s += _SHARE_OF_NEWEST * (took_s - self._mean_s)
