"""Requests in flight: which of them wait, which actor has which, and how each ends. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf

from gems_actors import errors
from gems_actors.router.outbox import Outbox
from gems_actors.router.pauses import Pauses
from gems_actors.router.queues import Peer, Queue, Ticket
from gems_actors.router.tables import Answers, Deadlines, Tickets
from protocol import messages as m
from protocol.codec import encode_message
from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, Header, Kind, handed_out

_SUSPECT_LIVES = 2
"""Actors that a request may still be lost with when it becomes a suspect, see `Queue`."""


class Requests:
    """The requests of all clients, and the actors that wait for one."""

    def __init__(
        self,
        now: float,
        outbox: Outbox,
        peers: Mapping[bytes, Peer],
        pauses: Pauses,
        *,
        max_queue: int,
        max_deliveries: int,
        max_answer_bytes: int,
        on_first_hand_out: Callable[[Header, float], None] | None,
    ) -> None:
        self.tickets = Tickets()
        self.queues: dict[str, Queue] = {}
        self.turns: dict[str, deque[Peer]] = {}
        """Actors of each role with free capacity, in the order in which they get a request."""
        self.answered = Answers(max_answer_bytes)
        self.deadlines = Deadlines(self.tickets)
        self.requeued = 0
        self.reading_until = now
        """Until then nothing is handed out, because a client may have withdrawn it in what has not been read yet."""
        self._outbox = outbox
        self._peers = peers
        self._pauses = pauses
        self._max_queue, self._max_deliveries = max_queue, max_deliveries
        self._on_first_hand_out = on_first_hand_out

    # ----------------------------------------------------------------------------------------- waiting for an actor

    def begin(self, now: float, ticket: Ticket, queue: Queue, *, is_paused: bool) -> None:
        """Hand out a new request or, if it has to wait, queue it."""
        if not queue.waiting and not is_paused and now >= self.reading_until:
            # Most requests find a free actor. Without a queue they cost the router a fifth less.
            turns = self.turns.get(ticket.header.role)
            while turns:
                peer = turns[0]
                if len(peer.held) < peer.capacity:
                    turns.rotate(-1)
                    self._hand(now, ticket, peer)
                    return
                turns.popleft().is_in_turn = False
        self.put(ticket)
        self.hand_out(now, ticket.header.role)

    def admit(self, now: float, ticket: Ticket) -> None:
        """Queue a request that had to wait for a hello or for reports, as far as the queue has room by now."""
        if full := self.make_room(now, self.queue_of(ticket), ticket.header):
            self.turn_away(ticket, full)
        else:
            self.put(ticket)
            self.hand_out(now, ticket.header.role)

    def make_room(self, now: float, queue: Queue, header: Header) -> errors.OverloadedError | None:
        """Return why a request cannot wait in a full queue, or None, if need be after another one gave way to it."""
        is_paused = self._pauses.blocking(header) is not None
        waiting = len(queue.parked) if is_paused else queue.waiting  # paused requests have a separate limit
        if waiting < self._max_queue:
            return None
        oldest_s = now - next((waiting.requested_at for waiting in queue), now)
        text = f"{waiting} requests already wait for a {header.role}"
        # By then, what waits now has been handed out. Sooner, most of those that ask again would be refused again.
        full = errors.OverloadedError(text, min(max(oldest_s, 0.2), 10.0))
        displaced = None if is_paused else queue.giving_way_to(header)
        if displaced is None:
            return full
        self.turn_away(displaced, full)
        return None

    def turn_away(self, ticket: Ticket, error: errors.OverloadedError) -> None:
        """Refuse a request that was accepted before; its client asks again under a new id."""
        self.close(ticket)
        if ticket.client is not None:
            self._outbox.refuse(ticket.client, ticket.header, error)

    def put(self, ticket: Ticket, *, first: bool = False) -> None:
        """Queue a ticket, or park it while its run or trajectory is paused."""
        if self._pauses.blocking(ticket.header) is None:
            self.queue_of(ticket).put(ticket, first=first)
        else:
            self.queue_of(ticket).park(ticket, first=first)

    def queue_of(self, ticket: Ticket) -> Queue:
        """Return the queue of the role that a request is for."""
        queue = self.queues.get(ticket.header.role)
        if queue is None:
            queue = self.queues[ticket.header.role] = Queue()
        return queue

    def forget_empty_queues(self) -> None:
        """Forget the queues of roles for which nothing waits."""
        self.queues = {role: queue for role, queue in self.queues.items() if queue.waiting or queue.parked}

    # ----------------------------------------------------------------------------------------- actors

    def offer(self, now: float, peer: Peer) -> None:
        """Let an actor with free capacity wait for its turn."""
        if peer.role and not peer.is_in_turn and len(peer.held) < peer.capacity:
            peer.is_in_turn = True
            self.turns.setdefault(peer.role, deque()).append(peer)
        self.hand_out(now, peer.role)

    def leave_turn(self, peer: Peer) -> None:
        """Give an actor that leaves, or changes its role, no more requests."""
        if peer.is_in_turn:
            peer.is_in_turn = False
            self.turns[peer.role].remove(peer)

    def hand_out(self, now: float, role: str) -> None:
        """Give the requests that wait for a role to its actors in turn, as far as these have capacity."""
        queue = self.queues.get(role)
        if queue is None or not queue.waiting or now < self.reading_until:
            return
        turns, refused = self.turns.get(role), 0
        while turns:
            peer = turns[0]
            if len(peer.held) >= peer.capacity:
                turns.popleft().is_in_turn = False
                continue
            ticket = queue.take(peer)
            if ticket is None and not queue.suspects:
                return
            turns.rotate(-1)
            if ticket is not None:
                refused = 0
                self._hand(now, ticket, peer)
            elif (refused := refused + 1) >= len(turns):  # the suspects that wait may go to none of them
                return

    def _hand(self, now: float, ticket: Ticket, peer: Peer) -> None:
        ticket.attempt += 1
        ticket.holder, ticket.assigned_at = peer, now
        peer.held[ticket.header.id] = ticket
        left_ms = NO_DEADLINE_MS if ticket.deadline == inf else max(0, int((ticket.deadline - now) * 1000))
        self._outbox.messages.append((peer.identity, handed_out(ticket.frame, ticket.attempt, left_ms)))
        if self._on_first_hand_out is not None and ticket.attempt == 1:
            self._on_first_hand_out(ticket.header, now - ticket.requested_at)

    def assign(self, now: float, ticket: Ticket, peer: Peer, attempt: int) -> None:
        """Note that an actor has a request already, which may have been waiting here."""
        self.queue_of(ticket).drop(ticket)
        ticket.holder, ticket.assigned_at, ticket.attempt = peer, now, attempt
        peer.held[ticket.header.id] = ticket

    def count_loss(self, ticket: Ticket) -> None:
        """Count an actor that a request was lost with; with few lives left it is handed out with few others."""
        ticket.losses += 1
        lives = self._max_deliveries - ticket.losses
        ticket.lives = lives if lives <= _SUSPECT_LIVES else 0

    def clear(self, now: float, ticket: Ticket) -> None:
        """Forget the losses of a request that took a step: its next suspect may be handed out."""
        ticket.losses = ticket.lives = 0
        self.hand_out(now, ticket.header.role)

    def requeue(self, now: float, ticket: Ticket) -> None:
        """Hand out again what an actor has lost, unless its client no longer waits or it crashed too many actors."""
        ticket.holder = None
        if ticket.client is None or ticket.is_moved:  # it was cancelled, or its client has not repeated it yet
            self.close(ticket)
        elif ticket.losses >= self._max_deliveries:
            self.fail(ticket, errors.PoisonedError(f"crashed {ticket.losses} actors of role {ticket.header.role}"))
        else:
            self.requeued += 1
            self.put(ticket, first=True)
            self.hand_out(now, ticket.header.role)

    def take_away(self, ticket: Ticket) -> None:
        """Requeue a request that is wanted again after its holder was told to cancel it."""
        if ticket.holder is not None:
            del ticket.holder.held[ticket.header.id]
        ticket.holder, ticket.is_withdrawn = None, False
        ticket.attempt += 1  # fences the answer of the old holder
        self.put(ticket)

    # ----------------------------------------------------------------------------------------- how requests end

    def withdraw(self, ticket: Ticket, reason: str = "", *, here_only: bool = False) -> None:
        """Drop the client of a ticket and cancel it at its holder."""
        if ticket.client is not None and (client := self._peers.get(ticket.client)):
            client.drop_request(ticket.header.id)
        ticket.client = None
        if ticket.holder is None:
            self.close(ticket)
        else:
            ticket.is_withdrawn = True
            header = Header(Kind.CANCEL, ticket.header.id, ticket.header.role, attempt=ticket.attempt)
            self._outbox.send(ticket.holder.identity, header, m.Cancel(reason=reason, here_only=here_only))

    def fail(self, ticket: Ticket, error: errors.RequestError) -> None:
        """End a request that no actor has with a failure."""
        header = Header(Kind.FAILURE, ticket.header.id, ticket.header.role, attempt=ticket.attempt)
        self.finish(ticket, encode_message(header, errors.failure_of(error)))

    def fail_and_cancel(self, ticket: Ticket, error: errors.RequestError, reason: str = "") -> None:
        """Answer a request with a failure and cancel it at its holder, if any."""
        if ticket.holder is None:
            self.fail(ticket, error)
            return
        if ticket.client is not None:
            header = Header(Kind.FAILURE, ticket.header.id, ticket.header.role, attempt=ticket.attempt)
            self._outbox.send(ticket.client, header, errors.failure_of(error))
        self.withdraw(ticket, reason)

    def expire(self, now: float) -> None:
        """Fail the requests whose deadline has passed."""
        for ticket in self.deadlines.due(now):
            if ticket.client is not None:
                where = f"held by {ticket.holder.hello.name}" if ticket.holder else f"no {ticket.header.role} was free"
                text = f"not answered within {now - ticket.requested_at:.1f} s ({where})"
                self.fail_and_cancel(ticket, errors.DeadlineError(text))

    def finish(self, ticket: Ticket, answer: bytes) -> None:
        """End a request with the frame of its answer."""
        client = ticket.client
        self.close(ticket)
        if client is not None or not ticket.frame:  # without a frame, its client has not repeated it yet
            self.answered.keep(ticket.header.id, answer)
        if client is not None:
            self._outbox.messages.append((client, answer))

    def close(self, ticket: Ticket) -> None:
        """Forget a request."""
        if ticket.holder is None:  # what an actor has waits in no queue
            self.queue_of(ticket).drop(ticket)
        self.tickets.remove(ticket)
        if ticket.client is not None and (client := self._peers.get(ticket.client)):
            client.drop_request(ticket.header.id)


def size_of(frame: bytes) -> int:
    """Return the bytes of a request's body."""
    return max(0, len(frame) - HEADER_BYTES)
