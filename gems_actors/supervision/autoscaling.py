"""Decides how many actors a role needs. Pure: time is an argument.

Scale up fast: when the oldest queued request exceeds the target delay in two looks in a row and is not getting younger.
Scale down slowly: after 20 s in which the remaining actors would be at most half busy. A cool-down after each change
prevents flapping: the next change waits until this one can have had its effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from gems_actors.config import RoleConfig
from protocol.messages import RoleStatus

AUTOSCALE_PERIOD_S: Final = 0.5
"""Time between two looks at the queues."""
COOL_DOWN_S: Final = 2.0
"""Minimum time between two changes. New actors are ready in well under a second and clear the queue a little later."""
IDLE_S: Final = 20.0
"""How long a role must be idle before it loses an actor."""
_LATE_LOOKS: Final = 2
"""Consecutive looks that must find the queue late; a single one may have hit a burst."""
_GROWTH: Final = 1.5
_IDLE_SHARE: Final = 0.5
"""A role is idle while at most this share of the capacity that remains without one actor is busy."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a role."""

    actors: int
    """Actors on this host."""
    oldest_s: float
    """Age of the oldest queued request in the whole mesh; 0 if none is queued."""
    busy_share: float
    """Share of the capacity of all actors that is busy, 0 to 1."""


def load_of(status: RoleStatus | None, actors: int) -> Load:
    """Return the load of a role, from its row in the router's table (if any) and its actors on this host."""
    if status is None:
        return Load(actors, 0.0, 0.0)
    capacity = sum(actor.capacity for actor in status.actors)
    busy = sum(actor.busy for actor in status.actors)
    return Load(actors, status.oldest_s if status.queued else 0.0, busy / capacity if capacity else 1.0)


class RoleAutoscaler:
    """Decides for one role of one host, look by look."""

    def __init__(self, settings: RoleConfig) -> None:
        if settings.max is None:
            raise ValueError("expected a role with a maximum number of actors")
        self._min = settings.count if settings.min is None else settings.min
        self._max = settings.max
        self._target_s = settings.target_delay_s
        self._late_looks = 0
        self._oldest_s = 0.0
        self._cool_down_until = -inf
        self._idle_since: float | None = None

    def decide(self, now: float, load: Load) -> int:
        """Return how many actors the role should have on this host."""
        is_late = load.oldest_s > self._target_s
        self._late_looks = self._late_looks + (load.oldest_s >= self._oldest_s) if is_late else 0
        self._oldest_s = load.oldest_s
        remaining = load.actors - 1
        is_idle = not is_late and remaining > 0 and load.busy_share * load.actors <= _IDLE_SHARE * remaining
        self._idle_since = (now if self._idle_since is None else self._idle_since) if is_idle else None
        wanted = load.actors
        if now >= self._cool_down_until:
            if self._late_looks >= _LATE_LOOKS:
                wanted = max(load.actors + 1, int(load.actors * _GROWTH))
            elif self._idle_since is not None and now - self._idle_since >= IDLE_S:
                wanted = remaining
        wanted = min(max(wanted, self._min), self._max)
        if wanted != load.actors:
            self._late_looks, self._idle_since = 0, None
            self._cool_down_until = now + COOL_DOWN_S
        return wanted
