"""A process's client of the mesh: send requests to roles, publish and follow events.

The same object serves clients and actors; an actor also passes a `RequestHandler` that answers incoming requests.

No request is lost with a connection or a router: heartbeats list unanswered requests, and the client repeats under
their old ids those that a router does not know, such as an empty one that replaces a router that died.

With several routers, requests of one trajectory use the same one, and an actor offers each a share of its capacity.
One that leaves three heartbeats unanswered is failed over: its connection is marked down, the client repeats by the
next connection in turn the requests in flight there, and actors report what they hold from it to all other routers,
answer there too, and offer them their whole capacity. The silent router, which may only stand still, is told to drop
what was moved unless an actor holds it. Its first message marks it up again: it gets a new hello and its share of new
requests. protocol/README.md says why this begins no request twice.
"""

from __future__ import annotations

import math
import os
import random
import socket as network
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import structlog
import trio
import zmq
from msgspec import structs

from gems_actors import __version__, errors
from gems_actors.addresses import split_addresses
from gems_actors.beats import seconds_to_beat
from gems_actors.call_context import Call, call_or_none, current_deadline
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.ops import tracing
from gems_actors.router_connection import (
    ClientState,
    OpenLink,
    PendingRequest,
    RequestHandler,
    RouterConnection,
    time_left_ms,
)
from gems_actors.security.keys import keys_to_connect
from gems_actors.status_merge import merge_answers
from gems_actors.tasks import gather, open_background
from gems_actors.transport.links import Link
from gems_actors.transport.refusals import await_refusal
from gems_actors.transport.sockets import open_context, open_dealer, require_trio
from protocol.codec import CODEC, encode_checked, frame_from, frame_of, peek_type
from protocol.envelope import Header, Kind, Lane, answered
from protocol.errors import ProtocolError
from protocol.identity import run_bytes
from protocol.limits import MAX_NAME_CHARS
from protocol.messages import Body, Capacity, Event, Goodbye, Hello, Reply, Request, RunState

ReplyT = TypeVar("ReplyT", bound=Reply)
_SAME_DEADLINE_S = 1.0
"""If an actor gives up this shortly before the client's deadline, it did so because of that deadline."""
_MAX_UNREAD_EVENTS = 1000
"""Events of one run that wait for a slow reader; further ones are dropped."""
_IDS_DRAWN = 256
_NO_PARENT = Header(Kind.REQUEST)
_SYSTEM_RANDOMNESS = random.SystemRandom()

_log = structlog.get_logger()


