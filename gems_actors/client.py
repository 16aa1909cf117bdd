"""One process's way into the mesh: ask a role, publish and follow events.

The same object serves a client and an actor; an actor's requests arrive through the `RequestHandler` it hands in.
Nothing that was asked is lost with a connection or a router: what is unanswered is told with every heartbeat and
repeated under its old id wherever the router does not know it. Where there are several routers, trajectories are spread
over them, an actor serves all, and what a silent one had moves to the others.
"""

from __future__ import annotations

import math
import os
import random
import socket as network
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar, cast

import structlog
import trio
import zmq
from msgspec import structs

from gems_actors import __version__
from gems_actors.addresses import split_addresses
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import (
    DeadlineError,
    InternalError,
    MeshRefusedError,
    MeshUnavailableError,
    OverloadedError,
    error_of,
)
from gems_actors.run_states import RunStates
from gems_actors.security.keys import keys_to_connect
from gems_actors.status_merge import merge_answers
from gems_actors.tasks import gather, open_background
from gems_actors.transport.sockets import Link, Message, await_refusal, open_dealer
from protocol.codec import decode_body, encode_body, encode_message, frame_of
from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, Header, Kind, Lane, unpack_header
from protocol.errors import ProtocolError
from protocol.identity import run_bytes
from protocol.messages import (
    Body,
    Cancel,
    Capacity,
    Event,
    Failure,
    Goodbye,
    Heartbeat,
    Held,
    Hello,
    HelloAgain,
    Pulse,
    Reply,
    Request,
    RunState,
    Subscribe,
    Welcome,
)

ReplyT = TypeVar("ReplyT", bound=Reply)
_SAME_DEADLINE_S = 1.0
"""An actor that gives up so shortly before the asker does so because of the asker's deadline."""
_SILENT_BEATS = 3
"""A router that has answered none of so many heartbeats is silent; where there are others, they are asked instead."""
_EVENTS_KEPT = 1000
"""Events of one run that wait for a slow reader; further ones are dropped."""

_log = structlog.get_logger()


class RouterConnection:
    """The connection to one router, and what that router is known to know."""

    def __init__(
        self, socket: zmq.Socket[bytes], address: str, take: Callable[[RouterConnection, list[Message]], None]
    ) -> None:
        self.address = address
        self.link = Link(socket, partial(take, self))
        self.epoch: str | None = None
        self.heartbeat_s = 1.0
        self.welcomed = trio.Event()
        self.heard_at = -math.inf
        self.is_up = True
        """Until it is silent while another is there."""
        self.awaits_welcome = False
        self.forsaken: list[Header] = []
        """What was asked here until the router fell silent, which may not know that nobody waits here any more."""
        self.answers: list[bytes] = []
        """What was answered here and may not have reached the router; it is said again to whoever follows it."""
        self.answers_before_beat = 0
        """So many of them were sent before the last heartbeat."""


@dataclass(slots=True)
class Call:
    """The request that a handler is answering."""

    header: Header
    line: RouterConnection | None = None
    """Where it came from, and where the answer goes; none for one that did not come by wire."""
    others: tuple[RouterConnection, ...] = ()
    """Since the router it came from fell silent: by which of these it is asked for again is not known."""
    stop_gracefully: trio.Event = field(default_factory=trio.Event)
    """Set once the asker wants the step in hand finished and an answer with what is there."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    cancel_reason: str = ""
    """Why it was cancelled, where it was not the asker who wanted it."""

    def is_asked_by(self, line: RouterConnection) -> bool:
        """Return whether whoever waits for the answer may do so by a line."""
        return line is self.line or line in self.others


_call: ContextVar[Call | None] = ContextVar("_call", default=None)


def current_call() -> Call:
    """Return the request that this task is answering.

    Raises:
        LookupError: it is answering none.
    """
    if (call := _call.get()) is None:
        raise LookupError("no request is being answered in this task")
    return call


def is_interactive() -> bool:
    """Return whether this task answers a request of somebody who waits for it, and not one of a bulk."""
    return (call := _call.get()) is not None and call.header.lane is Lane.INTERACTIVE


@contextmanager
def answering(call: Call) -> Iterator[None]:
    """Make what is asked meanwhile part of the request that is being answered."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


