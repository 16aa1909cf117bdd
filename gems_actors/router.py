"""The process that every actor and client connects to: one ROUTER socket round the dispatcher.

It reads headers and opens no body but the link's own and those addressed to it. It keeps nothing on disk: killed and
started again, it learns from its peers what they hold and what they wait for.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog
import trio
import zmq

from gems_actors import __version__
from gems_actors.config import RouterConfig
from gems_actors.dispatcher import Dispatcher, DispatchLimits
from gems_actors.errors import AddressInUseError, ConfigError, RefusedError, failure_of
from gems_actors.locks import LockHeldError, hold_lock
from gems_actors.places import MAX_IPC_PATH_BYTES
from gems_actors.shards import role_of_shard, to_shard
from gems_actors.sockets import Link, Message, open_router
from protocol.codec import decode_body, encode_message, frame_of
from protocol.envelope import HEADER_BYTES, Header, Kind, unpack_header
from protocol.errors import BodyError, FrameError, ProtocolError
from protocol.identity import run_bytes
from protocol.limits import MAX_SHARDS
from protocol.messages import (
    Cancel,
    Capacity,
    ControlRun,
    Goodbye,
    Heartbeat,
    Hello,
    Noted,
    ReadStatus,
    ReportLoss,
    Subscribe,
)

_TICK_S = 0.1
_UNSTOPPABLE_ROLES = frozenset(map(role_of_shard, range(MAX_SHARDS)))
"""What was drawn before a run was paused or cancelled is still kept, and it can be asked how far it came."""

_log = structlog.get_logger()


async def serve_router(
    addresses: list[str],
    settings: RouterConfig,
    shards: int = 1,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Route until cancelled.

    Args:
        addresses: `ipc://PATH` and `tcp://HOST:PORT`, all of them bound before the task reports started.
        settings: patience and limits.
        shards: of memory; each is the home of some trajectories.

    Raises:
        AddressInUseError: somebody listens at an address already.
        ConfigError: an address cannot be listened at at all.
    """
    limits = DispatchLimits(
        settings.heartbeat_s, settings.silence_s, settings.max_queue, settings.max_deliveries, _UNSTOPPABLE_ROLES
    )
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with ExitStack() as stack:
        stack.callback(context.term)
        socket = open_router(context)
        stack.callback(socket.close)  # before the context ends, which waits for it
        for address in addresses:
            listen(socket, address, stack)
        router = _Router(socket, limits, shards)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(router.link.run)
                nursery.start_soon(router.run_clock)
                _log.info("router_listening", addresses=addresses)
                task_status.started()
        finally:
            router.link.close(linger_ms=200)


def listen(socket: zmq.Socket[bytes], address: str, stack: ExitStack) -> None:
    """Listen at an address; for ipc also hold a lock, because libzmq takes a socket file over without a word.

    Raises:
        AddressInUseError: somebody listens there already.
        ConfigError: it cannot be listened at at all.
    """
    if address.startswith("ipc://"):
        _hold_ipc(Path(address.removeprefix("ipc://")), stack)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise AddressInUseError(f"{address}: expected a free address, came one that is taken") from error
        raise ConfigError(f"{address}: expected an address to listen at: {error.strerror}") from error


def _hold_ipc(path: Path, stack: ExitStack) -> None:
    if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
        raise ConfigError(f"{path}: expected a path of at most {MAX_IPC_PATH_BYTES} bytes for an ipc socket")
    try:
        stack.enter_context(hold_lock(path.with_suffix(".lock")))
    except LockHeldError as error:
        raise AddressInUseError(f"ipc://{path}: expected a free address, came one that is taken, {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: expected a writable folder for the socket: {error.strerror}") from error


def series_of(version: str) -> str:
    """Return what of a version two processes have to share to understand each other: `0.1` of `0.1.3`."""
    return ".".join(version.split(".")[:2])


