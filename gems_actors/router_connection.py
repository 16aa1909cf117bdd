"""The connection to one router: hello, heartbeats, repeats after a restart, and whether the router still answers.

All connections of a client share one `ClientState`. `gems_actors.client` chooses between them and fails over.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog
import trio
from msgspec import Struct, structs

from gems_actors import errors
from gems_actors.run_states import RunStates
from gems_actors.transport.links import Message
from protocol import messages as m
from protocol.codec import decode_body, encode_message, frame_of
from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, REPLY_START, Header, Kind, id_of, unpack_header
from protocol.errors import ProtocolError

_MISSED_HEARTBEATS = 3
"""Unanswered heartbeats after which a router counts as silent and, if there are other routers, is failed over."""
_IN_DOUBT_AFTER = 1.5
"""Heartbeats without a message after which a router may be gone."""
_MAX_UNSENT = 100
"""Messages waiting to be sent beyond which no heartbeat is added: a router that returns needs only one."""

_log = structlog.get_logger()


class RouterLink(Protocol):
    """What carries messages to and from one router: a `Link` around a socket, or a simulated network's."""

    sends_bundles: bool
    """Whether what is sent at the same time goes into one frame."""
    in_flight: Callable[[], int]
    """Returns how many requests are in flight; the more, the longer those of the bulk lane may gather."""

    @property
    def unsent(self) -> int:
        """Number of messages that wait for a connection or for the peer to read."""

    def send(self, *frames: bytes) -> None:
        """Queue a message."""

    async def run(self) -> None:
        """Send and receive until cancelled."""

    async def catch_up(self) -> None:
        """Return when everything that has arrived was passed on."""

    def discard_unsent(self) -> None:
        """Drop the messages that are queued."""

    async def flush(self) -> None:
        """Return when everything queued has been sent."""

    def close(self, linger_ms: int = 0) -> None:
        """Close the link after at most `linger_ms` to send what is queued."""


OpenLink = Callable[[Callable[[list[Message]], None]], RouterLink]
"""Opens a link that passes each batch of messages that arrives to a function, which neither awaits nor raises."""


class RequestHandler(Protocol):
    """The actor that answers the requests which arrive through a client's connections."""

    def take(self, connection: RouterConnection, header: Header, frame: bytes) -> None:
        """Start to answer a request that has just arrived; neither awaits nor raises."""

    def cancel(self, connection: RouterConnection, header: Header, cancel: m.Cancel) -> None:
        """Cancel, or gracefully stop, a request that is answered by this connection."""

    def holding(self, connection: RouterConnection) -> tuple[m.Held, ...]:
        """Requests in flight that are answered by this connection."""

    def holding_elsewhere(self, connection: RouterConnection) -> tuple[m.Held, ...]:
        """Requests in flight that are answered by other connections only."""

    def claim(self, connection: RouterConnection, id_: bytes) -> bool:
        """Answer a request in flight by this connection too; return whether it is in flight."""

    def move(self, old: RouterConnection, others: tuple[RouterConnection, ...]) -> None:
        """Answer by all `others` too what arrived by a connection whose router is silent."""

    def figures(self) -> dict[str, float]:
        """Figures that the actor reports in its heartbeats."""

    def note(self) -> str:
        """What the actor does while it takes no requests."""


class PendingRequest(Struct, eq=False):
    """A request that waits for its answer."""

    header: Header
    body: bytes
    deadline: float
    connection: RouterConnection
    asked_before: tuple[RouterConnection, ...] = ()
    """Connections by which it was sent before; their routers may have the answer."""
    is_stopping_gracefully: bool = False
    kind: Kind = Kind.REQUEST
    answer: bytes = b""
    answered_by: RouterConnection | None = None
    _waiting: trio.lowlevel.Task | None = None

    def send(self) -> None:
        """Send the request by its connection."""
        self.connection.link.send(frame_of(self.header, self.body))

    def send_again(self) -> None:
        """Repeat the request, marked so that a new router first waits to hear whether an actor already holds it."""
        self.header = structs.replace(self.header, attempt=1, time_left_ms=time_left_ms(self.deadline))
        self.send()

    def wait(self) -> Awaitable[object]:
        """Return what ends once it is answered. One task waits, which halves the cost of a `trio.Event`."""
        if self.answered_by is not None:
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - the caller awaits it, which saves a coroutine
        self._waiting = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105

    def complete(self, kind: Kind, answer: bytes, connection: RouterConnection) -> None:
        """Take an answer; further ones change nothing."""
        if self.answered_by is None:
            self.kind, self.answer, self.answered_by = kind, answer, connection
            if self._waiting is not None:
                trio.lowlevel.reschedule(self._waiting)

    def reply(self) -> m.Reply:
        """Return the reply in the answer.

        Raises:
            RequestError: it is a failure, or no valid answer.
        """
        role = self.header.role
        try:
            answer = decode_body(self.answer)
        except ProtocolError as error:
            raise errors.InternalError(f"{role}: expected a valid reply, got: {error}") from error
        if self.kind is Kind.FAILURE and isinstance(answer, m.Failure):
            raise errors.error_of(answer)
        if not isinstance(answer, m.Reply):
            raise errors.InternalError(f"{role}: expected a reply, got {type(answer).__name__}")
        return answer

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED


def time_left_ms(deadline: float) -> int:
    """Return the time until a deadline as a header has it."""
    if deadline == math.inf:
        return NO_DEADLINE_MS
    left_s = max(0.0, deadline - trio.current_time())  # the deadline of a cancelled scope is -inf
    return min(int(left_s * 1000), NO_DEADLINE_MS - 1)


@dataclass(slots=True)
class ClientState:
    """What all connections of one client share; the functions at the beginning are the client's reactions."""

    hello: m.Hello
    """With the whole capacity, of which each router is offered a share."""
    on_silent: Callable[[RouterConnection], None]
    on_back: Callable[[RouterConnection], None]
    on_refused: Callable[[str], None]
    seconds_to_beat: Callable[[float], float]
    """Gets the time between two heartbeats, and returns the time until the next one."""
    role: str = ""
    handler: RequestHandler | None = None
    """None in a client that answers no requests."""
    connections: tuple[RouterConnection, ...] = ()
    pending: dict[bytes, PendingRequest] = field(default_factory=dict)
    readers: dict[bytes, list[trio.MemorySendChannel[m.Event]]] = field(default_factory=dict)
    run_states: RunStates = field(default_factory=RunStates)
    run_states_changed: trio.Event = field(default_factory=trio.Event)
    welcomed: trio.Event = field(default_factory=trio.Event)

    def capacity_share(self) -> int:
        """Return the capacity to offer each router that is up, rounded up."""
        up = sum(connection.is_up for connection in self.connections) or 1
        return -(-self.hello.capacity // up)


class RouterConnection:
    """One connection, and what is known of its router."""

    def __init__(self, open_link: OpenLink, address: str, state: ClientState) -> None:
        self.address = address
        self.link = open_link(self._take)
        self.link.in_flight = state.pending.__len__
        self.is_up = True
        """False while the router is silent and another one serves in its place."""
        self.heard_at = -math.inf
        self.served_at = -math.inf
        """When the router last showed that it has admitted this process."""
        self._state = state
        self._epoch: str | None = None
        self._heartbeat_s = 1.0
        self._welcomed = trio.Event()
        self._unanswered_hellos = 0
        """Number of hellos that no welcome has answered; one that is lost would hide a role or what is held."""
        self._refusal = ""
        self._answers: list[bytes] = []
        """Answers that may not have reached the router; the one that replaces it gets them again."""
        self._answers_before_beat = 0
        """How many of them were sent before the last heartbeat, whose pulse confirms them."""
        self._is_replaced = False
        """Whether the router is not the one that got these answers, and has confirmed none since."""
        self._confirmed_late: list[bytes] = []
        """Answers that the router confirmed which replaces the one that got them: meanwhile, a client may have asked
        another router."""
        self._confirmed_late_until = 0.0

    def say_hello(self) -> None:
        """Tell the router all it has to know of this process."""
        self._unanswered_hellos += 1
        state, handler = self._state, self._state.handler
        hello = structs.replace(
            state.hello,
            capacity=state.capacity_share(),
            holding=() if handler is None else handler.holding(self),
            held_elsewhere=self._held_elsewhere(),
            run_states=state.run_states.all(),
        )
        self.send(Kind.HELLO, hello)

    def send(self, kind: Kind, body: m.Body) -> None:
        """Send a message of the link."""
        self.link.send(encode_message(Header(kind, role=self._state.role), body))

    def subscribe(self, run: bytes) -> None:
        """Ask for the events of a run."""
        self.link.send(encode_message(Header(Kind.SUBSCRIBE, run=run), m.Subscribe()))

    def withdraw(self, header: Header, *, graceful: bool = False, here_only: bool = False) -> None:
        """Cancel a request, or only forget it here, or, if graceful, ask for an answer after the current step."""
        cancel = m.Cancel(graceful=graceful, here_only=here_only)
        self.link.send(encode_message(Header(Kind.CANCEL, header.id, header.role), cancel))

    def answer(self, frame: bytes) -> None:
        """Send an answer, and keep it until the router has confirmed a later heartbeat."""
        self._answers.append(frame)
        self.link.send(frame)

    @property
    def unconfirmed(self) -> tuple[bytes, ...]:
        """Answers that may not have reached the router, or reached it late."""
        if self._confirmed_late and trio.current_time() > self._confirmed_late_until:
            self._confirmed_late = []
        return (*self._confirmed_late, *self._answers)

    @property
    def in_doubt(self) -> tuple[bytes, ...]:
        """Answers whose clients may ask another router: this one is silent, or was replaced."""
        is_silent = trio.current_time() - self.heard_at > _IN_DOUBT_AFTER * self._heartbeat_s
        answers = self.unconfirmed
        return answers if is_silent or self._is_replaced else answers[: len(self._confirmed_late)]

    def pending(self) -> list[PendingRequest]:
        """Return the requests that wait for an answer by this connection."""
        return [request for request in self._state.pending.values() if request.connection is self]

    async def run_heartbeat(self) -> None:
        """Send heartbeats until cancelled, and report a router that leaves them unanswered."""
        state = self._state
        with trio.move_on_after(self._heartbeat_s):
            await self._welcomed.wait()  # the router sets the interval
        while True:
            await trio.sleep(state.seconds_to_beat(self._heartbeat_s))
            await self.link.catch_up()  # a process that stood still must not judge by what it has not read
            if self.link.unsent < _MAX_UNSENT:
                self._send_heartbeat()
            silent_s = trio.current_time() - self.heard_at
            if self.is_up and len(state.connections) > 1 and silent_s > _MISSED_HEARTBEATS * self._heartbeat_s:
                state.on_silent(self)

    def _send_heartbeat(self) -> None:
        if self._unanswered_hellos and not self.link.unsent:  # one, or its answer, was lost with a connection
            self._unanswered_hellos = 0
            self.say_hello()
        pending, state = self.pending(), self._state
        requests = [request for request in state.pending.values() if self in request.asked_before]
        awaiting = tuple(request.header.id for request in (*pending, *requests))
        if (handler := state.handler) is None:
            beat = m.Heartbeat(awaiting=awaiting)
        else:
            beat = m.Heartbeat(
                holding=handler.holding(self),
                held_elsewhere=self._held_elsewhere(),
                awaiting=awaiting,
                figures=handler.figures(),
                capacity=state.capacity_share(),
                note=handler.note(),
            )
        self.send(Kind.HEARTBEAT, beat)
        self._answers_before_beat = len(self._answers)
        for request in pending:
            if request.is_stopping_gracefully:  # its holder may have changed since it was last told
                self.withdraw(request.header, graceful=True)

    def _held_elsewhere(self) -> tuple[m.Held, ...]:
        """Return what this process holds for other routers, and what it has answered to one that may be gone."""
        state, handler = self._state, self._state.handler
        if handler is None or len(state.connections) == 1:
            return ()
        answered: dict[bytes, m.Held] = {}
        for other in state.connections:
            for frame in other.in_doubt if other is not self else ():
                header = unpack_header(frame)
                answered[header.id] = m.Held(id=header.id, attempt=header.attempt)
        return (*handler.holding_elsewhere(self), *answered.values())

    def _claim(self, id_: bytes) -> None:
        """Answer by this router too what another one handed out."""
        state = self._state
        if state.handler is None or state.handler.claim(self, id_):
            return
        for other in state.connections:
            for frame in other.unconfirmed if other is not self else ():
                if unpack_header(frame).id == id_:
                    self.answer(frame)
                    return

    # ----------------------------------------------------------------------------------------- what arrives

    def _take(self, batch: list[Message]) -> None:
        self.heard_at = trio.current_time()
        if not self.is_up:
            self._state.on_back(self)
        pending = self._state.pending
        for (frame,) in batch:
            if frame.startswith(REPLY_START) and (request := pending.get(id_of(frame))) is not None:
                request.complete(Kind.REPLY, frame[HEADER_BYTES:], self)
                continue
            try:
                self._take_one(unpack_header(frame), frame)
            except ProtocolError as error:
                _log.warning("message_refused", reason=str(error))

    def _take_one(self, header: Header, frame: bytes) -> None:
        handler = self._state.handler
        if header.kind is Kind.REQUEST:
            if handler is not None:
                handler.take(self, header, frame)
            return
        body = frame[HEADER_BYTES:]
        match header.kind:
            case Kind.REPLY | Kind.FAILURE:
                request = self._state.pending.get(header.id)
                if request is not None:
                    request.complete(header.kind, body, self)
                elif header.kind is Kind.FAILURE and not any(header.id):
                    self._take_refusal(decode_body(body))
            case Kind.EVENT:
                self._take_event(header, body)
            case Kind.CANCEL:
                cancel = decode_body(body)
                if handler is not None and isinstance(cancel, m.Cancel):
                    handler.cancel(self, header, cancel)
            case _:
                self._take_link(decode_body(body))

    def _take_refusal(self, body: m.Body) -> None:
        """Handle a router that does not admit this process, or no longer does."""
        if isinstance(body, m.Failure) and self._unanswered_hellos:
            self._state.on_refused(f"{self.address}: {body.message}")
        elif isinstance(body, m.Failure) and body.message != self._refusal:
            self._refusal = body.message
            _log.warning("refused_by_router", address=self.address, reason=body.message)

    def _take_event(self, header: Header, body: bytes) -> None:
        readers = self._state.readers.get(header.run)
        if readers and isinstance(event := decode_body(body), m.Event):
            for reader in readers:
                try:
                    reader.send_nowait(event)
                except trio.WouldBlock:
                    _log.warning("event_dropped", event_type=type(event).__name__)

    def _take_link(self, body: m.Body) -> None:
        match body:
            case m.Welcome():
                self._heartbeat_s = body.heartbeat_s
                self.link.sends_bundles = body.bundles
                if body.role in (None, self._state.role):  # otherwise it answers an earlier hello, as a client
                    self._unanswered_hellos = max(0, self._unanswered_hellos - 1)
                    self._state.welcomed.set()
                self.served_at = trio.current_time()
                self._merge_run_states(body.run_states)
                self._meet(body.epoch)
                self._welcomed.set()
            case m.Pulse():
                if self._answers_before_beat:  # the router has seen the heartbeat sent after these
                    if self._is_replaced:
                        self._confirmed_late = self._answers[: self._answers_before_beat]
                        self._confirmed_late_until = trio.current_time() + _MISSED_HEARTBEATS * self._heartbeat_s
                    del self._answers[: self._answers_before_beat]
                    self._answers_before_beat, self._is_replaced = 0, False
                self._merge_run_states(body.run_states)
                for id_ in body.unknown:
                    if (request := self._state.pending.get(id_)) and request.connection is self:
                        request.send_again()
                for id_ in body.claimed:
                    self._claim(id_)
                if body.epoch == self._epoch:
                    self.served_at = trio.current_time()
                else:
                    self.say_hello()
            case m.HelloAgain():
                self._is_replaced, self._answers_before_beat = bool(self._answers), 0
                self.say_hello()
                for run in self._state.readers:  # the router forgot them together with this process
                    self.subscribe(run)

    def _merge_run_states(self, run_states: tuple[m.RunState, ...]) -> None:
        state = self._state
        if state.run_states.merge(run_states):
            state.run_states_changed.set()
            state.run_states_changed = trio.Event()
            for other in state.connections:
                if other is not self and other.is_up:  # their routers may not have heard of the change
                    other.say_hello()

    def _meet(self, epoch: str) -> None:
        """Tell a router that replaces another one what that one knew of this process."""
        if self._epoch not in (None, epoch):
            self._is_replaced, self._answers_before_beat = bool(self._answers), 0  # a later heartbeat confirms them
            for frame in self._answers:
                self.link.send(frame)
            for request in self.pending():
                request.send_again()
            for run in self._state.readers:
                self.subscribe(run)
        self._epoch = epoch
