"""Assigns requests to actors: the router's state machine, without sockets or clocks.

Every method gets the time as an argument and appends messages to send to `outbox`. The dispatcher holds nothing that
its peers could not tell it again, so a router that was killed is replaced by an empty one: actors say hello with the
requests they hold, clients repeat unanswered requests, and both are matched by the request's id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import inf

from gems_actors import errors
from gems_actors.config import RouterConfig
from gems_actors.router.budgets import (
    MAX_BEFORE_HELLO,
    MAX_BEFORE_HELLO_BYTES,
    MAX_FOLLOWED,
    MAX_READERS,
    MAX_REQUESTED_BYTES,
    MAX_UNPLAYED_ROLES,
    MIN_REQUESTS,
    RETRY_AFTER_S,
    Account,
    Accounts,
    MarkBudgets,
    may_wait,
)
from gems_actors.router.queues import Peer, Queue, Ticket
from gems_actors.router.role_status import roles_status
from gems_actors.router.tables import Answers, Deadlines, Tickets
from gems_actors.router.totals import LastErrors, Totals
from gems_actors.run_states import WHOLE_RUN, RunStates, cancellation_of, concerns
from protocol import messages as m
from protocol.codec import decode_body, encode_body, peek_type
from protocol.envelope import NO_DEADLINE_MS, Header, Kind
from protocol.errors import ProtocolError
from protocol.identity import run_bytes

MESH_RUN = run_bytes("mesh")
"""The run whose events report actors that join and leave."""

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Bytes of these answers; an answer read from memory may be a megabyte."""
_READING_S = 0.05
"""Time to read what arrived while the router stalled, before it hands out a request."""
_RECONNECT_S = 0.5
"""Longest time between two attempts of an actor to connect to a router that has replaced another one."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much the dispatcher holds, to see that every collection stays bounded."""

    queue_entries: int
    """Entries in the queues of all roles, including those of requests that no longer wait."""
    deadlines: int
    """Entries in the heap of deadlines, including those of answered requests."""
    reclaimable: int
    """Repeated requests that wait for the actor that may hold them to say hello."""
    followed_runs: int
    requested: int
    """Requests in flight of all clients."""
    answers: int
    answer_bytes: int


_NO_ERRORS = (errors.WithdrawnError.code, errors.CancelledRequestError.code)


def _says_withdrawn(body: bytes) -> bool:
    """Return whether a failure says that an actor stopped because a router had told it to: that is no answer."""
    try:
        failure = decode_body(body)
    except ProtocolError:
        return False
    return isinstance(failure, m.Failure) and failure.code == errors.WithdrawnError.code


def _error_text(body: bytes) -> str:
    """Return a failure as text; empty if its request was cancelled, which is no error."""
    try:
        failure = decode_body(body)
    except ProtocolError:
        return ""
    if not isinstance(failure, m.Failure) or failure.code in _NO_ERRORS:
        return ""
    return f"{failure.code}: {failure.message}"