class Mesh:
    """Sends requests, publishes and follows events by its connections to the routers; made by `open_client`."""

    def __init__(
        self,
        links: Mapping[str, OpenLink],
        name: str,
        *,
        randomness: random.Random = _SYSTEM_RANDOMNESS,
        seconds_to_beat: Callable[[float], float] = float,
    ) -> None:
        """Make a client of the routers at some addresses.

        `randomness` makes ids, which must be unguessable; `seconds_to_beat` gets the time between two heartbeats, and
        returns the time until the next one.
        """
        self.name = name
        self.address = ",".join(links)
        """Addresses of the routers."""
        hello = Hello(name=name, host=network.gethostname(), pid=os.getpid(), version=__version__, bundles=True)
        self._state = ClientState(hello, self._fail_over, self._take_back, self._refuse, seconds_to_beat)
        self._connections = tuple(RouterConnection(open_link, at, self._state) for at, open_link in links.items())
        self._state.connections = self._connections
        self._randomness = randomness
        self._ids: list[bytes] = []
        """Ids of the next requests."""
        self._refusal = ""
        self._refused = trio.Event()

    @property
    def routers(self) -> int:
        """How many routers there are, up or down."""
        return len(self._connections)

    def served_at(self, address: str) -> float:
        """Return when the router at an address last treated this process as a member; minus infinity before that."""
        return max((it.served_at for it in self._connections if it.address == address), default=-math.inf)

    @property
    def requests_in_flight(self) -> tuple[bytes, ...]:
        """Ids of the requests that wait for an answer."""
        return tuple(self._state.pending)

    async def ask(
        self,
        request: Request[ReplyT],
        *,
        role: str | None = None,
        lane: Lane | None = None,
        stop_gracefully: trio.Event | None = None,
        retries_overload: bool = True,
    ) -> ReplyT:
        """Return the role's reply to a request.

        The deadline is the caller's cancel scope and travels with the request. While the role is overloaded the request
        is retried with backoff, until the deadline, unless told otherwise. Cancelling the caller cancels the request.
        Within a handler, run, trajectory and lane are inherited from the request being answered.

        Args:
            request: its class names the role and the type of the reply.
            role: the role to ask instead, such as a configured one, one host's agent or one of memory's shards.
            lane: interactive unless given or inherited.
            stop_gracefully: once set, the actor finishes its current step and answers with what it has.
            retries_overload: False to fail with `OverloadedError` at once, for a client that can tell its own client to
                come back later.

        Raises:
            RequestError: one of its subclasses, which names the failure.
        """
        call = call_or_none()
        parent = call.header if call else _NO_PARENT
        run, trajectory = getattr(request, "run", None), getattr(request, "trajectory", None)
        deadline = current_deadline()
        try:
            header = Header(
                Kind.REQUEST,
                self._new_id(),
                role or request.role,
                parent.lane if lane is None else lane,
                0,
                time_left_ms(deadline),
                bytes.fromhex(trajectory) if isinstance(trajectory, str) else parent.trajectory,
                run_bytes(run) if isinstance(run, str) else parent.run,
                parent.trace,
                parent.span,
            )
            expected = CODEC.register_reply(type(request))
            body = encode_checked(request)
        except (ProtocolError, ValueError) as error:
            raise errors.RefusedError(f"{type(request).__name__} cannot be sent: {error}") from error
        waiting = PendingRequest(header, body, deadline, self._connection_for(header))
        if tracing.is_on():
            with tracing.asking(header, type(request).__name__) as waiting.header:
                reply = await self._answer(request, waiting, stop_gracefully, retries_overload)
        else:
            reply = await self._answer(request, waiting, stop_gracefully, retries_overload)
        if not isinstance(reply, expected):
            got = type(reply).__name__
            raise errors.InternalError(
                f"{header.role}: expected {expected.__name__} in answer to {type(request).__name__}, got {got}"
            )
        return reply

    def publish(self, event: Event) -> None:
        """Publish an event to the followers of the run of the request being answered; nobody waits for it."""
        call = call_or_none()
        if call is not None:
            connection = call.connection or self._connections[0]
            connection.link.send(_frame_about(call, Kind.EVENT, encode_checked(event)))

    @asynccontextmanager
    async def events(self, run: str) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Follow the events of one run from now on; a reader that is 1,000 events behind loses the newest."""
        key = run_bytes(run)
        sender, receiver = trio.open_memory_channel[Event](_MAX_UNREAD_EVENTS)
        self._state.readers.setdefault(key, []).append(sender)
        for connection in self._connections:
            connection.subscribe(key)
        async with receiver:
            try:
                yield receiver
            finally:
                self._state.readers[key].remove(sender)  # before the receiver closes, which lets other tasks run

    def run_state(self, run: str) -> RunState | None:
        """Return the state that pauses or cancels a run, as far as the routers have told; None while it runs."""
        return self._state.run_states.blocking_state(run_bytes(run))

    async def run_states_changed(self) -> None:
        """Return once a run is paused, cancelled or resumed."""
        await self._state.run_states_changed.wait()

    # ----------------------------------------------------------------------------------------- for the serving loop

    @property
    def role(self) -> str:
        """The role that this process plays; empty for a client."""
        return self._state.role

    async def present(self, role: str, accepts: tuple[str, ...], handler: RequestHandler) -> None:
        """Join the mesh under a role, and return once a router knows; requests arrive after the first `offer`."""
        self._state.handler, self._state.role = handler, role
        self._state.hello = structs.replace(self._state.hello, accepts=accepts)
        self._state.welcomed = trio.Event()
        for connection in self._connections:
            connection.say_hello()
        await self._state.welcomed.wait()

    def offer(self, capacity: int) -> None:
        """Set how many requests this process takes at once, at present routers and later ones.

        Several routers share the capacity, each share rounded up; the handler must enforce the limit itself.
        """
        self._state.hello = structs.replace(self._state.hello, capacity=capacity)
        share = Capacity(capacity=self._state.capacity_share())
        for connection in self._connections:
            connection.send(Kind.CAPACITY, share)

    def leave(self) -> None:
        """Tell the routers that this process takes no more requests; those it still holds go to other actors."""
        for connection in self._connections:
            connection.send(Kind.GOODBYE, Goodbye())

    def reply(self, call: Call, kind: Kind, body: Body) -> None:
        """Answer a request by every connection where its client may be waiting.

        Raises:
            ProtocolError: the answer does not fit the wire.
        """
        frame = _frame_about(call, kind, encode_checked(body))
        for connection in (call.connection or self._connections[0], *call.others):
            connection.answer(frame)

    def release(self, call: Call) -> None:
        """Tell the routers that a request that one of them withdrew was stopped; unlike an answer, only once."""
        failure = errors.failure_of(errors.WithdrawnError("its router told the actor to stop"))
        frame = _frame_about(call, Kind.FAILURE, encode_checked(failure))
        for connection in (call.connection or self._connections[0], *call.others):
            connection.link.send(frame)

    async def flush(self) -> None:
        """Return when everything sent to routers that are up has been handed to libzmq."""
        for connection in self._connections:
            if connection.is_up or len(self._connections) == 1:
                await connection.link.flush()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connections until cancelled; started once a router has sent its welcome.

        Raises:
            MeshRefusedError: a router does not admit this process.
        """
        async with trio.open_nursery() as nursery:
            for connection in self._connections:
                connection.heard_at = trio.current_time()  # a router has three heartbeats to answer for the first time
                nursery.start_soon(connection.link.run)
                nursery.start_soon(connection.run_heartbeat)
                connection.say_hello()
            nursery.start_soon(self._raise_refusal)
            await self._state.welcomed.wait()
            task_status.started()

    def close(self, linger_ms: int) -> None:
        """Close the sockets."""
        for connection in self._connections:
            connection.link.close(linger_ms)

    # ----------------------------------------------------------------------------------------- requests in flight

    def _answer(
        self,
        request: Request[ReplyT],
        waiting: PendingRequest,
        stop_gracefully: trio.Event | None,
        retries_overload: bool,
    ) -> Awaitable[Reply]:
        """Return what ends with the answer: of one router, or merged from all if each of them answers itself."""
        if waiting.header.role == "router" and len(self._connections) > 1:
            return self._ask_all_routers(request, waiting, stop_gracefully)
        return self._answer_to(waiting, stop_gracefully, retries_overload)

    async def _ask_all_routers(
        self, request: Request[ReplyT], waiting: PendingRequest, stop_gracefully: trio.Event | None
    ) -> Reply:
        """Ask all routers what each of them answers itself."""
        header, body, deadline = waiting.header, waiting.body, waiting.deadline
        asks = [
            partial(
                self._answer_to, PendingRequest(structs.replace(header, id=self._new_id()), body, deadline, it),
                stop_gracefully,
            )
            for it in self._connections
            if it.is_up
        ]  # fmt: skip
        return merge_answers(request, await gather(*asks))

    async def _answer_to(
        self, request: PendingRequest, stop_gracefully: trio.Event | None, retries_overload: bool = True
    ) -> Reply:
        """Return the answer to a request; with backoff it is asked again while the role is overloaded."""
        while True:
            self._send(request)
            try:
                if stop_gracefully is None:
                    await request.wait()
                else:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_stop_gracefully, request, stop_gracefully)
                        await request.wait()
                        nursery.cancel_scope.cancel()
            finally:
                self._forget(request)
            try:
                return request.reply()
            except errors.DeadlineError:
                if request.deadline - trio.current_time() < _SAME_DEADLINE_S:
                    await trio.sleep_until(request.deadline)  # always let the caller's own scope end this
                raise
            except errors.OverloadedError as error:
                if not retries_overload:
                    raise
                await trio.sleep(error.retry_after_s * self._randomness.uniform(0.5, 1.5))
            deadline = current_deadline()
            header = structs.replace(request.header, id=self._new_id(), time_left_ms=time_left_ms(deadline), attempt=0)
            is_of_router = header.role == "router"
            at = request.connection if is_of_router else self._connection_for(header)
            request = PendingRequest(header, request.body, deadline, at)

    def _new_id(self) -> bytes:
        """Return an id that no other process can guess, so that none can answer or cancel the request."""
        if not self._ids:  # a call of the system for each took a tenth of a client's time
            drawn = self._randomness.randbytes(16 * _IDS_DRAWN)
            self._ids = [drawn[at : at + 16] for at in range(0, len(drawn), 16)]
        return self._ids.pop()

    def _send(self, request: PendingRequest) -> None:
        pending, id_ = self._state.pending, request.header.id
        pending[id_] = request
        try:
            request.send()
        except ProtocolError as error:  # its header or its size: nothing was sent that could be withdrawn
            del pending[id_]
            raise errors.RefusedError(f"{peek_type(request.body)} cannot be sent: {error}") from error

    def _forget(self, request: PendingRequest) -> None:
        """Forget a request that was answered or cancelled, and withdraw it where no answer was taken from."""
        del self._state.pending[request.header.id]
        if request.answered_by is not request.connection or request.asked_before:
            for connection in (request.connection, *request.asked_before):
                if connection is not request.answered_by:
                    connection.withdraw(request.header)

    # ----------------------------------------------------------------------------------------- choice and failover

    def _connection_for(self, header: Header) -> RouterConnection:
        """Return the connection for a trajectory, or for a request without one: the same while its router is up."""
        if len(self._connections) == 1:
            return self._connections[0]
        key = header.trajectory if any(header.trajectory) else header.id
        first, count = int.from_bytes(key[-4:], "big"), len(self._connections)
        in_turn = [self._connections[(first + further) % count] for further in range(count)]
        return next((connection for connection in in_turn if connection.is_up), in_turn[0])

    def _fail_over(self, silent: RouterConnection) -> None:
        """Move everything in flight at a silent router to the others, and offer those the whole capacity."""
        others = tuple(other for other in self._connections if other.is_up and other is not silent)
        if not others:
            return
        silent.is_up = False
        silent.link.discard_unsent()  # a router that replaces it must not begin what has moved by then
        _log.warning("router_silent", address=silent.address)
        if self._state.handler is not None:
            self._state.handler.move(silent, others)
        for other in others:
            other.say_hello()  # first, with the requests held here, so that they are given to no other actor
            for frame in silent.unconfirmed:
                other.answer(frame)
        for request in silent.pending():
            silent.withdraw(request.header, here_only=True)  # behind the request, in case it has not been read yet
            request.asked_before = (*request.asked_before, silent)
            request.connection = self._connection_for(request.header)
            request.send_again()

    def _take_back(self, connection: RouterConnection) -> None:
        """Use a router again: say hello, restore its share, and repeat answers that it may not have."""
        connection.is_up = True
        _log.info("router_back", address=connection.address)
        connection.say_hello()
        self.offer(self._state.hello.capacity)
        for frame in connection.unconfirmed:
            connection.link.send(frame)

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        self._refused.set()

    async def _raise_refusal(self) -> None:
        await self._refused.wait()
        raise errors.MeshRefusedError(self._refusal)


