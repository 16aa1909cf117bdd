"""What every role shares: handlers chosen by the request's type, and the loop that serves them.

A role is a class with a `role` name, an `open` that holds its models and stores, and methods marked `@answers`. The
loop takes requests up to the actor's capacity, answers each with a reply or a typed failure, obeys cancellation,
reports to the router what it holds, and shuts down gracefully.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, ClassVar, TypeVar, cast

import structlog
import trio

from gems_actors import errors
from gems_actors.call_context import Call, begin_answering, current_call, is_interactive
from gems_actors.call_deadlines import DeadlineWatch
from gems_actors.client import Mesh, open_client
from gems_actors.config import NO_KEYS, MeshConfig, SecurityConfig
from gems_actors.ops import tracing
from gems_actors.os_process import is_shortage
from gems_actors.router_connection import RouterConnection
from gems_actors.tasks import open_background
from protocol.codec import CODEC, decode_body
from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, Header, Kind
from protocol.errors import ProtocolError
from protocol.limits import MAX_FIGURE, MAX_FIGURES, MAX_NAME_CHARS, MAX_REMARK_CHARS, TOTAL
from protocol.messages import Body, Cancel, Held, Reply, Request

__all__ = ["Actor", "Call", "Mesh", "answers", "current_call", "is_interactive", "serve_actor"]

HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[Reply]])
_Handler = Callable[[Any, Any], Awaitable[Reply]]

_MAX_STANDING = 64
"""Tasks that stay when there is nothing to answer; a busy actor has one for each request that waits in a handler."""
_FLUSH_GRACE_S = 2.0
"""How long unsent answers wait for a router that is down; one that crashed is replaced within that time."""

_log = structlog.get_logger()


def answers(handler: HandlerT) -> HandlerT:
    """Mark a method as the handler of the request type that its one parameter is annotated with."""
    handler.__answers__ = True  # type: ignore[attr-defined]  # a mark for `Actor`
    return handler


def _request_type_of(handler: Callable[..., Any]) -> type[Request[Any]]:
    """Return the type that the last parameter of a handler is annotated with."""
    *_, kind = None, *(kind for name, kind in typing.get_type_hints(handler).items() if name != "return")
    if not (isinstance(kind, type) and issubclass(kind, Request) and inspect.iscoroutinefunction(handler)):
        where = f"{handler.__module__}.{handler.__qualname__}"
        raise TypeError(f"{where}: expected `async def` with one parameter annotated with a subclass of Request")
    return kind


class Actor:
    """Base of every role; a subclass registers the types of its requests and replies when it is defined."""

    role: str = ""
    default_capacity: int = 1
    """Requests taken at once unless configured; read after `open`."""
    time_limit_s: ClassVar[float] = 600.0
    """Time after which a handler counts as hung: it is cancelled and the request fails with `DeadlineError`. Time in
    which it waits for room at a model server that works does not count."""
    handlers: ClassVar[dict[type[Request[Any]], _Handler]] = {}

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        self.config = config
        self.mesh = mesh

    def __init_subclass__(cls) -> None:
        cls.handlers = dict(cls.handlers)
        for method in vars(cls).values():
            if getattr(method, "__answers__", False):
                request = _request_type_of(method)
                CODEC.register(request)
                CODEC.register_reply(request)
                cls.handlers[request] = method

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold what the role needs; requests arrive only while it is open."""
        yield

    async def drain(self) -> None:
        """Finish what else the role does, within the grace period, before it leaves the mesh."""
        await trio.lowlevel.checkpoint()

    def figures(self) -> dict[str, float]:
        """Return figures to show in `gems status`; called only while open."""
        return {}

    def totals(self) -> dict[str, float]:
        """Return counts since the start of this process, which only grow; the router sums them up for metrics."""
        return {}

    def note(self) -> str:
        """Return what the role does while it takes no requests, or what is wrong; shown in `gems status`."""
        return ""


