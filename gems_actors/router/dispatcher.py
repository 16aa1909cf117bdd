"""Assigns requests to actors: the router's state machine, without sockets or clocks.

Every method gets the time as an argument and puts messages to send into `outbox`. The dispatcher holds nothing that
its peers could not tell it again, so a router that was killed is replaced by an empty one: actors say hello with the
requests they hold, clients repeat unanswered requests, and both are matched by the request's id.

This module knows the peers. `requests` knows what waits and who has what, `admission` what may wait, `waiting_room`
what may not be handed out yet, `reports` what actors say to have, `run_control` what is paused or cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from gems_actors import errors
from gems_actors.config import RouterConfig
from gems_actors.router.admission import Admission
from gems_actors.router.budgets import Account, Accounts, may_wait
from gems_actors.router.outbox import Outbox
from gems_actors.router.pauses import Pauses
from gems_actors.router.queues import Peer, Queue, Ticket
from gems_actors.router.reports import Reports
from gems_actors.router.requests import Requests, size_of
from gems_actors.router.role_status import roles_status
from gems_actors.router.run_control import RunControl
from gems_actors.router.subscriptions import Subscriptions
from gems_actors.router.totals import LastErrors, Totals
from gems_actors.router.waiting_room import WaitingRoom
from gems_actors.run_states import cancellation_of
from protocol import messages as m
from protocol.codec import decode_body, encode_message, peek_type
from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, Header, Kind
from protocol.errors import ProtocolError
from protocol.identity import run_bytes

MESH_RUN = run_bytes("mesh")
"""The run whose events report actors that join and leave."""

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Bytes of these answers; an answer read from memory may be a megabyte."""
_NO_ERRORS = (errors.WithdrawnError.code, errors.CancelledRequestError.code)
_READING_S = 0.05
"""Time to read what arrived while the router stalled, before it hands out a request."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much the dispatcher holds, to see that every collection stays bounded."""

    queue_entries: int
    """Entries in the queues of all roles, including those of requests that no longer wait."""
    reclaimable: int
    """Repeated requests that wait for the actor that may hold them to say hello."""
    followed_runs: int
    requested: int
    """Requests in flight of all clients."""
    answers: int
    answer_bytes: int


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
        self.outbox = Outbox()
        """Messages to send, which the router takes."""
        self._settings = settings
        self._epoch = epoch
        self._began_at = self._moved_at = now
        self._suspicion_grace_until = now
        """Until then, a request missing in an actor's heartbeat may have been moved while this router stalled."""
        self._peers: dict[bytes, Peer] = {}
        self._earliest_timeout = now
        """No peer can time out before this, so a tick need not check them all."""
        self._subscriptions = Subscriptions()
        self._totals = Totals()
        self._last_errors = LastErrors()
        self._accounts = Accounts()
        self._pauses = Pauses(unstoppable_roles)
        self._requests = Requests(
            now,
            self.outbox,
            self._peers,
            self._pauses,
            max_queue=settings.max_queue,
            max_deliveries=settings.max_deliveries,
            max_answer_bytes=max_answer_bytes,
            on_first_hand_out=on_first_hand_out,
        )
        self._reports = Reports(self.outbox, self._requests)
        self._waiting_room = WaitingRoom(settings.heartbeat_s, self._peers, self._requests)
        self._admission = Admission(settings.max_queue, self._requests, self._waiting_room)
        self._runs = RunControl(epoch, self.outbox, self._peers, self._pauses, self._requests)

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
        if has_new_role:
            self._requests.leave_turn(peer)
        peer.role, peer.hello, peer.capacity, peer.seen_at = role, hello, hello.capacity, now
        for held in hello.holding:
            self._reports.reattach(now, peer, held.id, held.attempt)
        claimed = self._reports.take(now, peer, hello.holding, hello.held_elsewhere)
        run_states = self._pauses.states
        news = run_states.merge_told(hello.run_states)
        welcome = m.Welcome(
            epoch=self._epoch,
            heartbeat_s=self._settings.heartbeat_s,
            run_states=run_states.all(),
            role=role,
            bundles=True,
        )
        self.outbox.post(identity, Kind.WELCOME, welcome)
        if claimed:
            self.outbox.post(identity, Kind.PULSE, m.Pulse(epoch=self._epoch, claimed=claimed))
        self._runs.apply(now, news)
        for ticket in self._waiting_room.said_hello(identity):
            peer.add_request(ticket.header.id, size_of(ticket.frame))
            self._requests.admit(now, ticket)
        if role and has_new_role and hello.capacity:
            self._announce(m.ActorJoined(name=hello.name, role=role))
        self._requests.offer(now, peer)

    def capacity(self, now: float, identity: bytes, capacity: int) -> None:
        """Change an actor's capacity."""
        if peer := self._known(now, identity):
            if capacity and not peer.capacity:
                self._announce(m.ActorJoined(name=peer.hello.name, role=peer.role))
            peer.capacity = capacity
            self._requests.offer(now, peer)

    def heartbeat(self, now: float, identity: bytes, beat: m.Heartbeat) -> None:
        """Record a sign of life and reconcile both sides: requeue what was lost, and report unknown requests."""
        peer = self._known(now, identity)
        if peer is None:
            return
        peer.figures, peer.note = self._totals.take(peer.role, peer.hello.name, beat.figures), beat.note
        claimed = self._reports.take(now, peer, beat.holding, beat.held_elsewhere)
        if beat.capacity is not None and beat.capacity != peer.capacity:
            self.capacity(now, identity, beat.capacity)
        if peer.held and now >= self._suspicion_grace_until:
            holding = {held.id for held in beat.holding}.union(claimed)
            patience = now - 2 * self._settings.heartbeat_s
            for id_, ticket in [item for item in peer.held.items() if item[0] not in holding]:
                if ticket.assigned_at < patience:  # the request or its answer was lost
                    del peer.held[id_]
                    self._requests.requeue(now, ticket)
            self._requests.offer(now, peer)
        unknown = []
        for id_ in beat.awaiting:
            if answer := self._requests.answered.get(id_):
                self.outbox.forward(identity, answer)
            elif id_ not in self._requests.tickets:
                unknown.append(id_)
        run_states = () if peer.knows_run_states else self._pauses.states.all()
        peer.knows_run_states = True
        self.outbox.post(
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

    def reads_bundles(self, identity: bytes) -> bool:
        """Return whether a process reads bundles of messages, as far as is known."""
        peer = self._peers.get(identity)
        return peer is not None and peer.hello.bundles

    def _known(self, now: float, identity: bytes) -> Peer | None:
        peer = self._peers.get(identity)
        if peer is None:
            self.outbox.post(identity, Kind.HELLO_AGAIN, m.HelloAgain(epoch=self._epoch))
        else:
            peer.seen_at = now
        return peer

    def _remove(self, now: float, identity: bytes, reason: str, *, is_loss: bool) -> None:
        peer = self._peers.pop(identity)
        payer = peer.owner, peer.account
        self._runs.forget(identity)
        peer.capacity = 0
        self._requests.leave_turn(peer)
        for ticket in list(peer.held.values()):
            if is_loss:
                self._requests.count_loss(ticket)
            self._requests.requeue(now, ticket)
        peer.held.clear()
        for id_ in list(peer.requested):
            if (own := self._requests.tickets.get(id_)) and own.client == identity:
                self._requests.withdraw(own, here_only=True)  # it may live on for another router
        self._subscriptions.drop(peer)
        peer.move_to(None, Account())
        self._accounts.leave(*payer)
        if peer.role and is_loss:
            self._last_errors.note(peer.role, now, f"{peer.hello.name}: {reason}")
        if peer.role:
            self._announce(m.ActorLeft(name=peer.hello.name, role=peer.role, reason=reason))

    # ----------------------------------------------------------------------------------------- requests

    def request(self, now: float, identity: bytes, header: Header, frame: bytes) -> None:
        """Accept a client's request; a repeated request with the same id is accepted once (idempotent)."""
        peer = self._known(now, identity)
        if answer := self._requests.answered.get(header.id):
            self.outbox.forward(identity, answer)
        elif ticket := self._requests.tickets.get(header.id):
            self._take_repeated(now, identity, peer, ticket, header, frame)
        else:
            try:
                self._take_new(now, identity, peer, header, frame)
            except errors.RequestError as error:
                self.outbox.refuse(identity, header, error)

    def _take_new(self, now: float, identity: bytes, peer: Peer | None, header: Header, frame: bytes) -> None:
        """Hand out a request, or let it wait.

        Raises:
            CancelledRequestError: its run is cancelled.
            OverloadedError: its queue is full, or its client has spent its budget.
        """
        requests, state = self._requests, self._pauses.blocking(header)
        if state is not None and state.state == "cancelled":
            raise cancellation_of(state)
        queue, is_reader = requests.queues.get(header.role), may_wait(header, frame)
        if peer is None or queue is None or is_reader or self._admission.is_spent(peer):
            self._admission.check(peer, header, is_reader=is_reader)
            queue = requests.queues.setdefault(header.role, Queue())
        if (queue.waiting or state is not None) and (full := requests.make_room(now, queue, header)):
            raise full
        ticket = Ticket(header, frame, identity, now)
        requests.tickets.add(ticket)
        if header.time_left_ms != NO_DEADLINE_MS:
            requests.deadlines.set(ticket, now + header.time_left_ms / 1000)
        if peer is not None:
            peer.add_request(header.id, len(frame) - HEADER_BYTES)
            if is_reader:
                peer.add_reader(header.id)
        if header.attempt:
            ticket.reports_before = self._reports.count
            self._waiting_room.await_reports(ticket)
        elif peer is None:
            self._waiting_room.await_hello(identity, ticket)
        else:
            requests.begin(now, ticket, queue, is_paused=state is not None)

    def _take_repeated(
        self, now: float, identity: bytes, peer: Peer | None, ticket: Ticket, header: Header, frame: bytes
    ) -> None:
        requests, state = self._requests, self._pauses.blocking(header)
        if ticket.header.role != header.role:
            text = f"expected an unused id, got that of a request to {ticket.header.role}"
            self.outbox.refuse(identity, header, errors.RefusedError(text))
            return
        if ticket.is_withdrawn and ticket.holder is not None:
            requests.take_away(ticket)
        requests.tickets.replace_header(ticket, header)
        ticket.frame, ticket.client = frame, identity
        ticket.is_moved = False
        if peer is not None:
            peer.add_request(header.id, len(frame) - HEADER_BYTES)
        if header.time_left_ms != NO_DEADLINE_MS:
            requests.deadlines.set(ticket, now + header.time_left_ms / 1000)
        if state is not None and state.state == "cancelled":
            self._runs.cancel(ticket, state)  # an actor had claimed it before, without its run
        requests.hand_out(now, header.role)

    def answer(self, now: float, identity: bytes, header: Header, frame: bytes) -> None:
        """Accept an actor's reply or failure; a late answer, fenced by its attempt number, is dropped."""
        peer, requests = self._known(now, identity), self._requests
        ticket = requests.tickets.get(header.id)
        has_stopped = header.kind is Kind.FAILURE and _says_withdrawn(frame)
        if ticket is None:
            if header.id not in requests.answered and not has_stopped:  # its client has not repeated it yet
                requests.answered.keep(header.id, frame)
            return
        if ticket.header.role != header.role:  # an actor answers only for its own role
            return
        is_held = ticket.holder is not None and ticket.holder is peer and ticket.attempt == header.attempt
        is_waiting = ticket.holder is None and header.attempt >= max(ticket.attempt, 1)  # spares doing it again
        if is_held and peer is not None:
            del peer.held[header.id]
            peer.handled += 1
            self._totals.count_call(peer.role, now - ticket.assigned_at)
            if header.kind is Kind.FAILURE and (text := _error_text(frame)):
                self._last_errors.note(peer.role, now, text)
        if (is_held or is_waiting) and not has_stopped:
            requests.finish(ticket, frame)
        elif is_held:  # if its client waits again, by this router or after it had been lost, it is done again
            requests.requeue(now, ticket)
        elif is_waiting:
            ticket.attempt = header.attempt
        if is_held and peer is not None:
            requests.offer(now, peer)

    def cancel(self, now: float, identity: bytes, id_: bytes, cancel: m.Cancel) -> None:
        """Cancel a client's own request or, gracefully, ask its actor to answer soon."""
        self._known(now, identity)
        ticket = self._requests.tickets.get(id_)
        if ticket is None or ticket.client != identity:
            return
        if cancel.here_only and ticket.holder is not None:
            ticket.is_moved = True
        elif not cancel.graceful:
            self._requests.withdraw(ticket)
        elif ticket.holder is not None:
            header = Header(Kind.CANCEL, id_, ticket.header.role, attempt=ticket.attempt)
            self.outbox.send(ticket.holder.identity, header, cancel)
        elif ticket not in self._waiting_room:  # otherwise an actor may hold it; heartbeats repeat the wish
            self._requests.fail(ticket, errors.CancelledRequestError("stopped gracefully before an actor had begun"))

    def subscribe(self, now: float, identity: bytes, run: bytes) -> None:
        """Subscribe a client to the events of one run."""
        peer = self._known(now, identity)  # otherwise it says hello and subscribes again
        if peer is not None:
            self._subscriptions.add(peer, run)

    def event(self, now: float, identity: bytes, header: Header, frame: bytes) -> None:
        """Forward an event to the subscribers of its run; a request that takes a step did not crash its actors."""
        ticket = self._requests.tickets.get(header.id)
        if ticket is not None and ticket.losses and ticket.holder is self._peers.get(identity) and _is_step(frame):
            self._requests.clear(now, ticket)
        for follower in self._subscriptions.followers(header.run):
            self.outbox.forward(follower, frame)

    def undeliverable(self, now: float, identity: bytes, header: Header) -> None:
        """Handle a message that could not be sent: a request is requeued, an answer waits for its client to repeat."""
        peer = self._peers.get(identity)
        if peer is not None and header.kind is Kind.PULSE:
            peer.knows_run_states = False
        ticket = self._requests.tickets.get(header.id) if header.kind is Kind.REQUEST else None
        if peer is not None and ticket is not None and ticket.holder is peer and ticket.attempt == header.attempt:
            self._remove(now, identity, "its connection ended", is_loss=False)

    # ----------------------------------------------------------------------------------------- pausing, cancelling

    # ----------------------------------------------------------------------------------------- runs, time, status

    def control(
        self, now: float, run: bytes, trajectory: bytes | None, action: m.Control, by: str, peer: Hashable
    ) -> m.Controlled:
        """Pause, resume or cancel a run or one of its trajectories; `peer` is the key or the connection that asks.

        Raises:
            OverloadedError: the peer has used its budget of run states, or too many runs are paused.
        """
        return self._runs.control(now, run, trajectory, action, by, peer)

    def notice_stall(self, now: float) -> None:
        """Detect whether the router itself stalled; called before it handles what arrived meanwhile.

        The time of a stall does not count against any peer.
        """
        stalled_s = now - self._moved_at - self._settings.heartbeat_s
        self._moved_at = now
        if stalled_s > 0:
            self._suspicion_grace_until = now + 2 * self._settings.heartbeat_s
            self._requests.reading_until = now + _READING_S
            for peer in self._peers.values():
                peer.seen_at = min(now, peer.seen_at + stalled_s + self._settings.heartbeat_s)

    def tick(self, now: float) -> None:
        """Expire deadlines and remove silent peers; called several times a second."""
        self.notice_stall(now)
        requests = self._requests
        if requests.reading_until and now >= requests.reading_until:
            requests.reading_until = 0.0
            for role in requests.queues:
                requests.hand_out(now, role)
        self._waiting_room.end_graces(now)
        requests.expire(now)
        if now > self._earliest_timeout:
            quiet = now - self._settings.silence_s
            self._waiting_room.drop_silent(quiet)
            for identity in [peer.identity for peer in self._peers.values() if peer.seen_at < quiet]:
                self._remove(now, identity, f"silent for {self._settings.silence_s:g} s", is_loss=True)
            oldest = min((peer.seen_at for peer in self._peers.values()), default=now)
            self._earliest_timeout = oldest + self._settings.silence_s

    def requests_in_flight(self) -> int:
        """Return how many requests are in flight."""
        return len(self._requests.tickets)

    def status(self, now: float) -> m.MeshStatus:
        """Return the status of the mesh: actors, their load, and queued requests."""
        peers = sorted(self._peers.values(), key=lambda peer: peer.hello.name)
        return m.MeshStatus(
            epoch=self._epoch,
            uptime_s=now - self._began_at,
            roles=roles_status(now, peers, self._requests.queues, self._totals, self._last_errors),
            clients=sum(not peer.role for peer in peers),
            requeued=self._requests.requeued,
            run_states=self._pauses.states.all(),
        )

    def sizes(self) -> Sizes:
        """Return how much is held in what grows with requests and clients."""
        return Sizes(
            queue_entries=sum(queue.entries for queue in self._requests.queues.values()),
            reclaimable=len(self._waiting_room),
            followed_runs=len(self._subscriptions),
            requested=sum(len(peer.requested) for peer in self._peers.values()),
            answers=len(self._requests.answered),
            answer_bytes=self._requests.answered.size,
        )

    def _announce(self, event: m.ActorJoined | m.ActorLeft) -> None:
        header = Header(Kind.EVENT, role=event.role, run=MESH_RUN)
        self.event(0.0, b"", header, encode_message(header, event))


def _error_text(frame: bytes) -> str:
    """Return a failure as text; empty if its request was cancelled, which is no error."""
    try:
        failure = decode_body(frame[HEADER_BYTES:])
    except ProtocolError:
        return ""
    if not isinstance(failure, m.Failure) or failure.code in _NO_ERRORS:
        return ""
    return f"{failure.code}: {failure.message}"


def _says_withdrawn(frame: bytes) -> bool:
    """Return whether a failure says that an actor stopped because a router had told it to: that is no answer."""
    try:
        failure = decode_body(frame[HEADER_BYTES:])
    except ProtocolError:
        return False
    return isinstance(failure, m.Failure) and failure.code == errors.WithdrawnError.code


def _is_step(frame: bytes) -> bool:
    """Return whether an event tells of a step that memory has, which no later actor takes again."""
    try:
        return peek_type(frame[HEADER_BYTES:]) == m.StepTaken.__name__
    except ProtocolError:
        return False
