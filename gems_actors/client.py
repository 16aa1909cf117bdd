"""One process's way into the mesh: ask a role, publish and follow events.

The same object serves a client and an actor; an actor's requests arrive through the `Service` it hands in. Nothing that
was asked is lost with a connection or a router: what is unanswered is told with every heartbeat and repeated under its
old id wherever the router does not know it.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import socket as network
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

import structlog
import trio
import zmq
from msgspec import structs

from gems_actors import __version__
from gems_actors.errors import DeadlineError, InternalError, MeshUnavailableError, OverloadedError, error_of
from gems_actors.sockets import Link, Message, open_dealer
from gems_actors.tasks import open_background
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
    Heartbeat,
    Held,
    Hello,
    HelloAgain,
    Pulse,
    Reply,
    Request,
    Subscribe,
    Welcome,
)

ReplyT = TypeVar("ReplyT", bound=Reply)
_SAME_DEADLINE_S = 1.0
"""An actor that gives up so shortly before the asker does so because of the asker's deadline."""
_EVENTS_KEPT = 1000
"""Events of one run that wait for a slow reader; further ones are dropped."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Call:
    """The request that a handler is answering."""

    header: Header
    winding_down: trio.Event = field(default_factory=trio.Event)
    """Set once the asker wants the step in hand finished and an answer with what is there."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


_call: ContextVar[Call | None] = ContextVar("_call", default=None)


def current_call() -> Call:
    """Return the request that this task is answering.

    Raises:
        LookupError: it is answering none.
    """
    if (call := _call.get()) is None:
        raise LookupError("no request is being answered in this task")
    return call


def is_somebody_waiting() -> bool:
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


class Service(Protocol):
    """What an actor does for its mesh beside asking."""

    def take(self, header: Header, body: bytes) -> None:
        """Take up a request; neither awaits nor raises."""

    def cancel(self, header: Header, cancel: Cancel) -> None:
        """Stop, or wind down, a request in hand."""

    def holding(self) -> tuple[Held, ...]:
        """Requests in hand."""

    def figures(self) -> dict[str, float]:
        """What the actor reports of itself."""

    def note(self) -> str:
        """What the actor does while it takes no requests."""


class _NoService:
    """Of a client, which answers nothing."""

    def take(self, header: Header, body: bytes) -> None:
        pass

    def cancel(self, header: Header, cancel: Cancel) -> None:
        pass

    def holding(self) -> tuple[Held, ...]:
        return ()

    def figures(self) -> dict[str, float]:
        return {}

    def note(self) -> str:
        return ""


@dataclass(slots=True)
class _Question:
    """A request that waits for its answer."""

    header: Header
    body: bytes
    deadline: float
    answered: trio.Event = field(default_factory=trio.Event)
    kind: Kind = Kind.REQUEST
    answer: bytes = b""

    def frame(self, now: float) -> bytes:
        left_s = self.deadline - now
        left_ms = NO_DEADLINE_MS if left_s == math.inf else min(max(0, int(left_s * 1000)), NO_DEADLINE_MS - 1)
        return frame_of(self.header._replace(time_left_ms=left_ms), self.body)

    def frame_again(self, now: float) -> bytes:
        """The request once more, marked so that a new router first listens whether somebody has it in hand."""
        self.header = self.header._replace(attempt=1)
        return self.frame(now)


