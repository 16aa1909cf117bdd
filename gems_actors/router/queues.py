"""What the dispatcher keeps of peers and of requests, and the order in which those that wait are served."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import inf

from protocol.envelope import Header
from protocol.messages import Hello

_MAX_IDLE_PLACES = 1000


@dataclass(slots=True, eq=False)
class Peer:
    """A process that said hello: a client, an actor, or both."""

    identity: bytes
    role: str
    hello: Hello
    capacity: int
    seen_at: float
    held: dict[bytes, Ticket] = field(default_factory=dict)
    asked: set[bytes] = field(default_factory=set)
    followed: set[bytes] = field(default_factory=set)
    """Runs whose events it wants."""
    handled: int = 0
    is_in_turn: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""
    knows_run_states: bool = True
    """Nothing that it was told of run_states is known to be lost."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that is not answered yet."""

    header: Header
    body: bytes
    client: bytes | None
    """Who wants the answer; None once withdrawn, or before the client repeats what an actor told us it holds."""
    asked_at: float
    deadline: float = inf
    holder: Peer | None = None
    given_at: float = 0.0
    attempt: int = 0
    losses: int = 0
    is_withdrawn: bool = False
    """Its holder was told to stop."""
    is_queued: bool = False
    """Waits for an actor; where it stands in a queue and does not wait any more, it is passed over."""
    place: int = 0
    """Among those of its lane and run: the lower is served first."""


class Queue:
    """Requests that wait for one role: the interactive lane first, and in each lane the runs take turns."""

    def __init__(self) -> None:
        self._lanes: tuple[OrderedDict[bytes, deque[Ticket]], ...] = (OrderedDict(), OrderedDict())
        self._places = count(1)
        self.parked: dict[Ticket, None] = {}
        """Those that wait until they are released: apart, so that nobody has to pass them over again and again."""
        self.waiting = 0
        """For an actor, without those that are parked."""
        self.standing = 0
        """Places taken in the queues, those of tickets that wait no longer among them."""

    def put(self, ticket: Ticket, *, first: bool = False) -> None:
        """Have a ticket wait, behind those of its lane and run or, where it was handed out before, in front of them."""
        tickets = self._lanes[ticket.header.lane].setdefault(ticket.header.run, deque())
        self._give_place(ticket, first=first)
        if first:
            tickets.appendleft(ticket)
        else:
            tickets.append(ticket)
        ticket.is_queued = True
        self.waiting += 1
        self.standing += 1
        if self.standing > 2 * self.waiting + _MAX_IDLE_PLACES:
            self._sweep()

    def park(self, ticket: Ticket, *, first: bool = False) -> None:
        """Have a ticket wait likewise, but let it be served only once it was released."""
        self._give_place(ticket, first=first)
        self.parked[ticket] = None

    def park_those(self, matches: Callable[[Ticket], bool]) -> None:
        """Have the tickets that are meant wait until they are released."""
        meant = [ticket for ticket in self if matches(ticket)]
        for ticket in meant:
            self.drop(ticket)
        self._sweep()
        self.parked.update(dict.fromkeys(meant))

    def release_those(self, matches: Callable[[Ticket], bool]) -> None:
        """Have the parked tickets that are meant served again, in the order in which they would have been."""
        released = [ticket for ticket in self.parked if matches(ticket)]
        for ticket in released:
            del self.parked[ticket]
            ticket.is_queued = True
            self._lanes[ticket.header.lane].setdefault(ticket.header.run, deque()).append(ticket)
        self.waiting += len(released)
        self.standing += len(released)
        for lane, run in {(ticket.header.lane, ticket.header.run) for ticket in released}:
            self._lanes[lane][run] = deque(sorted(self._lanes[lane][run], key=lambda ticket: ticket.place))

    def drop(self, ticket: Ticket) -> None:
        """Have a ticket wait no longer, if it does."""
        self.parked.pop(ticket, None)
        self.waiting -= ticket.is_queued
        ticket.is_queued = False

    def take(self) -> Ticket | None:
        """Return whose turn it is, or None when nobody waits."""
        for lane in self._lanes:
            while lane:
                run, tickets = next(iter(lane.items()))
                ticket = tickets.popleft()
                self.standing -= 1
                if not tickets:
                    del lane[run]
                elif ticket.is_queued:
                    lane.move_to_end(run)
                if ticket.is_queued:
                    self.drop(ticket)
                    return ticket
        return None

    def __iter__(self) -> Iterator[Ticket]:
        for lane in self._lanes:
            for tickets in lane.values():
                yield from (ticket for ticket in tickets if ticket.is_queued)

    def _give_place(self, ticket: Ticket, *, first: bool) -> None:
        place = next(self._places)
        ticket.place = -place if first else place

    def _sweep(self) -> None:
        """Free the places of tickets that wait no longer; else asking and withdrawing for ever would fill memory."""
        for lane in self._lanes:
            for run, tickets in list(lane.items()):
                lane[run] = deque(ticket for ticket in tickets if ticket.is_queued)
                if not lane[run]:
                    del lane[run]
        self.standing = sum(len(tickets) for lane in self._lanes for tickets in lane.values())