class RequestHandler(Protocol):
    """What an actor does for its mesh beside asking."""

    def take(self, line: RouterConnection, header: Header, body: bytes) -> None:
        """Take up a request; neither awaits nor raises."""

    def cancel(self, line: RouterConnection, header: Header, cancel: Cancel) -> None:
        """Stop, or wind down, a request in hand that is answered by this line."""

    def holding(self, line: RouterConnection) -> tuple[Held, ...]:
        """Requests in hand that are answered by this line."""

    def move(self, old: RouterConnection, others: tuple[RouterConnection, ...]) -> None:
        """Answer by all other lines what came by one whose router is silent."""

    def figures(self) -> dict[str, float]:
        """What the actor reports of itself."""

    def note(self) -> str:
        """What the actor does while it takes no requests."""


class _NoService:
    """Of a client, which answers nothing."""

    def take(self, line: RouterConnection, header: Header, body: bytes) -> None:
        pass

    def cancel(self, line: RouterConnection, header: Header, cancel: Cancel) -> None:
        pass

    def holding(self, line: RouterConnection) -> tuple[Held, ...]:
        return ()

    def move(self, old: RouterConnection, others: tuple[RouterConnection, ...]) -> None:
        pass

    def figures(self) -> dict[str, float]:
        return {}

    def note(self) -> str:
        return ""


@dataclass(slots=True)
class _PendingRequest:
    """A request that waits for its answer."""

    header: Header
    body: bytes
    deadline: float
    line: RouterConnection
    is_stopping_gracefully: bool = False
    answered: trio.Event = field(default_factory=trio.Event)
    kind: Kind = Kind.REQUEST
    answer: bytes = b""

    def frame(self, now: float) -> bytes:
        left_s = max(0.0, self.deadline - now)  # of a scope that is cancelled already the deadline is -inf
        left_ms = NO_DEADLINE_MS if left_s == math.inf else min(int(left_s * 1000), NO_DEADLINE_MS - 1)
        return frame_of(self.header._replace(time_left_ms=left_ms), self.body)

    def frame_again(self, now: float) -> bytes:
        """The request once more, marked so that a new router first listens whether somebody has it in hand."""
        self.header = self.header._replace(attempt=1)
        return self.frame(now)


