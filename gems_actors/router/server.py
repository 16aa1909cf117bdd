"""The process that every actor and client connects to: ROUTER sockets around the dispatcher.

Processes of this host connect by ipc, where access to the folder grants every permission. With keys, other hosts
connect to a separate socket that reports the key of each message. The router decodes headers, and only those bodies
that belong to the link or are addressed to it; it carries any role name that fits a header, and needs no list of
roles. It keeps nothing on disk: after a restart it learns from its peers what they hold and what they wait for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog
import trio
import zmq
from msgspec import structs

from gems_actors import __version__
from gems_actors.beats import seconds_to_beat
from gems_actors.config import NO_KEYS, RouterConfig, SecurityConfig
from gems_actors.errors import ForbiddenError, OverloadedError, RefusedError, RequestError, failure_of
from gems_actors.ops import tracing
from gems_actors.ops.log_setup import RateLimitedLog
from gems_actors.roles import BUILT_IN_ROLES, RoleSpec
from gems_actors.router.dispatcher import Dispatcher
from gems_actors.security.permissions import Permissions
from gems_actors.security.sessions import Sessions
from gems_actors.security.zap import ALLOW_LIST_POLL_S, ZapAuthenticator
from gems_actors.shards import role_of_shard, to_shard
from gems_actors.transport.bind import CurveSocket, open_sockets
from gems_actors.transport.links import Link, Message
from gems_actors.transport.memory_watch import MemoryWatch
from protocol import messages as m
from protocol.codec import decode_body, encode_message, frame_of
from protocol.envelope import HEADER_BYTES, Header, Kind, unpack_header
from protocol.errors import BodyError, FrameError, ProtocolError
from protocol.identity import run_bytes
from protocol.limits import MAX_FRAME_BYTES, MAX_SHARDS

_TICK_S = 0.1
_WITH_KEY = b"\xff"
"""Prefix of identities of remote peers, which separates them from local ones; no UTF-8 text starts with it."""

_log = structlog.get_logger()


async def serve_router(
    addresses: list[str],
    settings: RouterConfig,
    shards: int = 1,
    security: SecurityConfig = NO_KEYS,
    roles: Mapping[str, RoleSpec] = BUILT_IN_ROLES,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Route until cancelled.

    The addresses, `ipc://PATH` and `tcp://HOST:PORT`, are bound before the task reports started. The declared roles
    matter for permissions and pausing; requests to other role names are routed too.

    Raises:
        AddressInUseError: another process listens at an address.
        ConfigError: an address cannot be bound, or needs keys; or a key cannot be used.
    """
    permissions = Permissions(roles)
    sockets = open_sockets(addresses, security, is_insecure=settings.insecure, permissions=permissions)
    with sockets as (socket, guarded):
        router = _Router(socket, settings, shards, _unstoppable(roles))
        if guarded is not None:
            router.guard(guarded, settings.max_requests_per_s)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(router.link.run)
                nursery.start_soon(router.run_clock)
                nursery.start_soon(MemoryWatch(addresses, router.links, MAX_FRAME_BYTES).run)
                if guarded is not None:
                    nursery.start_soon(router.run_guarded, guarded.authenticator)
                _log.info("router_listening", addresses=addresses, with_keys=guarded is not None)
                task_status.started()
        finally:
            router.close(linger_ms=200)


def _unstoppable(roles: Mapping[str, RoleSpec]) -> frozenset[str]:
    """Return the roles whose requests are handed out even while their run is paused or cancelled."""
    names = (spec.name for spec in roles.values() if spec.survives_pause and not spec.sharded)
    shards = map(role_of_shard, range(MAX_SHARDS if any(spec.sharded for spec in roles.values()) else 0))
    return frozenset((*names, *shards))


def series_of(version: str) -> str:
    """Return the part of a version that compatible processes share: `0.1` of `0.1.3`."""
    return ".".join(version.split(".")[:2])