async def serve_actor(
    make_actor: Callable[[Mesh], Actor],
    address: str,
    name: str,
    *,
    role: str | None = None,
    capacity: int | None = None,
    grace_s: float = 10.0,
    draining: trio.Event | None = None,
    connect_within_s: float = 30.0,
    security: SecurityConfig = NO_KEYS,
) -> None:
    """Play a role until `draining` is set, then finish the requests in flight or hand them back after `grace_s`.

    Returns at once if `draining` is set before a router has answered. `role` is the name to join under, such as that of
    one of memory's shards; it and the capacity are those of the class by default. `name` is unique in the mesh.

    Raises:
        MeshUnavailableError: no router answers at the address, or it does not admit this process.
        ForbiddenError: the key does not allow the role.
        GemsError: the role cannot be played here.
    """
    draining = trio.Event() if draining is None else draining
    joined = trio.Event()
    async with open_background() as waiting:
        waiting.start_soon(_stop_waiting, draining, joined, waiting.cancel_scope)
        async with open_client(address, name=name, connect_within_s=connect_within_s, security=security) as mesh:
            await _serve(
                make_actor(mesh), role=role, capacity=capacity, grace_s=grace_s, draining=draining, joined=joined
            )


async def serve_by(
    mesh: Mesh, make_actor: Callable[[Mesh], Actor], *, draining: trio.Event | None = None, grace_s: float = 10.0
) -> None:
    """Play a role by a client that is open already and serves nothing else, as `serve_actor` does by its own."""
    draining = trio.Event() if draining is None else draining
    await _serve(make_actor(mesh), role=None, capacity=None, grace_s=grace_s, draining=draining, joined=trio.Event())


async def _serve(
    actor: Actor, *, role: str | None, capacity: int | None, grace_s: float, draining: trio.Event, joined: trio.Event
) -> None:
    loop, mesh = _Loop(actor), actor.mesh
    await mesh.present(role or actor.role, tuple(request.__name__ for request in actor.handlers), loop)
    joined.set()
    async with open_background() as watching:
        watching.start_soon(loop.leave_unopened, draining, watching.cancel_scope)
        async with actor.open(), open_background() as nursery:
            taken = actor.default_capacity if capacity is None else capacity
            loop.begin(nursery, taken)
            _log.info("actor_ready", capacity=taken)
            await draining.wait()
            await loop.drain(grace_s)
    with trio.move_on_after(_FLUSH_GRACE_S):
        await mesh.flush()


async def _stop_waiting(draining: trio.Event, joined: trio.Event, everything: trio.CancelScope) -> None:
    """Cancel an actor that is told to shut down while it still waits for a router."""
    await draining.wait()
    if not joined.is_set():
        everything.cancel()


