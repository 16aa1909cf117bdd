"""What each caller may use: requests in a minute, and images in a day (UTC). Pure; `image_counts` keeps the counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.tokens import Caller

DAY_S: Final = 86_400


@dataclass(slots=True)
class _Bucket:
    """The requests that a caller has left, up to those of a minute."""

    left: float
    at: float


class Allowances:
    """Counts requests and images of callers; those without a limit are not counted."""

    def __init__(self, day: int = 0, images: dict[str, int] | None = None) -> None:
        """Start with the images that callers have drawn on a day, which is counted from 1970."""
        self.day, self.images = day, images or {}
        self._buckets: dict[str, _Bucket] = {}

    def count_request(self, caller: Caller, now: float) -> None:
        """Count a request.

        Raises:
            ApiError: the caller has sent too many in the last minute.
        """
        limit = caller.requests_per_minute
        if limit is None:
            return
        bucket = self._buckets.setdefault(caller.name, _Bucket(limit, now))
        bucket.left, bucket.at = min(limit, bucket.left + (now - bucket.at) * limit / 60), now
        if bucket.left < 1:
            text = f"expected up to {limit} requests of {caller.name} in a minute, got more"
            raise ApiError(429, text, code="rate_limit_exceeded", retry_after_s=(1 - bucket.left) * 60 / limit)
        bucket.left -= 1

    def take_images(self, caller: Caller, count: int, now: float) -> None:
        """Count images that may be drawn; those that were not are given back.

        Raises:
            ApiError: the caller's images of the day do not cover them; nothing is counted.
        """
        limit = caller.images_per_day
        if limit is None:
            return
        self._turn_day(now)
        used = self.images.get(caller.name, 0)
        if used + count > limit:
            text = f"expected up to {limit} images of {caller.name} in a day, got {used} and {count} more"
            until_tomorrow_s = DAY_S - now % DAY_S
            raise ApiError(429, text, code="insufficient_quota", retry_after_s=until_tomorrow_s, is_retryable=False)
        self.images[caller.name] = used + count

    def give_back(self, caller: Caller, count: int, now: float) -> None:
        """Give back images that were counted and not drawn; those of an earlier day do not matter any more."""
        if caller.images_per_day is not None and self.day == int(now // DAY_S):
            self.images[caller.name] = max(0, self.images.get(caller.name, 0) - count)

    def _turn_day(self, now: float) -> None:
        if (day := int(now // DAY_S)) != self.day:
            self.day, self.images = day, {}
