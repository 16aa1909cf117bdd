"""What the dispatcher keeps of requests: those in flight, their deadlines, and recent answers. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import inf
from typing import Final

from gems_actors.router.queues import Ticket
from protocol.envelope import Header

_MAX_ANSWERED: Final = 4096
"""Answers kept for clients that lost their connection and repeat the request; the oldest is dropped first."""


class Tickets:
    """All requests in flight."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Ticket] = {}
        self._by_run: dict[bytes, dict[bytes, Ticket]] = {}
        self.get = self._by_id.get

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._by_id.values())

    def add(self, ticket: Ticket) -> None:
        """Add a request with a new id."""
        header = ticket.header
        id_, run = header.id, header.run
        self._by_id[id_] = ticket
        if run in self._by_run:
            self._by_run[run][id_] = ticket
        else:
            self._by_run[run] = {id_: ticket}

    def remove(self, ticket: Ticket) -> None:
        """Remove a request."""
        header = ticket.header
        del self._by_id[header.id]
        self._leave_run(header)

    def replace_header(self, ticket: Ticket, header: Header) -> None:
        """Replace the header of a request, of which an actor may have told only id and role."""
        if header.run != ticket.header.run:
            self._leave_run(ticket.header)
            self._by_run.setdefault(header.run, {})[header.id] = ticket
        ticket.header = header

    def of_run(self, run: bytes) -> list[Ticket]:
        """Return the requests of a run."""
        return list(self._by_run.get(run, {}).values())

    def has_run(self, run: bytes) -> bool:
        """Return whether a run has requests in flight."""
        return run in self._by_run

    def _leave_run(self, header: Header) -> None:
        tickets = self._by_run[header.run]
        del tickets[header.id]
        if not tickets:
            del self._by_run[header.run]


class Deadlines:
    """The deadlines of requests in flight.

    Most requests are answered long before. So no order is kept, which would cost each of them a tenth of what the
    router does with it; once the earliest deadline may have passed, all are looked at.
    """

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets
        self._next_at = inf
        """No deadline of a request in flight is earlier."""

    def set(self, ticket: Ticket, deadline: float) -> None:
        """Give a request a deadline, in place of an earlier one."""
        ticket.deadline = deadline
        if deadline < self._next_at:
            self._next_at = deadline

    def due(self, now: float) -> list[Ticket]:
        """Return the requests whose deadline has passed, once each."""
        due: list[Ticket] = []
        if now < self._next_at:
            return due
        self._next_at = inf
        for ticket in self._tickets:
            if ticket.deadline <= now:
                ticket.deadline = inf
                due.append(ticket)
            elif ticket.deadline < self._next_at:
                self._next_at = ticket.deadline
        return due


class Answers:
    """Recent answers, for clients that lost their connection and repeat the request."""

    def __init__(self, max_bytes: int) -> None:
        """Keep answers of up to `max_bytes` in all."""
        self._max_bytes = max_bytes
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self.size = 0
        """Bytes of the frames of all answers."""
        self.get = self._answers.get

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self._answers

    def __len__(self) -> int:
        return len(self._answers)

    def keep(self, id_: bytes, frame: bytes) -> None:
        """Keep an answer, and drop the oldest ones beyond the limits."""
        self._answers[id_] = frame
        self.size += len(frame)
        while len(self._answers) > _MAX_ANSWERED or self.size > self._max_bytes:
            _, oldest = self._answers.popitem(last=False)
            self.size -= len(oldest)