def _frame_about(call: Call, kind: Kind, body: bytes) -> bytes:
    """Return the frame of a message about a request that is being answered."""
    if not call.head:
        return frame_of(structs.replace(call.header, kind=kind), body)
    return frame_from(answered(call.head, kind), body)


async def _stop_gracefully(request: PendingRequest, stop_gracefully: trio.Event) -> None:
    await stop_gracefully.wait()
    request.is_stopping_gracefully = True
    request.connection.withdraw(request.header, graceful=True)


@asynccontextmanager
async def open_client(
    address: str,
    *,
    name: str | None = None,
    connect_within_s: float = 5.0,
    linger_ms: int = 500,
    security: SecurityConfig = NO_KEYS,
) -> AsyncIterator[Mesh]:
    """Connect to one router, or to several with a comma-separated address.

    Args:
        address: `ipc` or `tcp` address; only tcp uses keys.
        name: name of this process in the mesh.
        connect_within_s: time to wait for the first router.
        linger_ms: time to send queued messages at the end.
        security: keys of this process.

    Raises:
        MeshUnavailableError: no router answers within `connect_within_s`.
        MeshRefusedError: a router does not admit this process; the text says why.
        ConfigError: a key cannot be used.
        UsageError: the caller does not run under trio, or the name is too long.
    """
    require_trio("open_client")
    if len(name or "") > MAX_NAME_CHARS:
        raise errors.UsageError(f"expected a name of at most {MAX_NAME_CHARS} characters, got {len(name or '')}")
    name = name or f"client-{os.getpid()}-{os.urandom(2).hex()}"
    keys = {one: keys_to_connect(security, one) for one in split_addresses(address)}
    context = open_context()
    sockets: dict[str, zmq.Socket[bytes]] = {}
    try:
        for one in keys:
            sockets[one] = open_dealer(context, one, name.encode()[:200] + os.urandom(8), keys[one])
    except zmq.ZMQError as error:
        context.destroy()
        raise errors.MeshUnavailableError(
            f"{address}: expected an address like tcp://HOST:PORT: {error.strerror}"
        ) from error
    links = {one: partial(Link, socket) for one, socket in sockets.items()}
    mesh = Mesh(links, name, seconds_to_beat=seconds_to_beat)
    try:
        async with open_background() as nursery:
            for one, socket in sockets.items():
                if one.startswith("tcp:"):
                    nursery.start_soon(_raise_refusal, socket, one)
            with trio.move_on_after(connect_within_s) as patience:
                await nursery.start(mesh.run)
            if patience.cancelled_caught:
                raise errors.MeshUnavailableError(_no_answer(address, security, connect_within_s))
            yield mesh
    finally:
        try:
            mesh.close(linger_ms)
        finally:
            context.destroy()  # closes the monitors that watch for refusals too


def _no_answer(address: str, security: SecurityConfig, waited_s: float) -> str:
    """Return the error text when no router answered; a wrong key looks the same as a missing router."""
    whose = hint = ""
    if "tcp://" in address and security.router_key is None:
        hint = "; a router with keys ignores clients without keys, see [security]"
    elif "tcp://" in address:
        whose = f" with the key of {security.router_key}"
    return f"{address}: expected a router{whose}, but none answered within {waited_s:g} s{hint}"


async def _raise_refusal(socket: zmq.Socket[bytes], address: str) -> None:
    raise errors.MeshRefusedError(f"{address}: refused by the router: {await await_refusal(socket)}")
