"""When a role gets more actors, and when fewer: pure, time is an argument.

Growth answers a queue that is older than it should be and does not get younger, and is quick; shrinking answers actors
that have long had nothing to do, and is slow. Between the two lies what keeps a role from growing and shrinking by
turns: after each change the next one waits until this one can have had its effect, and a role shrinks only where those
that stay would still be half idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from gems_actors.config import RoleConfig
from protocol.messages import RoleStatus

LOOK_S: Final = 0.5
"""Between two looks at the queues."""
_LATE_LOOKS: Final = 2
"""So many looks must find a queue too old, and no younger than the look before; a single one may fall on a burst."""
_GROWTH: Final = 1.5
_AFTER_GROWING_S: Final = 2.0
"""Newcomers are ready in well under a second, and have answered what waited a little later."""
_IDLE_S: Final = 20.0
_IDLE_SHARE: Final = 0.5
"""Of the capacity of those that would stay: where no more than this was in use for `_IDLE_S`, one leaves."""


@dataclass(frozen=True, slots=True)
class Load:
    """A role as the router sees it."""

    actors: int
    """Of this host."""
    oldest_s: float
    """Age of the request that has waited longest, in the whole mesh; 0 where none waits."""
    busy_share: float
    """Of the capacity of all actors, 0 to 1."""


def load_of(status: RoleStatus | None, actors: int) -> Load:
    """Return the load of a role from the router's table, where it may not stand yet.

    Args:
        status: the role's row.
        actors: how many this host has, those that still get ready among them.
    """
    if status is None:
        return Load(actors, 0.0, 0.0)
    capacity = sum(actor.capacity for actor in status.actors)
    busy = sum(actor.busy for actor in status.actors)
    return Load(actors, status.oldest_s if status.queued else 0.0, busy / capacity if capacity else 1.0)


class RoleScale:
    """Decides for one role of one host, look by look."""

    def __init__(self, settings: RoleConfig) -> None:
        if settings.max is None:
            raise ValueError("expected a role with a largest number of actors")
        self._least = settings.count if settings.min is None else settings.min
        self._most = settings.max
        self._target_s = settings.target_delay_s
        self._late = 0
        self._oldest_s = 0.0
        self._steady_until = -inf
        self._idle_since: float | None = None

    def decide(self, now: float, load: Load) -> int:
        """Return how many actors there should be."""
        is_late = load.oldest_s > self._target_s
        self._late = self._late + (load.oldest_s >= self._oldest_s) if is_late else 0
        self._oldest_s = load.oldest_s
        staying = load.actors - 1
        is_idle = not is_late and staying > 0 and load.busy_share * load.actors <= _IDLE_SHARE * staying
        self._idle_since = (now if self._idle_since is None else self._idle_since) if is_idle else None
        wanted = load.actors
        if now >= self._steady_until:
            if self._late >= _LATE_LOOKS:
                wanted = max(load.actors + 1, int(load.actors * _GROWTH))
            elif self._idle_since is not None and now - self._idle_since >= _IDLE_S:
                wanted = staying
        wanted = min(max(wanted, self._least), self._most)
        if wanted != load.actors:
            self._late, self._idle_since = 0, None
            self._steady_until = now + _AFTER_GROWING_S
        return wanted
