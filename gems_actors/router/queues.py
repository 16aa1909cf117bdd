"""The dispatcher's records of peers and requests, and the queue that orders waiting requests."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import inf, isqrt

from msgspec import Struct

from gems_actors.router.budgets import Account
from protocol.envelope import Header, Lane
from protocol.messages import Hello

_MAX_IDLE_ENTRIES = 1000


@dataclass(slots=True, eq=False)
class Peer:
    """A process that said hello: a client, an actor, or both."""

    identity: bytes
    role: str
    hello: Hello
    capacity: int
    seen_at: float
    report: int = 0
    """Number of its last report of what it holds, counted over all actors."""
    held: dict[bytes, Ticket] = field(default_factory=dict)
    owner: Hashable = None
    """Who pays for it: its key, or its own identity."""
    account: Account = field(default_factory=Account)
    """What its owner has taken, by this and other connections."""
    requested: dict[bytes, int] = field(default_factory=dict)
    """Requests in flight that it has sent, and how many bytes each has."""
    reading: set[bytes] = field(default_factory=set)
    """Those of them that read memory's log."""
    followed: set[bytes] = field(default_factory=set)
    """Runs whose events it follows."""
    handled: int = 0
    is_in_turn: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""
    knows_run_states: bool = True
    """False after a run state could not be delivered."""

    def add_request(self, id_: bytes, size: int) -> None:
        """Count a request that it has sent."""
        self.account.requests += id_ not in self.requested
        self.account.requested_bytes += size - self.requested.get(id_, 0)
        self.requested[id_] = size

    def drop_request(self, id_: bytes) -> None:
        """Count a request no longer, if it was counted."""
        if (size := self.requested.pop(id_, None)) is not None:
            self.account.requests -= 1
            self.account.requested_bytes -= size
            if id_ in self.reading:
                self.reading.remove(id_)
                self.account.readers -= 1

    def add_reader(self, id_: bytes) -> None:
        """Count a request that it has sent as one that reads memory's log."""
        self.account.readers += id_ not in self.reading
        self.reading.add(id_)

    def move_to(self, owner: Hashable, account: Account) -> None:
        """Have another account pay for what it has taken."""
        size = sum(self.requested.values())
        for account_, sign in ((self.account, -1), (account, 1)):
            account_.requests += sign * len(self.requested)
            account_.requested_bytes += sign * size
            account_.readers += sign * len(self.reading)
            account_.followed += sign * len(self.followed)
        self.owner, self.account = owner, account


class Ticket(Struct, eq=False):  # made for every request, at a fifth of a dataclass's cost
    """A request that is not answered yet."""

    header: Header
    frame: bytes
    """The request as its client sent it; empty while only the actor that holds it has reported it."""
    client: bytes | None
    """Client to answer; None once cancelled, or while only the actor that holds it has reported it."""
    requested_at: float
    deadline: float = inf
    holder: Peer | None = None
    assigned_at: float = 0.0
    attempt: int = 0
    losses: int = 0
    """Actors that it was lost with, without a step in between."""
    lives: int = 0
    """Actors that it may still be lost with before it fails, once these are one or two; 0: it is no suspect."""
    is_withdrawn: bool = False
    """True once its holder was told to cancel it."""
    reports_before: int = 0
    """Number of the last report of any actor before the request was repeated here."""
    is_moved: bool = False
    """True once its client asked another router for it: if its holder is lost, that router assigns it again."""
    lane_and_run: tuple[Lane, bytes] = (Lane.INTERACTIVE, b"")
    """As what it was queued last: a client may repeat its request with another header."""
    is_queued: bool = False
    """True while it waits for an actor; entries of other tickets that are still in a queue are skipped."""
    position: int = 0
    """Order among tickets of its lane and run; lower is served first."""


