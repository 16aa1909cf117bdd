"""Requests that may not be handed out yet, because the router has not heard all that it has to know. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import chain

from gems_actors.errors import OverloadedError
from gems_actors.router.budgets import MAX_BEFORE_HELLO, MAX_BEFORE_HELLO_BYTES, RETRY_AFTER_S
from gems_actors.router.queues import Peer, Ticket
from gems_actors.router.requests import Requests, size_of

_RECONNECT_S = 0.5
"""Longest time between two attempts of an actor to connect to a router that has replaced another one."""


class WaitingRoom:
    """Repeated requests, which an actor may hold, and new requests of clients that have not said hello."""

    def __init__(self, heartbeat_s: float, peers: Mapping[bytes, Peer], requests: Requests) -> None:
        self._peers = peers
        self._requests = requests
        self._grace_s = heartbeat_s + max(heartbeat_s, _RECONNECT_S)
        self._repeated: deque[Ticket] = deque()
        """Repeated requests, held back because an actor that has not yet said hello may be answering them."""
        self._before_hello: dict[bytes, list[Ticket]] = {}
        """New requests of clients that have not said hello, by identity; handed out afterwards. A client that gave this
        router up before it heard of it has asked another one, and says so before its hello."""

    def __len__(self) -> int:
        """Number of repeated requests."""
        return len(self._repeated)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._repeated

    def await_reports(self, ticket: Ticket) -> None:
        """Hold a repeated request back until each actor that could hold it has said what it holds."""
        self._repeated.append(ticket)

    def await_hello(self, identity: bytes, ticket: Ticket) -> None:
        """Hold a request back until its client has said hello."""
        self._before_hello.setdefault(identity, []).append(ticket)

    def said_hello(self, identity: bytes) -> list[Ticket]:
        """Return the requests that waited for a client's hello and still wait."""
        return [ticket for ticket in self._before_hello.pop(identity, ()) if self._is_waiting(ticket)]

    def check(self) -> None:
        """Check that one more request may wait for a hello.

        Raises:
            OverloadedError: too many do.
        """
        waiting = [*chain.from_iterable(self._before_hello.values()), *self._repeated]
        size = sum(size_of(ticket.frame) for ticket in waiting)
        if len(waiting) >= MAX_BEFORE_HELLO or size >= MAX_BEFORE_HELLO_BYTES:
            text = f"{len(waiting)} requests of {size:,} bytes wait for their connections to say hello, the maximum"
            raise OverloadedError(text, RETRY_AFTER_S)

    def end_graces(self, now: float) -> None:
        """Queue repeated requests that no actor of the role has claimed in a report since, each having made one."""
        if not self._repeated or self._repeated[0].requested_at > now - self._grace_s:
            return
        oldest: dict[str, int] = {}
        for peer in self._peers.values():
            oldest[peer.role] = min(peer.report, oldest.get(peer.role, peer.report))
        waiting, self._repeated = self._repeated, deque()
        for ticket in waiting:
            if not self._is_waiting(ticket) or ticket in self._requests.queue_of(ticket):
                continue
            role = ticket.header.role
            is_due = ticket.requested_at <= now - self._grace_s
            if is_due and (role not in oldest or ticket.reports_before < oldest[role]):
                if ticket.client is not None and ticket.client not in self._peers:
                    self.await_hello(ticket.client, ticket)
                    continue
                self._requests.admit(now, ticket)
            else:
                self._repeated.append(ticket)

    def drop_silent(self, before: float) -> None:
        """Forget the requests of clients that have said nothing but requests since a time."""
        for identity in [it for it, tickets in self._before_hello.items() if tickets[0].requested_at < before]:
            for ticket in self.said_hello(identity):
                self._requests.close(ticket)  # without an answer: a client that stood still repeats it

    def _is_waiting(self, ticket: Ticket) -> bool:
        return ticket.holder is None and self._requests.tickets.get(ticket.header.id) is ticket