class _Router:
    """Passes messages between the sockets and the dispatcher."""

    def __init__(
        self, socket: zmq.Socket[bytes], settings: RouterConfig, shards: int, unstoppable_roles: frozenset[str]
    ) -> None:
        self._shards = shards
        self._guarded: Link | None = None
        self._sessions = Sessions({}, 1, 0.0)
        self._rejections = RateLimitedLog(_log)
        self._dispatcher = Dispatcher(
            settings,
            os.urandom(8).hex(),
            time.monotonic(),
            unstoppable_roles=unstoppable_roles,
            on_first_hand_out=tracing.note_queued if tracing.is_on() else None,
        )
        reads_bundles = self._dispatcher.reads_bundles
        self.link = Link(socket, self._take, self._undeliverable, cuts_deaf=True, reads_bundles=reads_bundles)
        self.link.in_flight = self._dispatcher.requests_in_flight
        self.links = [self.link]
        self._tick_s = min(_TICK_S, settings.heartbeat_s / 4)  # a tick that is a heartbeat late counts as a stall
        self._rest_s = settings.heartbeat_s / 2
        """Time between two ticks while no request is in flight."""
        self._rest: trio.CancelScope | None = None

    async def run_clock(self) -> None:
        while True:
            if self._dispatcher.requests_in_flight():
                await trio.sleep(self._tick_s)
            else:
                with trio.move_on_after(seconds_to_beat(self._rest_s)) as self._rest:
                    await trio.sleep_forever()
                self._rest = None
            self._dispatcher.tick(time.monotonic())
            self._send()

    def _end_rest(self) -> None:
        """Tick as often as requests need it: deadlines must not wait for a rest to end."""
        if self._rest is not None and self._dispatcher.requests_in_flight():
            self._rest.deadline = trio.current_time() + self._tick_s
            self._rest = None

    def guard(self, guarded: CurveSocket, max_requests_per_s: int) -> None:
        """Serve peers with keys too, once `run_guarded` runs."""
        self._sessions = Sessions(guarded.authenticator.allowed, max_requests_per_s, time.monotonic())
        self._guarded = Link(
            guarded.socket,
            self._take_from_keys,
            self._undeliverable_to_key,
            has_users=True,
            cuts_deaf=True,
            reads_bundles=lambda routing_id: self._dispatcher.reads_bundles(_WITH_KEY + routing_id),
        )
        self._guarded.in_flight = self._dispatcher.requests_in_flight
        self.links.append(self._guarded)

    async def run_guarded(self, authenticator: ZapAuthenticator) -> None:
        """Serve peers with keys, by an allow list that may change."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(authenticator.run)
            nursery.start_soon(self.links[-1].run)
            while True:
                await trio.sleep(ALLOW_LIST_POLL_S)
                if authenticator.reload():
                    self._sessions.replace_allow_list(authenticator.allowed)
                    for identity in self._sessions.no_longer_allowed(self._dispatcher.role_of):
                        self._dispatcher.disconnect(time.monotonic(), identity, "its key was revoked")
                    self._send()
                self._sessions.forget_strays(self._dispatcher.role_of)

    def close(self, linger_ms: int) -> None:
        """Close the sockets after at most `linger_ms` to send what is queued."""
        self.link.close(linger_ms)
        if self._guarded is not None:
            self._guarded.close(linger_ms)

    def _take(self, batch: list[Message]) -> None:
        now = time.monotonic()
        self._dispatcher.notice_stall(now)
        for identity, frame in batch:
            try:
                self._dispatch(now, identity, unpack_header(frame), frame)
            except ProtocolError as error:
                self._answer_unreadable(identity, frame, error)
        self._send()

    def _take_from_keys(self, batch: list[Message]) -> None:
        now = time.monotonic()
        self._dispatcher.notice_stall(now)
        for routing_id, frame, key in batch:
            identity, user = _WITH_KEY + routing_id, key.decode()
            if not self._sessions.claim(identity, user):
                self._rejections.warning("identity_taken_already", peer=identity.hex(), key=user)
                continue
            try:
                header = unpack_header(frame)
                try:
                    self._sessions.check(now, user, header, frame[HEADER_BYTES:])
                    self._dispatch(now, identity, header, frame)
                except (ForbiddenError, OverloadedError) as error:
                    self._refuse(identity, header.id, error)
            except ProtocolError as error:
                self._answer_unreadable(identity, frame, error)
        self._send()

    def _dispatch(self, now: float, identity: bytes, header: Header, frame: bytes) -> None:
        kind = header.kind
        if kind is Kind.REPLY or kind is Kind.FAILURE:
            self._dispatcher.answer(now, identity, header, frame)
        elif kind is Kind.EVENT:
            self._dispatcher.event(now, identity, header, frame)
        elif kind is not Kind.REQUEST:
            self._take_link(now, identity, header, frame[HEADER_BYTES:])
        elif header.role == "router":
            self._answer(now, identity, header, frame[HEADER_BYTES:])
        elif not header.role:
            raise FrameError("expected a request that names a role, got none")
        else:
            to = to_shard(header, self._shards)
            if to is not header:
                frame = frame_of(to, frame[HEADER_BYTES:])
            self._dispatcher.request(now, identity, to, frame)

    def _take_link(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        dispatcher = self._dispatcher
        match header.kind, decode_body(body):
            case Kind.HELLO, m.Hello() as hello if series_of(hello.version) in ("", series_of(__version__)):
                if identity in self._sessions and not self._sessions.may_relay_run_states(identity):
                    hello = structs.replace(hello, run_states=())
                dispatcher.hello(now, identity, header.role, hello, key=self._sessions.owner_of(identity))
            case Kind.HELLO, m.Hello() as hello:
                reason = f"expected gems-actors {__version__}, got {hello.version}"
                self._refuse(identity, bytes(16), RefusedError(reason))
            case Kind.HEARTBEAT, m.Heartbeat() as beat:
                dispatcher.heartbeat(now, identity, beat)
            case Kind.CAPACITY, m.Capacity(capacity=capacity):
                dispatcher.capacity(now, identity, capacity)
            case Kind.CANCEL, m.Cancel() as cancel:
                dispatcher.cancel(now, identity, header.id, cancel)
            case Kind.SUBSCRIBE, m.Subscribe():
                dispatcher.subscribe(now, identity, header.run)
            case Kind.GOODBYE, m.Goodbye():
                dispatcher.disconnect(now, identity)
            case kind, other:
                raise BodyError(f"{kind.name}: expected the body of that kind, got {type(other).__name__}")

    def _answer(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        """Answer a request to the router itself."""
        match decode_body(body):
            case m.ReadStatus():
                reply = self._dispatcher.status(now)
                self._post(identity, encode_message(structs.replace(header, kind=Kind.REPLY), reply))
            case m.ReportLoss(name=name, how=how):
                self._dispatcher.report_dead(now, name, how)
                self._post(identity, encode_message(structs.replace(header, kind=Kind.REPLY), m.Noted()))
            case m.ControlRun() as request:
                trajectory = None if request.trajectory is None else bytes.fromhex(request.trajectory)
                try:
                    done = self._dispatcher.control(
                        now,
                        run_bytes(request.run),
                        trajectory,
                        request.action,
                        request.by,
                        self._sessions.owner_of(identity) or identity,
                    )
                except OverloadedError as error:
                    self._refuse(identity, header.id, error)
                    return
                what = {"run": request.run, "trajectory": request.trajectory}
                _log.info("run_controlled", **what, action=request.action, by=request.by)
                self._send()  # all peers know before the client gets the reply
                self._post(identity, encode_message(structs.replace(header, kind=Kind.REPLY), done))
            case other:
                raise BodyError(f"a router does not answer {type(other).__name__}")

    def _answer_unreadable(self, identity: bytes, frame: bytes, error: ProtocolError) -> None:
        id_ = frame[12:28].ljust(16, b"\0")  # every version of the header has the id here
        self._refuse(identity, id_, RefusedError(f"{type(error).__name__}: {error}"))

    def _refuse(self, identity: bytes, id_: bytes, error: RequestError) -> None:
        """Refuse a request or, with an id of zeros, a process that says hello."""
        self._rejections.warning("message_refused", peer=identity.hex(), reason=str(error))
        self._post(identity, encode_message(Header(Kind.FAILURE, id_), failure_of(error)))

    def _send(self) -> None:
        self._end_rest()
        messages = self._dispatcher.outbox.take()
        if self._guarded is None:
            self.link.send_all(messages)
        else:
            for identity, frame in messages:
                self._post(identity, frame)

    def _post(self, identity: bytes, frame: bytes) -> None:
        if identity not in self._sessions:
            self.link.send(identity, frame)
        elif self._guarded is None or not self._sessions.is_reachable(identity):
            self._undeliverable([identity, frame])
        else:
            self._guarded.send(identity[len(_WITH_KEY) :], frame)

    def _undeliverable_to_key(self, message: Message) -> None:
        self._undeliverable([_WITH_KEY + message[0], message[1]])

    def _undeliverable(self, message: Message) -> None:
        identity, frame = message
        with suppress(ProtocolError):
            self._dispatcher.undeliverable(time.monotonic(), identity, unpack_header(frame))
            self._send()
