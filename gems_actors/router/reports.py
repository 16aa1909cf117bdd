"""What actors report to hold, against what this router knows of it. Pure."""

from __future__ import annotations

from gems_actors.router.outbox import Outbox
from gems_actors.router.queues import Peer, Ticket
from gems_actors.router.requests import Requests
from protocol import messages as m
from protocol.envelope import Header, Kind


class Reports:
    """Reconciles requests with the reports of actors."""

    def __init__(self, outbox: Outbox, requests: Requests) -> None:
        self.count = 0
        """Number of reports so far, of all actors."""
        self._outbox = outbox
        self._requests = requests

    def reattach(self, now: float, peer: Peer, id_: bytes, attempt: int) -> None:
        """Reconcile a request that an actor claims to hold: accept the claim, or cancel the request there as stale."""
        tickets = self._requests.tickets
        ticket = tickets.get(id_)
        if ticket is None and id_ not in self._requests.answered:
            ticket = Ticket(Header(Kind.REQUEST, id_, peer.role), b"", None, now)
            tickets.add(ticket)
        if ticket is not None and ticket.holder is None and ticket.attempt <= attempt:
            self._requests.assign(now, ticket, peer, attempt)
        elif ticket is not None and ticket.holder is peer:
            ticket.attempt = attempt  # it got the request by another router and ignored ours
        else:
            header = Header(Kind.CANCEL, id_, peer.role, attempt=attempt)
            self._outbox.send(peer.identity, header, m.Cancel(here_only=True))

    def take(
        self, now: float, peer: Peer, holding: tuple[m.Held, ...], elsewhere: tuple[m.Held, ...]
    ) -> tuple[bytes, ...]:
        """Assign to an actor what it holds and a client awaits here; return what it has from other routers of that."""
        self.count += 1
        peer.report = self.count
        for held in holding:
            if held.id not in peer.held:  # it arrived from a router that has died since
                self._claim(now, peer, held)
        return tuple(held.id for held in elsewhere if self._claim(now, peer, held))

    def _claim(self, now: float, peer: Peer, held: m.Held) -> bool:
        """Return whether a request is assigned to an actor that holds it already."""
        ticket = self._requests.tickets.get(held.id)
        if ticket is None or ticket.header.role != peer.role or ticket.is_withdrawn:
            return False
        if ticket.holder is None and ticket.attempt <= held.attempt:
            self._requests.assign(now, ticket, peer, held.attempt)
        if ticket.holder is not peer:
            return False
        ticket.attempt = held.attempt
        return True