class _Router:
    """Messages in, the dispatcher's answers out."""

    def __init__(self, socket: zmq.Socket[bytes], limits: DispatchLimits, shards: int) -> None:
        self.link = Link(socket, self._take, self._refused)
        self._shards = shards
        self._dispatcher = Dispatcher(limits, os.urandom(8).hex(), time.monotonic())
        self._tick_s = min(_TICK_S, limits.heartbeat_s / 4)  # a tick later than a heartbeat is taken for a stall

    async def run_clock(self) -> None:
        while True:
            await trio.sleep(self._tick_s)
            self._dispatcher.tick(time.monotonic())
            self._send()

    def _take(self, batch: list[Message]) -> None:
        now = time.monotonic()
        for identity, frame in batch:
            try:
                self._dispatch(now, identity, unpack_header(frame), frame[HEADER_BYTES:])
            except ProtocolError as error:
                self._answer_unreadable(identity, frame, error)
        self._send()

    def _dispatch(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        dispatcher = self._dispatcher
        match header.kind:
            case Kind.REQUEST if header.role == "router":
                self._answer(now, identity, header, body)
            case Kind.REQUEST if not header.role:
                raise FrameError("expected a request that names a role, came one for nobody")
            case Kind.REQUEST:
                dispatcher.request(now, identity, to_shard(header, self._shards), body)
            case Kind.REPLY | Kind.FAILURE:
                dispatcher.answer(now, identity, header, body)
            case Kind.EVENT:
                dispatcher.event(now, identity, header, body)
            case _:
                self._take_link(now, identity, header, body)

    def _take_link(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        dispatcher = self._dispatcher
        match header.kind, decode_body(body):
            case Kind.HELLO, Hello() as hello if series_of(hello.version) in ("", series_of(__version__)):
                dispatcher.hello(now, identity, header.role, hello)
            case Kind.HELLO, Hello() as hello:
                self._refuse(identity, bytes(16), f"expected gems-actors {__version__}, came {hello.version}")
            case Kind.HEARTBEAT, Heartbeat() as beat:
                dispatcher.heartbeat(now, identity, beat)
            case Kind.CAPACITY, Capacity(capacity=capacity):
                dispatcher.capacity(now, identity, capacity)
            case Kind.CANCEL, Cancel() as cancel:
                dispatcher.cancel(now, identity, header.id, cancel)
            case Kind.SUBSCRIBE, Subscribe():
                dispatcher.subscribe(now, identity, header.run)
            case Kind.GOODBYE, Goodbye():
                dispatcher.goodbye(now, identity)
            case kind, other:
                raise BodyError(f"a router expects no {type(other).__name__} in a message of kind {kind.name}")

    def _answer(self, now: float, identity: bytes, header: Header, body: bytes) -> None:
        """Answer what is asked of the router itself."""
        match decode_body(body):
            case ReadStatus():
                reply = self._dispatcher.status(now)
                self.link.send(identity, encode_message(header._replace(kind=Kind.REPLY), reply))
            case ReportLoss(name=name):
                self._dispatcher.loss(now, name)
                self.link.send(identity, encode_message(header._replace(kind=Kind.REPLY), Noted()))
            case ControlRun() as asked:
                trajectory = None if asked.trajectory is None else bytes.fromhex(asked.trajectory)
                done = self._dispatcher.control(now, run_bytes(asked.run), trajectory, asked.action, asked.by)
                _log.info(
                    "run_controlled", run=asked.run, trajectory=asked.trajectory, action=asked.action, by=asked.by
                )
                self._send()  # everybody knows before whoever asked is told
                self.link.send(identity, encode_message(header._replace(kind=Kind.REPLY), done))
            case other:
                raise BodyError(f"a router does not answer {type(other).__name__}")

    def _answer_unreadable(self, identity: bytes, frame: bytes, error: ProtocolError) -> None:
        id_ = frame[12:28].ljust(16, b"\0")  # where every version of the header has the id
        self._refuse(identity, id_, f"{type(error).__name__}: {error}")

    def _refuse(self, identity: bytes, id_: bytes, reason: str) -> None:
        """Refuse a request or, with an id of zeros, a process that says hello."""
        _log.warning("message_refused", peer=identity.hex(), reason=reason)
        self.link.send(identity, encode_message(Header(Kind.FAILURE, id_), failure_of(RefusedError(reason))))

    def _send(self) -> None:
        outgoing, self._dispatcher.outgoing = self._dispatcher.outgoing, []
        for identity, header, body in outgoing:
            try:
                self.link.send(identity, frame_of(header, body))
            except ProtocolError as error:  # an answer of ours that has outgrown the wire, such as a huge table
                _log.error("message_unsendable", peer=identity.hex(), kind=header.kind.name, reason=str(error))

    def _refused(self, message: Message) -> None:
        identity, frame = message
        with suppress(ProtocolError):
            self._dispatcher.refused(time.monotonic(), identity, unpack_header(frame))
            self._send()