class Mesh:
    """Asks, publishes and listens through one connection to the router; made by `open_client` or by an actor's loop."""

    def __init__(self, socket: zmq.Socket[bytes], name: str, address: str) -> None:
        self.name = name
        self.address = address
        """Of the router."""
        self._link = Link(socket, self._take)
        self._service: Service = _NoService()
        self._hello = Hello(name=name, host=network.gethostname(), pid=os.getpid(), version=__version__)
        self._role = ""
        self._epoch: str | None = None
        self._heartbeat_s = 1.0
        self._welcomed = trio.Event()
        self._questions: dict[bytes, _Question] = {}
        self._readers: dict[bytes, list[trio.MemorySendChannel[Event]]] = {}
        self._prefix, self._numbers = os.urandom(8), itertools.count(1)

    async def ask(
        self,
        request: Request[ReplyT],
        *,
        role: str | None = None,
        lane: Lane | None = None,
        wind_down: trio.Event | None = None,
    ) -> ReplyT:
        """Return the role's reply to a request.

        The deadline is the caller's cancel scope and travels with the request. While the role is overloaded the request
        is repeated, as long as the deadline allows. Cancelled, it withdraws the request. Within a handler, run,
        trajectory and lane are those of the request being answered.

        Args:
            request: its class names the role.
            role: who shall answer in place of that role, such as one host's agent in place of the supervisor.
            lane: interactive unless said or inherited.
            wind_down: once set, the actor is asked to finish the step in hand and to answer with what it has.

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
        while True:
            question = _Question(
                header._replace(id=self._prefix + next(self._numbers).to_bytes(8, "big")),
                body,
                trio.current_effective_deadline(),
            )
            try:
                return cast(ReplyT, await self._exchange(question, wind_down))
            except OverloadedError as error:
                await trio.sleep(error.retry_after_s * random.uniform(0.5, 1.5))

    def publish(self, event: Event) -> None:
        """Tell whoever follows the run of the request being answered; nobody waits for it."""
        call = _call.get()
        if call is not None:
            self._link.send(encode_message(call.header._replace(kind=Kind.EVENT), event))

    @asynccontextmanager
    async def events(self, run: str) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Follow the events of one run, from now on; a reader that is 1,000 events behind loses the newest."""
        key = run_bytes(run)
        sender, receiver = trio.open_memory_channel[Event](_EVENTS_KEPT)
        self._readers.setdefault(key, []).append(sender)
        self._subscribe(key)
        async with receiver:
            try:
                yield receiver
            finally:
                self._readers[key].remove(sender)  # before the receiver closes, which lets other tasks run

    # ----------------------------------------------------------------------------------------- for the serving loop

    async def present(self, role: str, accepts: tuple[str, ...], service: Service) -> None:
        """Take up a role: from now on the mesh knows of this process; it takes requests once it offers to."""
        self._service, self._role = service, role
        self._hello = structs.replace(self._hello, accepts=accepts)
        self._welcomed = trio.Event()
        self._say_hello()
        await self._welcomed.wait()

    def offer(self, capacity: int) -> None:
        """Take so many requests at once from now on, also from a router that is yet to come."""
        self._hello = structs.replace(self._hello, capacity=capacity)
        self.post(Header(Kind.CAPACITY, role=self._role), Capacity(capacity=capacity))

    def post(self, header: Header, body: Body) -> None:
        """Send a message about a request or about this process."""
        self._link.send(encode_message(header, body))

    async def flush(self) -> None:
        """Return when all that was posted is with libzmq."""
        await self._link.flush()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection until cancelled; started once the router has said welcome."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link.run)
            nursery.start_soon(self._run_heartbeat)
            self._say_hello()
            await self._welcomed.wait()
            task_status.started()

    def close(self, linger_ms: int) -> None:
        """Close the socket."""
        self._link.close(linger_ms)

    # ----------------------------------------------------------------------------------------- inside

    async def _exchange(self, question: _Question, wind_down: trio.Event | None) -> Reply:
        id_ = question.header.id
        self._questions[id_] = question
        self._link.send(question.frame(trio.current_time()))
        try:
            if wind_down is None:
                await question.answered.wait()
            else:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wind_down, question, wind_down)
                    await question.answered.wait()
                    nursery.cancel_scope.cancel()
        finally:
            del self._questions[id_]
            if not question.answered.is_set():
                self.post(Header(Kind.CANCEL, id_, question.header.role), Cancel())
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

    async def _wind_down(self, question: _Question, wind_down: trio.Event) -> None:
        await wind_down.wait()
        self.post(Header(Kind.CANCEL, question.header.id, question.header.role), Cancel(gently=True))

    def _say_hello(self) -> None:
        hello = structs.replace(self._hello, holding=self._service.holding())
        self._link.send(encode_message(Header(Kind.HELLO, role=self._role), hello))

    def _subscribe(self, run: bytes) -> None:
        self._link.send(encode_message(Header(Kind.SUBSCRIBE, run=run), Subscribe()))

    async def _run_heartbeat(self) -> None:
        with trio.move_on_after(self._heartbeat_s):
            await self._welcomed.wait()  # the router says how often it wants to hear of us
        while True:
            await trio.sleep(self._heartbeat_s)
            beat = Heartbeat(
                holding=self._service.holding(),
                awaiting=tuple(self._questions),
                figures=self._service.figures(),
                note=self._service.note(),
            )
            if self._link.unsent < 100:  # a router that is away needs to hear once that we live, not a hundred times
                self._link.send(encode_message(Header(Kind.HEARTBEAT, role=self._role), beat))

    def _take(self, batch: list[Message]) -> None:
        for (frame,) in batch:
            try:
                self._take_one(unpack_header(frame), frame)
            except ProtocolError as error:
                _log.warning("message_refused", reason=str(error))

    def _take_one(self, header: Header, frame: bytes) -> None:
        match header.kind:
            case Kind.REQUEST:
                self._service.take(header, frame[HEADER_BYTES:])
            case Kind.REPLY | Kind.FAILURE:
                question = self._questions.get(header.id)
                if question is not None:
                    question.kind, question.answer = header.kind, frame[HEADER_BYTES:]
                    question.answered.set()
            case Kind.EVENT:
                self._take_event(header, frame)
            case _:
                self._take_link(header, decode_body(frame[HEADER_BYTES:]))

    def _take_event(self, header: Header, frame: bytes) -> None:
        readers = self._readers.get(header.run)
        if readers and isinstance(event := decode_body(frame[HEADER_BYTES:]), Event):
            for reader in readers:
                try:
                    reader.send_nowait(event)
                except trio.WouldBlock:
                    _log.warning("event_dropped", event_type=type(event).__name__)

    def _take_link(self, header: Header, body: Body) -> None:
        match body:
            case Cancel():
                self._service.cancel(header, body)
            case Welcome():
                self._heartbeat_s = body.heartbeat_s
                self._meet(body.epoch)
                self._welcomed.set()
            case Pulse():
                now = trio.current_time()
                for id_ in body.unknown:
                    if question := self._questions.get(id_):
                        self._link.send(question.frame_again(now))
                if body.epoch != self._epoch:
                    self._say_hello()
            case HelloAgain():
                self._say_hello()

    def _meet(self, epoch: str) -> None:
        """Tell a new router what the old one knew of this process."""
        if self._epoch not in (None, epoch):
            now = trio.current_time()
            for question in self._questions.values():
                self._link.send(question.frame_again(now))
            for run in self._readers:
                self._subscribe(run)
        self._epoch = epoch


@asynccontextmanager
async def open_client(
    address: str, *, name: str | None = None, connect_within_s: float = 5.0, linger_ms: int = 500
) -> AsyncIterator[Mesh]:
    """Connect to the router at an address.

    Raises:
        MeshUnavailableError: nobody answers there within `connect_within_s`.
    """
    name = name or f"client-{os.getpid()}-{os.urandom(2).hex()}"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        socket = open_dealer(context, address, name.encode()[:200] + os.urandom(4))
    except zmq.ZMQError as error:
        context.term()
        raise MeshUnavailableError(f"{address}: expected an address like tcp://HOST:PORT: {error.strerror}") from error
    mesh = Mesh(socket, name, address)
    try:
        async with open_background() as nursery:
            with trio.move_on_after(connect_within_s) as patience:
                await nursery.start(mesh.run)
            if patience.cancelled_caught:
                raise MeshUnavailableError(
                    f"{address}: expected a router, but none answered within {connect_within_s:g} s"
                )
            yield mesh
    finally:
        mesh.close(linger_ms)
        context.term()