class Dispatcher:
    """The router's whole state.

    Unstoppable roles also serve paused and cancelled runs, because they record what is already done.
    """

    def __init__(
        self,
        settings: RouterConfig,
        epoch: str,
        now: float,
        *,
        unstoppable_roles: frozenset[str] = frozenset(),
        on_first_hand_out: Callable[[Header, float], None] | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """Start without peers; `on_first_hand_out` gets each request that an actor gets, and how long it has waited."""
        self.outbox: list[tuple[bytes, Header, bytes]] = []
        """Messages to send: recipient, header and body. Emptied by the router."""
        self._settings = settings
        self._unstoppable_roles = unstoppable_roles
        self._max_requests = max(settings.max_queue // 2, MIN_REQUESTS)
        self._epoch = epoch
        self._began_at = self._moved_at = now
        self._suspicion_grace_until = now
        """Until then, a request missing in an actor's heartbeat may have been moved while this router stalled."""
        self._reading_until = now
        """Until then nothing is handed out, because a client may have withdrawn it in what has not been read yet."""
        self._peers: dict[bytes, Peer] = {}
        self._earliest_timeout = now
        """No peer can time out before this, so a tick need not check them all."""
        self._tickets = Tickets()
        self._queues: dict[str, Queue] = {}
        self._turns: dict[str, deque[Peer]] = {}
        self._answered = Answers(max_answer_bytes)
        self._deadlines = Deadlines(self._tickets)
        self._subscribers: dict[bytes, set[bytes]] = {}
        self._reclaim_grace: deque[Ticket] = deque()
        """Repeated requests, held back because an actor that has not yet said hello may be answering them."""
        self._before_hello: dict[bytes, list[Ticket]] = {}
        """New requests of clients that have not said hello, by identity; handed out afterwards. A client that gave this
        router up before it heard of it has asked another one, and says so before its hello."""
        self._reports = 0
        self._reclaim_grace_s = settings.heartbeat_s + max(settings.heartbeat_s, _RECONNECT_S)
        self._requeued = 0
        self._totals = Totals()
        self._last_errors = LastErrors()
        self._on_first_hand_out = on_first_hand_out
        self._run_states = RunStates()
        self._mark_budgets = MarkBudgets()
        self._accounts = Accounts()

    # ----------------------------------------------------------------------------------------- peers

    def hello(self, now: float, identity: bytes, role: str, hello: m.Hello, *, key: str | None = None) -> None:
        """Register a process, or update it; `key` is the one that it connected with.

        Raises:
            OverloadedError: clients with that key have as many connections as they may.
        """
        peer = self._peers.get(identity)
        has_new_role = peer is None or peer.role != role
        owner = identity if role or key is None else key
        if peer is None:
            account = self._accounts.join(owner)
            peer = self._peers[identity] = Peer(
                identity, role, hello, hello.capacity, now, owner=owner, account=account
            )
        elif peer.owner != owner:
            left = peer.owner, peer.account
            peer.move_to(owner, self._accounts.join(owner))
            self._accounts.leave(*left)
        peer.role, peer.hello, peer.capacity, peer.seen_at = role, hello, hello.capacity, now
        for held in hello.holding:
            self._reattach(now, peer, held.id, held.attempt)
        claimed = self._take_report(now, peer, hello.holding, hello.held_elsewhere)
        news = self._run_states.merge_told(hello.run_states)
        welcome = m.Welcome(
            epoch=self._epoch, heartbeat_s=self._settings.heartbeat_s, run_states=self._run_states.all(), role=role
        )
        self._post(identity, Kind.WELCOME, welcome)
        if claimed:
            self._post(identity, Kind.PULSE, m.Pulse(epoch=self._epoch, claimed=claimed))
        self._apply_run_states(now, news)
        for ticket in self._before_hello.pop(identity, ()):
            if self._tickets.get(ticket.header.id) is ticket and ticket.holder is None:
                peer.add_request(ticket.header.id, len(ticket.body))
                self._admit(now, ticket)
        if role and has_new_role and hello.capacity:
            self._announce(m.ActorJoined(name=hello.name, role=role))
        self._offer(now, peer)

    def _reattach(self, now: float, peer: Peer, id_: bytes, attempt: int) -> None:
        """Reconcile a request that an actor claims to hold: accept the claim, or cancel the request there as stale."""
        ticket = self._tickets.get(id_)
        if ticket is None and id_ not in self._answered:
            ticket = Ticket(Header(Kind.REQUEST, id_, peer.role), b"", None, now)
            self._tickets.add(ticket)
        if ticket is not None and ticket.holder is None and ticket.attempt <= attempt:
            self._queue_of(ticket).drop(ticket)
            ticket.holder, ticket.assigned_at, ticket.attempt = peer, now, attempt
            peer.held[id_] = ticket
        elif ticket is not None and ticket.holder is peer:
            ticket.attempt = attempt  # it got the request by another router and ignored ours
        else:
            self._send(peer.identity, Header(Kind.CANCEL, id_, peer.role, attempt=attempt), m.Cancel(here_only=True))

    def _take_report(
        self, now: float, peer: Peer, holding: tuple[m.Held, ...], elsewhere: tuple[m.Held, ...]
    ) -> tuple[bytes, ...]:
        """Assign to an actor what it holds and a client awaits here; return what it has from other routers of that."""
        self._reports += 1
        peer.report = self._reports
        for held in holding:
            if held.id not in peer.held:  # it arrived from a router that has died since
                self._claim(now, peer, held)
        return tuple(held.id for held in elsewhere if self._claim(now, peer, held))

    def _claim(self, now: float, peer: Peer, held: m.Held) -> bool:
        """Return whether a request is assigned to an actor that holds it already."""
        ticket = self._tickets.get(held.id)
        if ticket is None or ticket.header.role != peer.role or ticket.is_withdrawn:
            return False
        if ticket.holder is None and ticket.attempt <= held.attempt:
            self._queue_of(ticket).drop(ticket)
            ticket.holder, ticket.assigned_at = peer, now
            peer.held[held.id] = ticket
        if ticket.holder is not peer:
            return False
        ticket.attempt = held.attempt
        return True

    def capacity(self, now: float, identity: bytes, capacity: int) -> None:
        """Change an actor's capacity."""
        if peer := self._known(now, identity):
            if capacity and not peer.capacity:
                self._announce(m.ActorJoined(name=peer.hello.name, role=peer.role))
            peer.capacity = capacity
            self._offer(now, peer)

    def heartbeat(self, now: float, identity: bytes, beat: m.Heartbeat) -> None:
        """Record a sign of life and reconcile both sides: requeue what was lost, and report unknown requests."""
        peer = self._known(now, identity)
        if peer is None:
            return
        peer.figures, peer.note = self._totals.take(peer.role, peer.hello.name, beat.figures), beat.note
        claimed = self._take_report(now, peer, beat.holding, beat.held_elsewhere)
        if beat.capacity is not None and beat.capacity != peer.capacity:
            self.capacity(now, identity, beat.capacity)
        if peer.held and now >= self._suspicion_grace_until:
            holding = {held.id for held in beat.holding}.union(claimed)
            patience = now - 2 * self._settings.heartbeat_s
            for id_, ticket in [item for item in peer.held.items() if item[0] not in holding]:
                if ticket.assigned_at < patience:  # the request or its answer was lost
                    del peer.held[id_]
                    self._requeue(now, ticket)
            self._offer(now, peer)
        unknown = []
        for id_ in beat.awaiting:
            if answer := self._answered.get(id_):
                self.outbox.append((identity, *answer))
            elif id_ not in self._tickets:
                unknown.append(id_)
        run_states = () if peer.knows_run_states else self._run_states.all()
        peer.knows_run_states = True
        self._post(
            identity,
            Kind.PULSE,
            m.Pulse(epoch=self._epoch, unknown=tuple(unknown), claimed=claimed, run_states=run_states),
        )

    def report_dead(self, now: float, name: str, how: str = "") -> None:
        """Remove an actor whose process was seen to end; its requests are requeued and counted as crashes."""
        reason = f"its process ended with {how}" if how else "its process ended"
        for identity in [peer.identity for peer in self._peers.values() if peer.hello.name == name]:
            self._remove(now, identity, reason, is_loss=True)

    def disconnect(self, now: float, identity: bytes, reason: str = "left") -> None:
        """Remove a process, if known; its requests are requeued and not counted as crashes."""
        if identity in self._peers:
            self._remove(now, identity, reason, is_loss=False)

    def role_of(self, identity: bytes) -> str | None:
        """Return a process's role, empty for a client; None for an unknown process."""
        peer = self._peers.get(identity)
        return None if peer is None else peer.role

    def _known(self, now: float, identity: bytes) -> Peer | None:
        peer = self._peers.get(identity)
        if peer is None:
            self._post(identity, Kind.HELLO_AGAIN, m.HelloAgain(epoch=self._epoch))
        else:
            peer.seen_at = now
        return peer

    def _remove(self, now: float, identity: bytes, reason: str, *, is_loss: bool) -> None:
        peer = self._peers.pop(identity)
        payer = peer.owner, peer.account
        self._mark_budgets.forget(identity)
        peer.capacity = 0
        for ticket in list(peer.held.values()):
            ticket.losses += is_loss
            self._requeue(now, ticket)
        peer.held.clear()
        for id_ in list(peer.requested):
            if (own := self._tickets.get(id_)) and own.client == identity:
                self._withdraw(own, here_only=True)  # it may live on for another router
        for run in peer.followed:
            self._subscribers[run].discard(identity)
            if not self._subscribers[run]:
                del self._subscribers[run]
        peer.move_to(None, Account())
        self._accounts.leave(*payer)
        if peer.role and is_loss:
            self._last_errors.note(peer.role, now, f"{peer.hello.name}: {reason}")
        if peer.role:
            self._announce(m.ActorLeft(name=peer.hello.name, role=peer.role, reason=reason))

    # ----------------------------------------------------------------------------------------- requests

    def request(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        """Accept a client's request; a repeated request with the same id is accepted once (idempotent)."""
        peer = self._known(now, identity)
        if answer := self._answered.get(header.id):
            self.outbox.append((identity, *answer))
            return
        ticket, state = self._tickets.get(header.id), self._blocking_state(header)
        if ticket is None:
            if state is not None and state.state == "cancelled":
                self._refuse(identity, header, cancellation_of(state))
                return
            queue, is_reader = self._queues.get(header.role), may_wait(header, body)
            if peer is None or queue is None or self._is_spent(peer) or is_reader:
                try:
                    self._check_budget(peer, header, is_reader=is_reader)
                except errors.OverloadedError as error:
                    self._refuse(identity, header, error)
                    return
                queue = self._queues.setdefault(header.role, Queue())
            if full := self._make_room(now, queue, header):
                self._refuse(identity, header, full)
                return
            if is_reader and peer is not None:
                peer.add_reader(header.id)
            ticket = Ticket(header, body, identity, now)
            self._tickets.add(ticket)
            if header.attempt:
                ticket.reports_before = self._reports
                self._reclaim_grace.append(ticket)
            elif peer is None:
                self._before_hello.setdefault(identity, []).append(ticket)
            else:
                self._put(ticket)
        elif ticket.header.role != header.role:
            text = f"expected an unused id, got that of a request to {ticket.header.role}"
            self._refuse(identity, header, errors.RefusedError(text))
            return
        elif ticket.is_withdrawn and ticket.holder is not None:
            self._take_away(ticket)
        if ticket.header is not header:
            self._tickets.replace_header(ticket, header)
        ticket.body, ticket.client = body, identity
        ticket.is_moved = False
        if peer is not None:
            peer.add_request(header.id, len(body))
        if header.time_left_ms != NO_DEADLINE_MS:
            self._deadlines.set(ticket, now + header.time_left_ms / 1000)
        if state is not None and state.state == "cancelled":
            self._cancel(ticket, state)  # an actor had claimed it before, without its run
        self._hand_out(now, header.role)

    def _make_room(self, now: float, queue: Queue, header: Header) -> errors.OverloadedError | None:
        """Return why a request cannot wait in a full queue, or None, if need be after another one gave way to it."""
        is_paused = self._blocking_state(header) is not None
        waiting = len(queue.parked) if is_paused else queue.waiting  # paused requests have a limit of their own
        if waiting < self._settings.max_queue:
            return None
        oldest_s = now - next((waiting.requested_at for waiting in queue), now)
        text = f"{waiting} requests already wait for a {header.role}"
        full = errors.OverloadedError(text, min(max(oldest_s / 3, 0.2), 10.0))
        displaced = None if is_paused else queue.giving_way_to(header)
        if displaced is None:
            return full
        self._turn_away(displaced, full)
        return None

    def _admit(self, now: float, ticket: Ticket) -> None:
        """Queue a request that had to wait for a hello or for reports, as far as the queue has room by now."""
        if full := self._make_room(now, self._queue_of(ticket), ticket.header):
            self._turn_away(ticket, full)
        else:
            self._put(ticket)
            self._hand_out(now, ticket.header.role)

    def _turn_away(self, ticket: Ticket, error: errors.OverloadedError) -> None:
        """Refuse a request that was accepted before; its client asks again under a new id."""
        self._close(ticket)
        if ticket.client is not None:
            self._refuse(ticket.client, ticket.header, error)

    def _is_spent(self, peer: Peer) -> bool:
        """Return whether a peer has as many requests in flight as it may."""
        account = peer.account
        return account.requests >= self._max_requests or account.requested_bytes >= MAX_REQUESTED_BYTES

    def _check_budget(self, peer: Peer | None, header: Header, *, is_reader: bool) -> None:
        """Count a new request of a peer, or of a connection that has not said hello.

        Raises:
            OverloadedError: it has too many requests in flight, or requests wait for too many roles that nobody plays.
        """
        if header.role not in self._queues and len(self._queues) >= MAX_UNPLAYED_ROLES:
            self._queues = {role: queue for role, queue in self._queues.items() if queue.waiting or queue.parked}
            if header.role not in self._turns and len(self._queues) >= MAX_UNPLAYED_ROLES:
                text = f"requests already wait for {len(self._queues)} roles, the maximum"
                raise errors.OverloadedError(text, RETRY_AFTER_S)
        if peer is None:
            waiting = [*chain.from_iterable(self._before_hello.values()), *self._reclaim_grace]
            size = sum(len(ticket.body) for ticket in waiting)
            if len(waiting) >= MAX_BEFORE_HELLO or size >= MAX_BEFORE_HELLO_BYTES:
                text = f"{len(waiting)} requests of {size:,} bytes wait for their connections to say hello, the maximum"
                raise errors.OverloadedError(text, RETRY_AFTER_S)
        elif self._is_spent(peer):
            count, size = peer.account.requests, peer.account.requested_bytes
            text = f"{count} requests of {size:,} bytes of one client are in flight, the maximum"
            raise errors.OverloadedError(text, RETRY_AFTER_S)
        elif is_reader and peer.account.readers >= MAX_READERS:
            text = f"{MAX_READERS} requests of one client read memory's log, the maximum"
            raise errors.OverloadedError(text, RETRY_AFTER_S)

    def answer(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        """Accept an actor's reply or failure; a late answer, fenced by its attempt number, is dropped."""
        peer = self._known(now, identity)
        ticket = self._tickets.get(header.id)
        has_stopped = header.kind is Kind.FAILURE and _says_withdrawn(body)
        if ticket is None:
            if header.id not in self._answered and not has_stopped:  # its client has not repeated it yet
                self._answered.keep(header, body)
            return
        if ticket.header.role != header.role:  # an actor answers only for its own role
            return
        is_held = ticket.holder is not None and ticket.holder is peer and ticket.attempt == header.attempt
        is_waiting = ticket.holder is None and header.attempt >= max(ticket.attempt, 1)  # spares doing it again
        if is_held and peer is not None:
            del peer.held[header.id]
            peer.handled += 1
            self._totals.count_call(peer.role, now - ticket.assigned_at)
            if header.kind is Kind.FAILURE and (text := _error_text(body)):
                self._last_errors.note(peer.role, now, text)
        if (is_held or is_waiting) and not has_stopped:
            self._finish(ticket, header._replace(role=ticket.header.role), body)
        elif is_held:  # if its client waits again, by this router or after it had been lost, it is done again
            self._requeue(now, ticket)
        elif is_waiting:
            ticket.attempt = header.attempt
        if is_held and peer is not None:
            self._offer(now, peer)

    def cancel(self, now: float, identity: bytes, id_: bytes, cancel: m.Cancel) -> None:
        """Cancel a client's own request or, gracefully, ask its actor to answer soon."""
        self._known(now, identity)
        ticket = self._tickets.get(id_)
        if ticket is None or ticket.client != identity:
            return
        if cancel.here_only and ticket.holder is not None:
            ticket.is_moved = True
        elif not cancel.graceful:
            self._withdraw(ticket)
        elif ticket.holder is not None:
            header = Header(Kind.CANCEL, id_, ticket.header.role, attempt=ticket.attempt)
            self._send(ticket.holder.identity, header, cancel)
        elif ticket not in self._reclaim_grace:  # otherwise an actor may hold it; heartbeats repeat the wish
            self._fail(ticket, errors.CancelledRequestError("stopped gracefully before an actor had begun"))

    def subscribe(self, now: float, identity: bytes, run: bytes) -> None:
        """Subscribe a client to the events of one run."""
        peer = self._known(now, identity)  # otherwise it says hello and subscribes again
        if peer is not None and (run in peer.followed or peer.account.followed < MAX_FOLLOWED):
            peer.account.followed += run not in peer.followed
            peer.followed.add(run)
            self._subscribers.setdefault(run, set()).add(identity)

    def event(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        """Forward an event to the subscribers of its run; a request that takes a step did not crash its actors."""
        ticket = self._tickets.get(header.id)
        if ticket is not None and ticket.losses and ticket.holder is self._peers.get(identity) and _is_step(body):
            ticket.losses = 0
        for subscriber in self._subscribers.get(header.run, ()):
            self.outbox.append((subscriber, header, body))

    def undeliverable(self, now: float, identity: bytes, header: Header) -> None:
        """Handle a message that could not be sent: a request is requeued, an answer waits for its client to repeat."""
        peer = self._peers.get(identity)
        if peer is not None and header.kind is Kind.PULSE:
            peer.knows_run_states = False
        ticket = self._tickets.get(header.id) if header.kind is Kind.REQUEST else None
        if peer is not None and ticket is not None and ticket.holder is peer and ticket.attempt == header.attempt:
            self._remove(now, identity, "its connection ended", is_loss=False)

    def _hand_out(self, now: float, role: str) -> None:
        if now < self._reading_until:
            return
        queue, turns = self._queues.get(role), self._turns.get(role)
        while queue is not None and turns:
            peer = turns[0]
            if len(peer.held) >= peer.capacity:
                turns.popleft().is_in_turn = False
                continue
            ticket = queue.take()
            if ticket is None:
                return
            turns.rotate(-1)
            id_ = ticket.header.id
            ticket.attempt += 1
            ticket.holder, ticket.assigned_at = peer, now
            peer.held[id_] = ticket
            left = NO_DEADLINE_MS if ticket.deadline == inf else max(0, int((ticket.deadline - now) * 1000))
            header = ticket.header._replace(attempt=ticket.attempt, time_left_ms=left)
            self.outbox.append((peer.identity, header, ticket.body))
            if self._on_first_hand_out is not None and ticket.attempt == 1:
                self._on_first_hand_out(header, now - ticket.requested_at)

    def _offer(self, now: float, peer: Peer) -> None:
        """Queue an actor with free capacity for its turn."""
        if peer.role and not peer.is_in_turn and len(peer.held) < peer.capacity:
            peer.is_in_turn = True
            self._turns.setdefault(peer.role, deque()).append(peer)
        self._hand_out(now, peer.role)

    def _requeue(self, now: float, ticket: Ticket) -> None:
        ticket.holder = None
        if ticket.client is None or ticket.is_moved:  # it was cancelled, or its client has not repeated it yet
            self._close(ticket)
        elif ticket.losses >= self._settings.max_deliveries:
            self._fail(ticket, errors.PoisonedError(f"crashed {ticket.losses} actors of role {ticket.header.role}"))
        else:
            self._requeued += 1
            self._put(ticket, first=True)
            self._hand_out(now, ticket.header.role)

    def _put(self, ticket: Ticket, *, first: bool = False) -> None:
        """Queue a ticket, or park it while its run or trajectory is paused."""
        state = self._blocking_state(ticket.header)
        if state is None:
            self._queue_of(ticket).put(ticket, first=first)
        else:
            self._queue_of(ticket).park(ticket, first=first)

    def _queue_of(self, ticket: Ticket) -> Queue:
        queue = self._queues.get(ticket.header.role)
        if queue is None:
            queue = self._queues[ticket.header.role] = Queue()
        return queue

    def _withdraw(self, ticket: Ticket, reason: str = "", *, here_only: bool = False) -> None:
        """Drop the client of a ticket and cancel it at its holder."""
        if ticket.client is not None and (client := self._peers.get(ticket.client)):
            client.drop_request(ticket.header.id)
        ticket.client = None
        if ticket.holder is None:
            self._close(ticket)
        else:
            ticket.is_withdrawn = True
            header = Header(Kind.CANCEL, ticket.header.id, ticket.header.role, attempt=ticket.attempt)
            self._send(ticket.holder.identity, header, m.Cancel(reason=reason, here_only=here_only))

    def _take_away(self, ticket: Ticket) -> None:
        """Requeue a request that is wanted again after its holder was told to cancel it."""
        if ticket.holder is not None:
            del ticket.holder.held[ticket.header.id]
        ticket.holder, ticket.is_withdrawn = None, False
        ticket.attempt += 1  # fences the answer of the old holder
        self._put(ticket)

    def _fail(self, ticket: Ticket, error: errors.RequestError) -> None:
        header = Header(Kind.FAILURE, ticket.header.id, ticket.header.role, attempt=ticket.attempt)
        self._finish(ticket, header, encode_body(errors.failure_of(error)))

    def _finish(self, ticket: Ticket, header: Header, body: bytes) -> None:
        client = ticket.client
        self._close(ticket)
        if client is not None or not ticket.body:  # without a body, its client has not repeated it yet
            self._answered.keep(header, body)
        if client is not None:
            self.outbox.append((client, header, body))

    def _close(self, ticket: Ticket) -> None:
        id_ = ticket.header.id
        self._queue_of(ticket).drop(ticket)
        self._tickets.remove(ticket)
        if ticket.client is not None and (client := self._peers.get(ticket.client)):
            client.drop_request(id_)

    # ----------------------------------------------------------------------------------------- pausing, cancelling

    def control(
        self, now: float, run: bytes, trajectory: bytes | None, action: m.Control, by: str, peer: bytes | str
    ) -> m.Controlled:
        """Pause, resume or cancel a run or one of its trajectories; `peer` is the key or the connection that asks.

        Raises:
            OverloadedError: the peer has used its budget of run states, or too many runs are paused.
        """
        trajectory = WHOLE_RUN if trajectory is None else trajectory
        self._mark_budgets.spend(
            now, peer, (run, trajectory), is_kept=action == "pause", is_paused=self._run_states.is_paused
        )
        before = self._run_states.phase_of(run, trajectory)
        wanted = m.RunState(run=run, trajectory=trajectory, state=before, revision=0)
        concerned = [ticket for ticket in self._tickets.of_run(run) if self._matches(wanted, ticket)]
        in_hand = sum(ticket.holder is not None for ticket in concerned)
        news = self._run_states.change(run, trajectory, action, by, self._tickets.has_run)
        self._apply_run_states(now, news)
        return m.Controlled(before=before, waiting=len(concerned) - in_hand, in_hand=in_hand)

    def _apply_run_states(self, now: float, news: list[m.RunState]) -> None:
        """Tell all peers the new run states, so that they outlive this router, then apply them to requests."""
        for identity in self._peers if news else ():
            self._post(identity, Kind.PULSE, m.Pulse(epoch=self._epoch, run_states=tuple(news)))
        for state in news:
            match state.state:
                case "paused":
                    for queue in self._queues.values():
                        queue.park_those(state.run, partial(self._matches, state))
                case "cancelled":
                    for ticket in [
                        ticket for ticket in self._tickets.of_run(state.run) if self._matches(state, ticket)
                    ]:
                        self._cancel(ticket, state)
                case "running":
                    for role, queue in self._queues.items():
                        queue.release_those(lambda ticket: self._blocking_state(ticket.header) is None)
                        self._hand_out(now, role)

    def _matches(self, state: m.RunState, ticket: Ticket) -> bool:
        return concerns(state, ticket.header) and ticket.header.role not in self._unstoppable_roles

    def _blocking_state(self, header: Header) -> m.RunState | None:
        """Return the run state that pauses or cancels a request, if any."""
        if not self._run_states or header.role in self._unstoppable_roles:
            return None
        return self._run_states.blocking_state(header.run, header.trajectory)

    def _cancel(self, ticket: Ticket, state: m.RunState) -> None:
        error = cancellation_of(state)
        self._fail_and_cancel(ticket, error, reason=str(error))

    def _fail_and_cancel(self, ticket: Ticket, error: errors.RequestError, reason: str = "") -> None:
        """Answer a request with a failure and cancel it at its holder, if any."""
        if ticket.holder is None:
            self._fail(ticket, error)
            return
        if ticket.client is not None:
            header = Header(Kind.FAILURE, ticket.header.id, ticket.header.role, attempt=ticket.attempt)
            self._send(ticket.client, header, errors.failure_of(error))
        self._withdraw(ticket, reason)

    # ----------------------------------------------------------------------------------------- time

    def notice_stall(self, now: float) -> None:
        """Detect whether the router itself stalled; called before it handles what arrived meanwhile.

        The time of a stall does not count against any peer.
        """
        stalled_s = now - self._moved_at - self._settings.heartbeat_s
        self._moved_at = now
        if stalled_s > 0:
            self._suspicion_grace_until = now + 2 * self._settings.heartbeat_s
            self._reading_until = now + _READING_S
            for peer in self._peers.values():
                peer.seen_at = min(now, peer.seen_at + stalled_s + self._settings.heartbeat_s)

    def tick(self, now: float) -> None:
        """Expire deadlines and remove silent peers; called several times a second."""
        self.notice_stall(now)
        if self._reading_until and now >= self._reading_until:
            self._reading_until = 0.0
            for role in self._queues:
                self._hand_out(now, role)
        if self._reclaim_grace and self._reclaim_grace[0].requested_at <= now - self._reclaim_grace_s:
            self._end_reclaim_grace(now)
        for expired in self._deadlines.due(now):
            if expired.client is not None:
                self._expire(expired, now)
        if now > self._earliest_timeout:
            quiet = now - self._settings.silence_s
            for identity in [it for it, tickets in self._before_hello.items() if tickets[0].requested_at < quiet]:
                for ticket in self._before_hello.pop(identity):
                    if self._tickets.get(ticket.header.id) is ticket and ticket.holder is None:
                        self._close(ticket)  # without an answer: a client that stood still repeats it
            for identity in [peer.identity for peer in self._peers.values() if peer.seen_at < quiet]:
                self._remove(now, identity, f"silent for {self._settings.silence_s:g} s", is_loss=True)
            oldest = min((peer.seen_at for peer in self._peers.values()), default=now)
            self._earliest_timeout = oldest + self._settings.silence_s

    def _end_reclaim_grace(self, now: float) -> None:
        """Queue repeated requests that no actor of the role has claimed in a report since, each having made one."""
        oldest: dict[str, int] = {}
        for peer in self._peers.values():
            oldest[peer.role] = min(peer.report, oldest.get(peer.role, peer.report))
        waiting, self._reclaim_grace = self._reclaim_grace, deque()
        for ticket in waiting:
            if ticket.holder is not None or self._tickets.get(ticket.header.id) is not ticket or ticket.is_queued:
                continue
            role = ticket.header.role
            is_due = ticket.requested_at <= now - self._reclaim_grace_s
            if is_due and (role not in oldest or ticket.reports_before < oldest[role]):
                if ticket.client is not None and ticket.client not in self._peers:
                    self._before_hello.setdefault(ticket.client, []).append(ticket)
                    continue
                self._admit(now, ticket)
            else:
                self._reclaim_grace.append(ticket)

    def _expire(self, ticket: Ticket, now: float) -> None:
        where = f"held by {ticket.holder.hello.name}" if ticket.holder else f"no {ticket.header.role} was free"
        self._fail_and_cancel(
            ticket, errors.DeadlineError(f"not answered within {now - ticket.requested_at:.1f} s ({where})")
        )

    def status(self, now: float) -> m.MeshStatus:
        """Return the status of the mesh: actors, their load, and queued requests."""
        peers = sorted(self._peers.values(), key=lambda peer: peer.hello.name)
        return m.MeshStatus(
            epoch=self._epoch,
            uptime_s=now - self._began_at,
            roles=roles_status(now, peers, self._queues, self._totals, self._last_errors),
            clients=sum(not peer.role for peer in peers),
            requeued=self._requeued,
            run_states=self._run_states.all(),
        )

    def sizes(self) -> Sizes:
        """Return how much is held in what grows with requests and clients."""
        return Sizes(
            queue_entries=sum(queue.entries for queue in self._queues.values()),
            deadlines=len(self._deadlines),
            reclaimable=len(self._reclaim_grace),
            followed_runs=len(self._subscribers),
            requested=sum(len(peer.requested) for peer in self._peers.values()),
            answers=len(self._answered),
            answer_bytes=self._answered.size,
        )

    # ----------------------------------------------------------------------------------------- sending

    def _send(self, identity: bytes, header: Header, body: m.Body) -> None:
        self.outbox.append((identity, header, encode_body(body)))

    def _post(self, identity: bytes, kind: Kind, body: m.Body) -> None:
        self._send(identity, Header(kind), body)

    def _refuse(self, identity: bytes, header: Header, error: errors.RequestError) -> None:
        self._send(
            identity, Header(Kind.FAILURE, header.id, header.role, attempt=header.attempt), errors.failure_of(error)
        )

    def _announce(self, event: m.ActorJoined | m.ActorLeft) -> None:
        self.event(0.0, b"", Header(Kind.EVENT, role=event.role, run=MESH_RUN), encode_body(event))


def _is_step(body: bytes) -> bool:
    """Return whether an event tells of a step that memory has, which no later actor takes again."""
    try:
        return peek_type(body) == m.StepTaken.__name__
    except ProtocolError:
        return False