class _Loop:
    """The requests that one actor is answering.

    Standing tasks answer them, which costs half of a task for each. A task takes one request after another as long as
    its handlers need not wait. Where they do, it has woken other tasks before, the more the more handlers wait.
    """

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._mesh = actor.mesh
        self._nursery: trio.Nursery | None = None
        self._limiter: trio.CapacityLimiter | None = None
        self._calls: dict[bytes, Call] = {}
        self._taken: deque[tuple[Call, bytes]] = deque()
        """Requests that no task has begun to answer, and their frames."""
        self._standing: list[trio.lowlevel.Task] = []
        """Tasks that wait for a request."""
        self._woken = 0
        """Tasks that were woken or started and do not run yet."""
        self._deadlines = DeadlineWatch(self._calls.values())
        self._is_leaving = False
        self._all_done = trio.Event()

    def take(self, connection: RouterConnection, header: Header, frame: bytes) -> None:
        if self._nursery is not None and header.id not in self._calls and not self._is_leaving:
            now, limit_s, client_deadline = connection.heard_at, self._actor.time_limit_s, math.inf
            if header.time_left_ms != NO_DEADLINE_MS:
                left_s = header.time_left_ms / 1000
                client_deadline, limit_s = now + left_s, min(left_s, limit_s)
            call = self._calls[header.id] = Call(
                header,
                frame[:HEADER_BYTES],
                connection,
                deadline=now + limit_s,
                client_deadline=client_deadline,
                watch=self._deadlines.note,
            )
            self._deadlines.note(call)
            self._taken.append((call, frame))
            if not self._woken:
                self._wake(self._nursery)

    def cancel(self, connection: RouterConnection, header: Header, cancel: Cancel) -> None:
        call = self._calls.get(header.id)
        if call is not None and call.is_answered_by(connection) and call.header.attempt == header.attempt:
            if cancel.graceful:
                call.stop_gracefully.set()
            elif cancel.here_only and call.others:
                if call.connection is connection:
                    call.connection, *others = call.others
                else:
                    others = [other for other in call.others if other is not connection]
                call.others = tuple(others)
            else:
                call.cancel_reason = cancel.reason
                call.cancel()

    def holding(self, connection: RouterConnection) -> tuple[Held, ...]:
        calls = [call for call in self._calls.values() if call.is_answered_by(connection)]
        return tuple(Held(id=call.header.id, attempt=call.header.attempt) for call in calls)

    def holding_elsewhere(self, connection: RouterConnection) -> tuple[Held, ...]:
        calls = [call for call in self._calls.values() if not call.is_answered_by(connection)]
        return tuple(Held(id=call.header.id, attempt=call.header.attempt) for call in calls)

    def claim(self, connection: RouterConnection, id_: bytes) -> bool:
        call = self._calls.get(id_)
        if call is not None and not call.is_answered_by(connection):
            call.others = (*call.others, connection)
        return call is not None

    def move(self, old: RouterConnection, others: tuple[RouterConnection, ...]) -> None:
        for call in self._calls.values():
            if call.is_answered_by(old):
                call.connection, *further = others
                call.others = (*further, old)  # it may only have been slow, and it would give the request away

    def figures(self) -> dict[str, float]:
        """Return the actor's figures that fit the wire: a role's odd figure must not cost it its place in the mesh."""
        found = {} if self._nursery is None else self._actor.figures() | self._totals()
        fitting = ((name, it) for name, it in found.items() if len(name) <= MAX_NAME_CHARS and abs(it) <= MAX_FIGURE)
        return {_whole(name): figure for name, figure in islice(fitting, MAX_FIGURES)}

    def _totals(self) -> dict[str, float]:
        return {f"{TOTAL}{name}": value for name, value in self._actor.totals().items()}

    def note(self) -> str:
        return _whole(self._actor.note()[:MAX_REMARK_CHARS])

    def begin(self, nursery: trio.Nursery, capacity: int) -> None:
        """Take requests from now on."""
        self._nursery = nursery
        nursery.start_soon(self._deadlines.run)
        if self._mesh.routers > 1:  # their shares are rounded up and may exceed the capacity together
            self._limiter = trio.CapacityLimiter(max(1, capacity))
        self._mesh.offer(capacity)

    async def leave_unopened(self, draining: trio.Event, everything: trio.CancelScope) -> None:
        """Cancel an actor that is told to shut down while it still opens and so has no requests to finish."""
        await draining.wait()
        if self._nursery is None:
            self._mesh.leave()
            everything.cancel()

    async def drain(self, grace_s: float) -> None:
        """Take no more requests, finish those in flight within the grace, and hand the rest back."""
        self._mesh.offer(0)
        with trio.move_on_after(grace_s):
            while self._calls:
                self._all_done = trio.Event()
                await self._all_done.wait()
            await self._actor.drain()
        self._is_leaving = True
        handed_back = len(self._calls)
        for call in self._calls.values():
            call.cancel()
        self._mesh.leave()
        _log.info("actor_drained", handed_back=handed_back)

    def _wake(self, nursery: trio.Nursery) -> None:
        self._woken += 1
        if self._standing:
            trio.lowlevel.reschedule(self._standing.pop())
        else:
            nursery.start_soon(self._stand, nursery)

    async def _stand(self, nursery: trio.Nursery) -> None:
        """Answer requests, one after another."""
        task = trio.lowlevel.current_task()

        def leave(_: Any) -> trio.lowlevel.Abort:
            self._standing.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        self._woken -= 1
        while True:
            with trio.CancelScope() as scope:  # lasts until a request is cancelled: one for each takes 5 µs of 12
                is_cancelled = False
                while not is_cancelled:
                    if self._taken:
                        is_cancelled = await self._answer_next(scope, nursery)
                    elif len(self._standing) < _MAX_STANDING:
                        self._standing.append(task)
                        await trio.lowlevel.wait_task_rescheduled(leave)
                        self._woken -= 1
                    else:
                        return

    async def _answer_next(self, scope: trio.CancelScope, nursery: trio.Nursery) -> bool:
        """Answer the oldest request that no task has begun to answer, and return whether it was cancelled."""
        call, frame = self._taken.popleft()
        waiting = len(self._calls) - len(self._taken)  # handlers, with this one, which may
        for _ in range(min(len(self._taken), waiting) - self._woken):
            self._wake(nursery)
        answer: Body | None = None
        is_done = call.is_cancelled
        try:
            if not is_done:
                call.scope = scope
                begin_answering(call)
                if self._limiter is None:
                    answer = await self._handle(call.header, frame[HEADER_BYTES:])
                else:
                    async with self._limiter:
                        answer = await self._handle(call.header, frame[HEADER_BYTES:])
                is_done = True
        finally:
            call.scope = None
            del self._calls[call.header.id]
            if not self._calls:
                self._all_done.set()
            # A request that is handed back is answered by another actor, and nothing is when everything ends.
            if (is_done or call.is_cancelled) and not self._is_leaving:
                self._reply(call, answer)
        return call.is_cancelled

    def _reply(self, call: Call, answer: Body | None) -> None:
        if answer is None and call.has_expired:
            left_s = math.inf if call.header.time_left_ms == NO_DEADLINE_MS else call.header.time_left_ms / 1000
            limit_s = min(left_s, self._actor.time_limit_s)
            answer = errors.failure_of(errors.DeadlineError(f"not answered within {limit_s:g} s"))
        elif answer is None and call.cancel_reason:
            answer = errors.failure_of(errors.CancelledRequestError(call.cancel_reason))
        try:
            if answer is None:
                self._mesh.release(call)
                return
            self._mesh.reply(call, Kind.REPLY if isinstance(answer, Reply) else Kind.FAILURE, answer)
        except ProtocolError as error:
            failure = errors.failure_of(errors.InternalError(f"the answer does not fit the wire: {error}"))
            self._mesh.reply(call, Kind.FAILURE, failure)

    async def _handle(self, header: Header, body: bytes) -> Body:
        try:
            request = decode_body(body)
            handler = self._actor.handlers.get(type(request))  # type: ignore[arg-type]  # others have none
            if handler is None:
                raise errors.UnansweredError(f"{self._actor.role} does not answer {type(request).__name__}")
            if tracing.is_on():
                with tracing.answering(header, type(request).__name__):
                    reply: Reply = await handler(self._actor, request)
            else:
                reply = await handler(self._actor, request)
            expected = CODEC.register_reply(cast("type[Request[Reply]]", type(request)))
            if not isinstance(reply, expected):
                raise TypeError(f"{handler.__name__}: expected {expected.__name__}, got {type(reply).__name__}")
            return reply
        except errors.RequestError as error:
            _log.info("request_failed", code=error.code, reason=str(error))
            return errors.failure_of(error)
        except ProtocolError as error:
            return errors.failure_of(errors.RefusedError(f"{type(error).__name__}: {error}"))
        except (Exception, SystemExit) as error:  # the one place where it becomes a failure, and is logged
            _log.exception("handler_crashed")
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            failure = errors.InternalError(f"{self._actor.role}: {reason}")
            failure.is_outage = is_shortage(error)  # the request itself is not to blame, and may be sent again
            return errors.failure_of(failure)


def _whole(text: str) -> str:
    """Return a text without lone surrogates, which messages cannot carry."""
    return text.encode(errors="replace").decode()
