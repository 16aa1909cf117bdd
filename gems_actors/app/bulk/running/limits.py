"""Limits of a run: the tokens that it may spend, and its tasks in flight."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

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
