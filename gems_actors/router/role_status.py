"""The status of roles: their actors, the load of each, and the requests that wait. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gems_actors.router.queues import Peer, Queue
from gems_actors.router.totals import LastErrors, Totals
from protocol import messages as m


def roles_status(
    now: float, peers: Iterable[Peer], queues: Mapping[str, Queue], totals: Totals, errors: LastErrors
) -> tuple[m.RoleStatus, ...]:
    """Return the status of every role that an actor plays or requests wait for, by name; `peers` are in order."""
    found: dict[str, list[Peer]] = {role: [] for role, queue in queues.items() if queue.waiting or queue.parked}
    for peer in peers:
        if peer.role:
            found.setdefault(peer.role, []).append(peer)
    return tuple(
        _status_of(now, role, found[role], queues.get(role, Queue()), totals.of(role), errors.of(role, now))
        for role in sorted(found)
    )


def _status_of(
    now: float, role: str, peers: list[Peer], queue: Queue, totals: dict[str, float], error: tuple[str, float | None]
) -> m.RoleStatus:
    actors = tuple(
        m.ActorStatus(
            name=peer.hello.name,
            role=role,
            host=peer.hello.host,
            pid=peer.hello.pid,
            version=peer.hello.version,
            capacity=peer.capacity,
            busy=len(peer.held),
            handled=peer.handled,
            silent_s=now - peer.seen_at,
            oldest_s=max((now - ticket.assigned_at for ticket in peer.held.values()), default=0.0),
            figures=peer.figures,
            note=peer.note,
        )
        for peer in peers
    )
    oldest_s = max((now - ticket.requested_at for ticket in queue), default=0.0)
    return m.RoleStatus(
        role=role, queued=queue.waiting, oldest_s=oldest_s, actors=actors, paused=len(queue.parked), totals=totals,
        last_error=error[0], last_error_s=error[1],
    )  # fmt: skip