class Mesh:
    """Asks, publishes and listens through its connections to the routers; made by `open_client`."""

    def __init__(self, sockets: Mapping[str, zmq.Socket[bytes]], name: str) -> None:
        self.name = name
        self.address = ",".join(sockets)
        """Of the routers."""
        self._lines = tuple(RouterConnection(socket, address, self._take) for address, socket in sockets.items())
        self._service: RequestHandler = _NoService()
        self._hello = Hello(name=name, host=network.gethostname(), pid=os.getpid(), version=__version__)
        self._role = ""
        self._questions: dict[bytes, _PendingRequest] = {}
        self._readers: dict[bytes, list[trio.MemorySendChannel[Event]]] = {}
        self._run_states = RunStates()
        self._run_states_changed = trio.Event()
        self._welcomed = trio.Event()
        self._refusal: str | None = None
        self._refused = trio.Event()

    @property
    def routers(self) -> int:
        """How many routers there are, whether they answer or not."""
        return len(self._lines)

    async def ask(
        self,
        request: Request[ReplyT],
        *,
        role: str | None = None,
        lane: Lane | None = None,
        stop_gracefully: trio.Event | None = None,
    ) -> ReplyT:
        """Return the role's reply to a request.

        The deadline is the caller's cancel scope and travels with the request. While the role is overloaded the request
        is repeated, as long as the deadline allows. Cancelled, it withdraws the request. Within a handler, run,
        trajectory and lane are those of the request being answered.

        Args:
            request: its class names the role.
            role: who shall answer in place of that role, such as one host's agent or one of memory's shards.
            lane: interactive unless said or inherited.
            stop_gracefully: once set, the actor is asked to finish the step in hand and to answer with what it has.

        Raises:
            RequestError: of the class that names the failure.
        """
        call = _call.get()
        parent = call.header if call else Header(Kind.REQUEST)
        run, trajectory = getattr(request, "run", None), getattr(request, "trajectory", None)
        header = parent._replace(
            kind=Kind.REQUEST,
            role=role or request.role,
            attempt=0,
            lane=parent.lane if lane is None else lane,
            run=parent.run if run is None else run_bytes(run),
            trajectory=parent.trajectory if trajectory is None else bytes.fromhex(trajectory),
        )
        body = encode_body(request)
        if request.role == "router" and len(self._lines) > 1:
            asking = [
                partial(self._ask_line, line, header, body, stop_gracefully) for line in self._lines if line.is_up
            ]
            return cast(ReplyT, merge_answers(await gather(*asking)))
        return cast(ReplyT, await self._ask_line(None, header, body, stop_gracefully))

    def publish(self, event: Event) -> None:
        """Tell whoever follows the run of the request being answered; nobody waits for it."""
        call = _call.get()
        if call is not None:
            line = call.line or self._lines[0]
            line.link.send(encode_message(call.header._replace(kind=Kind.EVENT), event))

    @asynccontextmanager
    async def events(self, run: str) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Follow the events of one run, from now on; a reader that is 1,000 events behind loses the newest."""
        key = run_bytes(run)
        sender, receiver = trio.open_memory_channel[Event](_EVENTS_KEPT)
        self._readers.setdefault(key, []).append(sender)
        for line in self._lines:
            self._subscribe(line, key)
        async with receiver:
            try:
                yield receiver
            finally:
                self._readers[key].remove(sender)  # before the receiver closes, which lets other tasks run

    def run_state(self, run: str) -> RunState | None:
        """Return what keeps a run from going on, as far as the router has told: it is paused or cancelled."""
        return self._run_states.blocking_state(run_bytes(run))

    async def run_states_changed(self) -> None:
        """Return once the router tells that a run was paused or cancelled, or goes on."""
        await self._run_states_changed.wait()

    # ----------------------------------------------------------------------------------------- for the serving loop

    @property
    def role(self) -> str:
        """The role that this process plays; empty for a client."""
        return self._role

    async def present(self, role: str, accepts: tuple[str, ...], service: RequestHandler) -> None:
        """Take up a role: from now on the mesh knows of this process; it takes requests once it offers to."""
        self._service, self._role = service, role
        self._hello = structs.replace(self._hello, accepts=accepts)
        self._welcomed = trio.Event()
        for line in self._lines:
            self._say_hello(line)
        await self._welcomed.wait()

    def offer(self, capacity: int) -> None:
        """Take so many requests at once from now on, also from a router that is yet to come.

        Several routers share them, each rounded up; whoever serves keeps to the capacity itself.
        """
        self._hello = structs.replace(self._hello, capacity=capacity)
        share = Capacity(capacity=self._share())
        for line in self._lines:
            line.link.send(encode_message(Header(Kind.CAPACITY, role=self._role), share))

    def leave(self) -> None:
        """Tell the routers that this process takes no requests any more; what it still holds goes to others."""
        for line in self._lines:
            line.link.send(encode_message(Header(Kind.GOODBYE, role=self._role), Goodbye()))

    def reply(self, call: Call, kind: Kind, body: Body) -> None:
        """Answer a request where it is waited for.

        Raises:
            ProtocolError: the answer does not fit the wire.
        """
        frame = encode_message(call.header._replace(kind=kind), body)
        for line in (call.line or self._lines[0], *call.others):
            line.answers.append(frame)
            line.link.send(frame)

    async def flush(self) -> None:
        """Return when all that was sent to routers that are there is with libzmq."""
        for line in self._lines:
            if line.is_up or len(self._lines) == 1:
                await line.link.flush()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connections until cancelled; started once a router has said welcome.

        Raises:
            MeshRefusedError: a router does not take this process in.
        """
        async with trio.open_nursery() as nursery:
            for line in self._lines:
                line.heard_at = trio.current_time()  # a router has some heartbeats to be there at all
                nursery.start_soon(line.link.run)
                nursery.start_soon(self._run_heartbeat, line)
                self._say_hello(line)
            nursery.start_soon(self._raise_refusal)
            await self._welcomed.wait()
            task_status.started()

    def close(self, linger_ms: int) -> None:
        """Close the sockets."""
        for line in self._lines:
            line.link.close(linger_ms)

    # ----------------------------------------------------------------------------------------- inside

    async def _ask_line(
        self, line: RouterConnection | None, header: Header, body: bytes, stop_gracefully: trio.Event | None
    ) -> Reply:
        """Ask by one line or, without one, by that of the trajectory; again while too many ask."""
        while True:
            header = header._replace(id=os.urandom(16))  # not to be guessed by who would ask or answer in its place
            question = _PendingRequest(header, body, trio.current_effective_deadline(), line or self._line_for(header))
            try:
                return await self._exchange(question, stop_gracefully)
            except OverloadedError as error:
                await trio.sleep(error.retry_after_s * random.uniform(0.5, 1.5))

    async def _exchange(self, question: _PendingRequest, stop_gracefully: trio.Event | None) -> Reply:
        id_ = question.header.id
        self._questions[id_] = question
        question.line.link.send(question.frame(trio.current_time()))
        try:
            if stop_gracefully is None:
                await question.answered.wait()
            else:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._stop_gracefully, question, stop_gracefully)
                    await question.answered.wait()
                    nursery.cancel_scope.cancel()
        finally:
            del self._questions[id_]
            if not question.answered.is_set():
                self._withdraw(question.header, question.line)
        try:
            answer = decode_body(question.answer)
        except ProtocolError as error:
            raise InternalError(f"{question.header.role} answered what is no message: {error}") from error
        if question.kind is Kind.FAILURE and isinstance(answer, Failure):
            failure = error_of(answer)
            if isinstance(failure, DeadlineError) and question.deadline - trio.current_time() < _SAME_DEADLINE_S:
                await trio.sleep_until(question.deadline)  # the caller's own scope ends this, and not now and then we
            raise failure
        if not isinstance(answer, Reply):
            raise InternalError(f"{question.header.role} answered with {type(answer).__name__}, which is no reply")
        return answer

    async def _stop_gracefully(self, question: _PendingRequest, stop_gracefully: trio.Event) -> None:
        await stop_gracefully.wait()
        question.is_stopping_gracefully = True
        self._withdraw(question.header, question.line, graceful=True)

    def _withdraw(self, header: Header, line: RouterConnection, *, graceful: bool = False) -> None:
        line.link.send(encode_message(Header(Kind.CANCEL, header.id, header.role), Cancel(graceful=graceful)))

    def _line_for(self, header: Header) -> RouterConnection:
        """Return where a trajectory, or a request of none, is asked: always the same line while its router is there."""
        if len(self._lines) == 1:
            return self._lines[0]
        key = header.trajectory if any(header.trajectory) else header.id
        first, count = int.from_bytes(key[-4:], "big"), len(self._lines)
        in_turn = [self._lines[(first + further) % count] for further in range(count)]
        return next((line for line in in_turn if line.is_up), in_turn[0])

    def _share(self) -> int:
        up = sum(line.is_up for line in self._lines) or 1
        return -(-self._hello.capacity // up)

    def _say_hello(self, line: RouterConnection) -> None:
        line.awaits_welcome = True
        hello = structs.replace(
            self._hello, capacity=self._share(), holding=self._service.holding(line), run_states=self._run_states.all()
        )
        line.link.send(encode_message(Header(Kind.HELLO, role=self._role), hello))

    def _subscribe(self, line: RouterConnection, run: bytes) -> None:
        line.link.send(encode_message(Header(Kind.SUBSCRIBE, run=run), Subscribe()))

    async def _run_heartbeat(self, line: RouterConnection) -> None:
        with trio.move_on_after(line.heartbeat_s):
            await line.welcomed.wait()  # the router says how often it wants to hear of us
        while True:
            await trio.sleep(line.heartbeat_s)
            asked = [question for question in self._questions.values() if question.line is line]
            beat = Heartbeat(
                holding=self._service.holding(line),
                awaiting=tuple(question.header.id for question in asked),
                figures=self._service.figures(),
                note=self._service.note(),
            )
            if line.link.unsent < 100:  # a router that is away needs to hear once that we live, not a hundred times
                line.link.send(encode_message(Header(Kind.HEARTBEAT, role=self._role), beat))
                line.answers_before_beat = len(line.answers)
                for question in asked:
                    if question.is_stopping_gracefully:  # and who has it in hand may be another since it was last told
                        self._withdraw(question.header, line, graceful=True)
            if (
                len(self._lines) > 1
                and line.is_up
                and trio.current_time() - line.heard_at > _SILENT_BEATS * line.heartbeat_s
            ):
                self._give_up(line)

    def _give_up(self, line: RouterConnection) -> None:
        """Move what a silent router had to another that is there, and serve those that are with all that we have."""
        others = tuple(other for other in self._lines if other.is_up and other is not line)
        if not others:
            return
        line.is_up = False
        _log.warning("router_silent", address=line.address)
        self._service.move(line, others)
        answers, line.answers = line.answers, []
        for other in others:
            self._say_hello(other)  # first of all with what is in hand, so that it is given to nobody else
            for frame in answers:
                other.link.send(frame)
        now = trio.current_time()
        for question in self._questions.values():
            if question.line is line:
                line.forsaken.append(question.header)
                question.line = self._line_for(question.header)
                question.line.link.send(question.frame_again(now))

    def _take_back(self, line: RouterConnection) -> None:
        """Use a router again that was silent: tell it all, and withdraw what others do meanwhile, or have done."""
        line.is_up = True
        _log.info("router_back", address=line.address)
        self._say_hello(line)
        self.offer(self._hello.capacity)
        for header in line.forsaken:
            self._withdraw(header, line)
        line.forsaken.clear()

    async def _raise_refusal(self) -> None:
        await self._refused.wait()
        raise MeshRefusedError(self._refusal)

    def _take(self, line: RouterConnection, batch: list[Message]) -> None:
        line.heard_at = trio.current_time()
        if not line.is_up:
            self._take_back(line)
        for (frame,) in batch:
            try:
                self._take_one(line, unpack_header(frame), frame)
            except ProtocolError as error:
                _log.warning("message_refused", reason=str(error))

    def _take_one(self, line: RouterConnection, header: Header, frame: bytes) -> None:
        match header.kind:
            case Kind.REQUEST:
                self._service.take(line, header, frame[HEADER_BYTES:])
            case Kind.REPLY | Kind.FAILURE:
                question = self._questions.get(header.id)
                if question is not None:
                    question.kind, question.answer = header.kind, frame[HEADER_BYTES:]
                    question.answered.set()
                elif header.kind is Kind.FAILURE and not any(header.id):
                    self._take_refusal(line, decode_body(frame[HEADER_BYTES:]))
            case Kind.EVENT:
                self._take_event(header, frame)
            case _:
                self._take_link(line, header, decode_body(frame[HEADER_BYTES:]))

    def _take_refusal(self, line: RouterConnection, body: Body) -> None:
        """Hear that a router does not take this process in, or does not want to hear of it any more."""
        if isinstance(body, Failure) and line.awaits_welcome:
            self._refusal = f"{line.address}: {body.message}"
            self._refused.set()
        elif isinstance(body, Failure) and body.message != self._refusal:
            self._refusal = body.message
            _log.warning("refused_by_router", address=line.address, reason=body.message)

    def _take_event(self, header: Header, frame: bytes) -> None:
        readers = self._readers.get(header.run)
        if readers and isinstance(event := decode_body(frame[HEADER_BYTES:]), Event):
            for reader in readers:
                try:
                    reader.send_nowait(event)
                except trio.WouldBlock:
                    _log.warning("event_dropped", event_type=type(event).__name__)

    def _take_link(self, line: RouterConnection, header: Header, body: Body) -> None:
        match body:
            case Cancel():
                self._service.cancel(line, header, body)
            case Welcome():
                line.heartbeat_s, line.awaits_welcome = body.heartbeat_s, False
                self._merge_run_states(line, body.run_states)
                self._meet(line, body.epoch)
                line.welcomed.set()
                self._welcomed.set()
            case Pulse():
                del line.answers[: line.answers_before_beat]  # which this answers
                line.answers_before_beat = 0
                self._merge_run_states(line, body.run_states)
                now = trio.current_time()
                for id_ in body.unknown:
                    if (question := self._questions.get(id_)) and question.line is line:
                        line.link.send(question.frame_again(now))
                if body.epoch != line.epoch:
                    self._say_hello(line)
            case HelloAgain():
                self._say_hello(line)
                for run in self._readers:  # which was forgotten with us
                    self._subscribe(line, run)

    def _merge_run_states(self, line: RouterConnection, run_states: tuple[RunState, ...]) -> None:
        if self._run_states.merge(run_states):
            self._run_states_changed.set()
            self._run_states_changed = trio.Event()
            for other in self._lines:
                if other is not line and other.is_up:  # whose router may not have been asked
                    self._say_hello(other)

    def _meet(self, line: RouterConnection, epoch: str) -> None:
        """Tell a new router what the old one knew of this process."""
        if line.epoch not in (None, epoch):
            now = trio.current_time()
            for frame in line.answers:
                line.link.send(frame)
            for question in self._questions.values():
                if question.line is line:
                    line.link.send(question.frame_again(now))
            for run in self._readers:
                self._subscribe(line, run)
        line.epoch = epoch


@asynccontextmanager
async def open_client(
    address: str,
    *,
    name: str | None = None,
    connect_within_s: float = 5.0,
    linger_ms: int = 500,
    security: SecurityConfig = NO_KEYS,
) -> AsyncIterator[Mesh]:
    """Connect to the router at an address, or to several at addresses with commas between them.

    Args:
        address: of `ipc`, or of `tcp`, for which alone there are keys.
        name: of this process in the mesh.
        connect_within_s: how long to wait for the first router.
        linger_ms: what was sent has so long to leave in the end.
        security: our keys.

    Raises:
        MeshUnavailableError: nobody answers there within `connect_within_s`.
        MeshRefusedError: a router does not take this process in; says why.
        ConfigError: a key cannot be used.
    """
    name = name or f"client-{os.getpid()}-{os.urandom(2).hex()}"
    keys = {one: keys_to_connect(security, one) for one in split_addresses(address)}
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: dict[str, zmq.Socket[bytes]] = {}
    try:
        for one in keys:
            sockets[one] = open_dealer(context, one, name.encode()[:200] + os.urandom(8), keys[one])
    except zmq.ZMQError as error:
        context.destroy()
        raise MeshUnavailableError(f"{address}: expected an address like tcp://HOST:PORT: {error.strerror}") from error
    mesh = Mesh(sockets, name)
    try:
        async with open_background() as nursery:
            for one, socket in sockets.items():
                if one.startswith("tcp:"):
                    nursery.start_soon(_raise_refusal, socket, one)
            with trio.move_on_after(connect_within_s) as patience:
                await nursery.start(mesh.run)
            if patience.cancelled_caught:
                raise MeshUnavailableError(_no_answer(address, security, connect_within_s))
            yield mesh
    finally:
        mesh.close(linger_ms)
        context.destroy()  # and with it what watches for refusals


def _no_answer(address: str, security: SecurityConfig, waited_s: float) -> str:
    """Say that nobody answered, and what about keys may be the cause: a wrong one looks as if nobody were there."""
    whose = hint = ""
    if "tcp://" in address and security.router_key is None:
        hint = "; one with keys hears nobody without, see [security]"
    elif "tcp://" in address:
        whose = f" with the key of {security.router_key}"
    return f"{address}: expected a router{whose}, but none answered within {waited_s:g} s{hint}"


async def _raise_refusal(socket: zmq.Socket[bytes], address: str) -> None:
    raise MeshRefusedError(f"{address}: refused by the router: {await await_refusal(socket)}")
