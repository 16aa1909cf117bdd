"""Limits of a run: what it may spend, and its tasks in flight."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Final, NamedTuple

import trio

from gems_actors.client import Mesh
from gems_actors.errors import RequestError
from protocol.messages import ActorStatus, ReadStatus

MAX_CONCURRENCY: Final = 16_384
_MIN_CONCURRENCY: Final = 32
_TASKS_PER_PICTURE: Final = 4
"""Tasks in flight for each image that the generators draw at once: meanwhile others are planned and verified."""
_WINDOW: Final = "window"
"""Figure of a generator that asks a server: how many requests its adaptive limit lets the server have."""
_POLL_S: Final = 2.0


class TokenBudget:
    """Tokens that a run may spend on chat models."""

    def __init__(self, max_tokens: int | None) -> None:
        self.max_tokens = max_tokens
        self.is_spent = trio.Event()

    @property
    def stop_gracefully(self) -> trio.Event | None:
        """The event that ends a trajectory with its round; None without a limit, as each watcher costs a task."""
        return None if self.max_tokens is None else self.is_spent

    def check(self, tokens: int) -> None:
        """Compare the tokens spent so far with the limit."""
        if self.max_tokens is not None and tokens >= self.max_tokens:
            self.is_spent.set()


class Cost(NamedTuple):
    """What pictures cost, or may cost."""

    images: float = 0
    calls: float = 0
    """Calls of chat models."""

    def plus(self, other: Cost, times: int = 1) -> Cost:
        """Return the sum with a multiple of another cost."""
        return Cost(self.images + times * other.images, self.calls + times * other.calls)


ANYTHING: Final = Cost(inf, inf)
NOTHING: Final = Cost()


class Allowance:
    """What the tasks that a run draws may cost in all; without arguments, anything.

    A task begins only if the most that it may cost is left. It reserves that, and gives back what it did not need, so
    the allowance is never exceeded. What a failed task has cost is in no record: it gives nothing back.
    """

    def __init__(self, left: Cost = ANYTHING, most: Cost = NOTHING) -> None:
        """Begin with what is left, and the most that a task may cost."""
        self._left, self._most = left, most
        self._in_flight = 0
        self._has_changed = trio.Event()
        self.is_spent = False
        """Whether a task was left to a larger allowance."""

    async def reserve(self) -> bool:
        """Wait until the next task may begin, and reserve what it may cost; False if what is left does not suffice."""
        while any(left < most for left, most in zip(self._left, self._most, strict=True)):
            if not self._in_flight:
                self.is_spent = True
                return False
            await self._has_changed.wait()
        self._in_flight += 1
        self._left = self._left.plus(self._most, -1)
        return True

    def settle(self, cost: Cost | None) -> None:
        """Note what a task has cost that has ended; None if it failed, or is left to the next run."""
        self._in_flight -= 1
        if cost is not None:
            self._left = self._left.plus(self._most).plus(cost, -1)
        has_changed, self._has_changed = self._has_changed, trio.Event()
        has_changed.set()


class TaskLimit:
    """Tasks in flight: a fixed number, or four times what the generators draw at once with a minimum of 32."""

    def __init__(self, concurrency: int | None) -> None:
        self._is_fixed = concurrency is not None
        self.limiter = trio.CapacityLimiter(concurrency or _MIN_CONCURRENCY)
        self.busy_share: float | None = None
        """Mean share of time, 0 to 1, that the generators' devices are busy; None while no generator reports it."""

    async def follow_generators(self, mesh: Mesh) -> None:
        """Adapt to the generators of a mesh until cancelled."""
        while True:
            with suppress(RequestError):
                roles = (await mesh.ask(ReadStatus())).roles
                generators = [actor for role in roles if role.role == "generator" for actor in role.actors]
                if not self._is_fixed:
                    wanted = _TASKS_PER_PICTURE * sum(_pictures_at_once(actor) for actor in generators)
                    self.limiter.total_tokens = min(max(_MIN_CONCURRENCY, wanted), MAX_CONCURRENCY)
                shares = [actor.figures["busy_share"] for actor in generators if "busy_share" in actor.figures]
                self.busy_share = sum(shares) / len(shares) if shares else None
            await trio.sleep(_POLL_S)


def _pictures_at_once(generator: ActorStatus) -> int:
    """Return how many pictures a generator draws at once: its capacity, or what the server behind it takes if fewer."""
    return int(min(generator.capacity, generator.figures.get(_WINDOW, generator.capacity)))