class Queue:
    """Requests that wait for one role: the interactive lane first, and runs take turns within a lane.

    Of the requests that were lost with an actor, only one is to blame. So before they fail for it, an actor gets few of
    these suspects at a time: of those with two lives the square root of its capacity, of those with one life only one.
    """

    def __init__(self) -> None:
        self._lanes: tuple[OrderedDict[bytes, deque[Ticket]], ...] = (OrderedDict(), OrderedDict())
        self._waiting_of: tuple[dict[bytes, int], ...] = ({}, {})
        """Number of tickets of each run that wait, by lane."""
        self._waiting_in = [0, 0]
        self._positions = count(1)
        self.parked: dict[Ticket, None] = {}
        """Tickets of paused runs, kept apart so that they need not be skipped again and again."""
        self.suspects: dict[Ticket, None] = {}
        """Tickets with few lives left; of their lane they are served first, but only by actors that may get them."""
        self.waiting = 0
        """Number of tickets that wait for an actor, without parked ones."""
        self.entries = 0
        """Number of entries in the lanes, including those of tickets that no longer wait."""

    def put(self, ticket: Ticket, *, first: bool) -> None:
        """Queue a ticket behind those of its lane and run or, if it was handed out before, in front of them."""
        if ticket.lives:
            self._set_position(ticket, first=first)
            self._add_suspect(ticket)
            return
        tickets = self._lanes[ticket.header.lane].setdefault(ticket.header.run, deque())
        self._set_position(ticket, first=first)
        if first:
            tickets.appendleft(ticket)
        else:
            tickets.append(ticket)
        self._count_in(ticket)
        self.entries += 1
        if self.entries > 2 * self.waiting + _MAX_IDLE_ENTRIES:
            self._sweep()

    def park(self, ticket: Ticket, *, first: bool) -> None:
        """Queue a ticket that is skipped until it is released."""
        self._set_position(ticket, first=first)
        self.parked[ticket] = None

    def park_those(self, run: bytes, matches: Callable[[Ticket], bool]) -> None:
        """Park the queued tickets of a run that match."""
        for lane in self._lanes:
            tickets = lane.get(run, deque())
            matched = [ticket for ticket in tickets if ticket.is_queued and matches(ticket)]
            for ticket in matched:
                self.drop(ticket)
            self.parked.update(dict.fromkeys(matched))
            if matched:
                lane[run] = deque(ticket for ticket in tickets if ticket.is_queued)
                self.entries += len(lane[run]) - len(tickets)
                if not lane[run]:
                    del lane[run]
        for ticket in [ticket for ticket in self.suspects if ticket.header.run == run and matches(ticket)]:
            self.drop(ticket)
            self.parked[ticket] = None

    def release_those(self, matches: Callable[[Ticket], bool]) -> None:
        """Return parked tickets that match to the queue, each at its old position."""
        matched = [ticket for ticket in self.parked if matches(ticket)]
        for ticket in matched:
            del self.parked[ticket]
            if ticket.lives:
                self._add_suspect(ticket)
        released = [ticket for ticket in matched if not ticket.lives]
        for ticket in released:
            self._count_in(ticket)
            self._lanes[ticket.header.lane].setdefault(ticket.header.run, deque()).append(ticket)
        self.entries += len(released)
        for lane, run in {(ticket.header.lane, ticket.header.run) for ticket in released}:
            self._lanes[lane][run] = deque(sorted(self._lanes[lane][run], key=lambda ticket: ticket.position))

    def drop(self, ticket: Ticket) -> None:
        """Remove a ticket from the queue or the parked tickets, if it is there."""
        self.parked.pop(ticket, None)
        if ticket.is_queued:
            lane, run = ticket.lane_and_run
            ticket.is_queued = False
            self.waiting -= 1
            self._waiting_in[lane] -= 1
            self._waiting_of[lane][run] -= 1
            if not self._waiting_of[lane][run]:
                del self._waiting_of[lane][run]
        elif ticket in self.suspects:
            del self.suspects[ticket]
            self.waiting -= 1

    def giving_way_to(self, header: Header) -> Ticket | None:
        """Return the ticket that a new request displaces from a full queue, or None if none has less right to wait.

        Bulk requests give way to interactive ones and, within a lane, the newest request of the run that has most
        waiting to one of a run with less than its share. Otherwise a run that fills the queue would keep others out.
        """
        lane, run = header.lane, header.run
        if lane is Lane.INTERACTIVE and self._waiting_in[Lane.BULK]:
            lane, own = Lane.BULK, 0
        else:
            own = self._waiting_of[lane].get(run, 0)
            if own + 1 > self._waiting_in[lane] / (len(self._waiting_of[lane]) + (own == 0)):
                return None
        waiting_of = self._waiting_of[lane]
        tickets = self._lanes[lane][max(waiting_of, key=waiting_of.__getitem__)]
        while not tickets[-1].is_queued:
            tickets.pop()
            self.entries -= 1
        return tickets[-1]

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket.is_queued or ticket in self.suspects

    def take(self, peer: Peer) -> Ticket | None:
        """Remove and return the next ticket for an actor, or None if none waits that it may get."""
        for lane in self._lanes:
            if self.suspects and (suspect := self._suspect_for(peer, lane)) is not None:
                self.drop(suspect)
                return suspect
            while lane:
                run, tickets = next(iter(lane.items()))
                ticket = tickets.popleft()
                self.entries -= 1
                if not tickets:
                    del lane[run]
                elif ticket.is_queued:
                    lane.move_to_end(run)
                if ticket.is_queued:
                    self.drop(ticket)
                    return ticket
        return None

    def _suspect_for(self, peer: Peer, lane: object) -> Ticket | None:
        """Return the first suspect of a lane that an actor may get now."""
        held = Counter(ticket.lives for ticket in peer.held.values())
        free = [lives for lives, most in ((1, 1), (2, isqrt(peer.capacity))) if held[lives] < most]
        found = (ticket for ticket in self.suspects if ticket.lives in free and self._lanes[ticket.header.lane] is lane)
        return next(found, None)

    def __iter__(self) -> Iterator[Ticket]:
        yield from self.suspects
        for lane in self._lanes:
            for tickets in lane.values():
                yield from (ticket for ticket in tickets if ticket.is_queued)

    def _count_in(self, ticket: Ticket) -> None:
        lane, run = ticket.lane_and_run = ticket.header.lane, ticket.header.run
        ticket.is_queued = True
        self.waiting += 1
        self._waiting_in[lane] += 1
        self._waiting_of[lane][run] = self._waiting_of[lane].get(run, 0) + 1

    def _add_suspect(self, ticket: Ticket) -> None:
        self.suspects[ticket] = None
        self.waiting += 1

    def _set_position(self, ticket: Ticket, *, first: bool) -> None:
        position = next(self._positions)
        ticket.position = -position if first else position

    def _sweep(self) -> None:
        """Drop entries of tickets that no longer wait; otherwise repeated asking and cancelling would fill memory."""
        for lane in self._lanes:
            for run, tickets in list(lane.items()):
                lane[run] = deque(ticket for ticket in tickets if ticket.is_queued)
                if not lane[run]:
                    del lane[run]
        self.entries = sum(len(tickets) for lane in self._lanes for tickets in lane.values())
