"""Fast ZeroMQ sockets for trio: incoming batches, an outbox, and no await per message.

libzmq's file descriptor is edge-triggered in effect: it turns readable when a command lands in the socket's mailbox,
and any call on the socket may consume that command. These rules each prevent a lost wake-up:

1. Wait on the descriptor only directly after a receive that returned EAGAIN, or after the socket's events showed
   nothing to read, with no other call and no await in between.
2. Readable means "look again"; there may be nothing to read, and a blocked sender waits for it too.
3. A send may consume the edge that the receiver waits for, so after sending check whether something is readable and,
   if so, receive it at once. A receiver that stops before EAGAIN, as in a flood, continues after other tasks ran.
4. One task waits on the descriptor; the function that takes a batch neither awaits nor raises.

`recv` and `send` are the bare calls of pyzmq's backend, 0.2 µs each where `send_multipart` takes 1 µs a frame.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import trio
import zmq
from zmq.backend import Socket as _BareSocket

from gems_actors.errors import UsageError
from gems_actors.security.keys import ConnectingKeys, KeyPair
from gems_actors.security.zap import DOMAIN
from protocol.limits import MAX_FRAME_BYTES

Message = list[bytes]
"""From a ROUTER the sender's identity, its frame and, if keys are required, its key; from a DEALER only the frame."""

_NOBLOCK, _SNDMORE, _RCVMORE, _EVENTS, _POLLIN = 1, 2, int(zmq.RCVMORE), int(zmq.EVENTS), int(zmq.POLLIN)
_ORIGIN = int(zmq.SRCFD)
_BATCH = 512
_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes after which a batch is passed on; without it, 512 large messages would be in memory twice."""
_MAX_IDENTITY_BYTES = 255
"""Limit of the protocol. libzmq does not keep peers to it, and copies the identity for each message."""
_FRAMING_BYTES = 9
_MAX_EXTRA_PARTS, _PART_BYTES = 16, 64 * 1024
"""Parts beyond the frame after which a peer is disconnected, and what each dropped one counts for in a batch."""
MAX_EXPLAINED_BYTES = 4 * 1024 * 1024
"""How much too long a message may be for its peer to be told why it is refused."""
HANDSHAKE_S = 5.0
"""Time limit of a connection's handshake; half-open connections are closed after it."""
_REFUSALS = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
MAX_UNSENT = 100_000
"""Messages that wait for a router which does not read; beyond, sending fails. libzmq knows no limit in bytes."""
MAX_UNSENT_BY_ROUTER = 10_000
"""Messages to a peer that does not read, by default: twice what a client may have in flight with default settings."""
_FULL_S = 0.5
"""Time without room for an answer after which a peer that sends on is disconnected."""
_RETRY_S = 0.05
"""Longest time to the next attempt to send at the high-water mark, or before the connection is established."""


class _Context(zmq.Context[zmq.Socket[bytes]]):
    """A context that the garbage collector ends at once, with all of its sockets.

    pyzmq's own refers to its sockets weakly. The collector clears such references before it ends a context, which then
    waits forever for sockets that nobody can close any more.
    """

    held: list[zmq.Socket[bytes]]
    """All sockets that it has opened and that may be open."""

    def socket(self, *arguments: Any, **options: Any) -> zmq.Socket[bytes]:
        socket = super().socket(*arguments, **options)
        self.held.append(socket)
        return socket

    def term(self) -> None:
        super().term()
        self.held.clear()

    def __del__(self) -> None:
        """Close what its owner left open; an interpreter that exits leaves that to the system."""
        if not sys.is_finalizing() and not self.closed:
            for socket in self.held:
                socket.close(0)
            self.term()


def open_context(io_threads: int = 1) -> zmq.Context[zmq.Socket[bytes]]:
    """Return a context that the caller must terminate or destroy; one that is forgotten cannot block the process."""
    context = _Context(io_threads)
    context.held = []
    return context


def require_trio(what: str) -> None:
    """Check that the caller runs under trio, before anything is opened that only trio could close.

    Raises:
        UsageError: it runs under another event loop, or under none.
    """
    if trio.lowlevel.in_trio_task():
        return
    asyncio = sys.modules.get("asyncio")
    found = "no event loop"
    if asyncio is not None:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            found = "asyncio"
    raise UsageError(
        f"{what}: expected to run under trio, got {found}; call it from a function that trio.run starts: under "
        "asyncio, await asyncio.to_thread(trio.run, function)"
    )


def open_dealer(
    context: zmq.Context[zmq.Socket[bytes]],
    address: str,
    identity: bytes,
    keys: ConnectingKeys | None = None,
    *,
    max_frame_bytes: int = MAX_FRAME_BYTES,
) -> zmq.Socket[bytes]:
    """Return a DEALER that connects, and reconnects, to a router's address; with keys if the router requires them.

    The identity must be unique and hard to guess. The caller must destroy the context, which also closes the
    connection's monitor.

    Raises:
        zmq.ZMQError: the address is invalid.
    """
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, identity)
    socket.setsockopt(zmq.IMMEDIATE, 1)  # no messages queue up for a router that is down
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    # On one host, the client waits for a mesh that starts: polling each half second took a quarter of a draw's time.
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 50 if address.startswith("ipc:") else 500)
    _set_common(socket, max_frame_bytes)
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.router)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
    if address.startswith("tcp:"):
        socket.get_monitor_socket(_REFUSALS)  # for `await_refusal`; must exist before a refusal can arrive
    try:
        socket.connect(address)
    except zmq.ZMQError:
        socket.close()  # otherwise the context could never be terminated
        raise
    return socket


def open_router(
    context: zmq.Context[zmq.Socket[bytes]],
    keys: KeyPair | None = None,
    *,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    max_unsent: int = MAX_UNSENT_BY_ROUTER,
) -> zmq.Socket[bytes]:
    """Return a ROUTER that reports unreachable peers, and lets a peer that reconnects replace its old connection.

    With keys it admits only peers that the `ZapAuthenticator` of its context does. It then uses a separate I/O thread,
    so that strangers do not slow down the other sockets; the context must have two.
    """
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(HANDSHAKE_S * 1000))
    socket.setsockopt(zmq.AFFINITY, 0b01 if keys is None else 0b10)
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # admit no peer without an authenticator; libzmq would admit all
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    socket.setsockopt(zmq.BACKLOG, 4096)  # with libzmq's 100 a burst of connections stalls a second
    _set_common(socket, max_frame_bytes)
    socket.setsockopt(zmq.SNDHWM, max_unsent)
    # libzmq 4.3.5 aborts the process if it sends a heartbeat, or answers one, on a connection that has ended while its
    # input was stopped, as it is at the high-water mark or after a handover. So a ROUTER has no mark for what arrives,
    # which `memory_watch` bounds, and sends no heartbeats: those of the peers and of tcp find hosts that are gone.
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 4)
    return socket


def _set_common(socket: zmq.Socket[bytes], max_frame_bytes: int) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    # Beyond, libzmq drops the peer; below, we say why.
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes + MAX_EXPLAINED_BYTES)
    socket.setsockopt(zmq.SNDHWM, MAX_UNSENT)
    socket.setsockopt(zmq.RCVHWM, 100_000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 2_000)  # detects a host that is gone; our own heartbeats, a loop that hangs
    # A large frame on a slow line delays heartbeats: the timeout allows for one at 1 MB/s.
    timeout_ms = max(6_000, max_frame_bytes // 1_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, timeout_ms)
    socket.setsockopt(zmq.HEARTBEAT_TTL, timeout_ms)  # after which the other side closes a connection that is silent


class Link:
    """One socket used by one event loop."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Callable[[list[Message]], None],
        undeliverable: Callable[[Message], None] | None = None,
        *,
        has_users: bool = False,
        cuts_deaf: bool = False,
    ) -> None:
        """Wrap a socket; `take`, called with each batch that arrives, neither awaits nor raises.

        For a ROUTER, `undeliverable` is called with each message whose peer is gone or has stopped reading, and
        `has_users` means that it has keys: its messages include the sender's. With `cuts_deaf`, a peer that sends on
        although it does not read is an offender.
        """
        self._socket = socket
        self._descriptor = cast(int, socket.getsockopt(zmq.FD))
        self._recv = cast(Callable[[int], bytes], _BareSocket.recv.__get__(socket))
        self._recv_frame = cast(Callable[[int, bool], zmq.Frame], _BareSocket.recv.__get__(socket))
        self._send = cast(Callable[[bytes, int], None], _BareSocket.send.__get__(socket))
        self._get = cast(Callable[[int], int], _BareSocket.get.__get__(socket))
        self._is_router = socket.getsockopt(zmq.TYPE) == zmq.ROUTER
        self._has_users, self._cuts_deaf = has_users, cuts_deaf
        self._take = take
        self._undeliverable = undeliverable
        self._queue: deque[Message] = deque()
        self._sender: trio.lowlevel.Task | None = None
        self._woken = trio.Event()
        self._is_taking = False
        self._is_behind = False
        """The last receive filled a batch, so more may be waiting that the descriptor does not signal."""
        self.origins: dict[int, int] | None = None
        """Bytes received by descriptor of their connection, counted while a dict is set; counting has its cost."""
        self.offenders: set[int] = set()
        """Descriptors of connections whose peers break the rules of the wire in a way that costs us."""
        self._full_since: dict[bytes, float] = {}
        """Peers of a ROUTER that have had no room for an answer since then."""
        self._offending: set[bytes] = set()
        """Those of them that send on for too long; their connections are to be cut."""
        self._dropped: set[bytes] = set()
        """Peers whose connection was cut, and of whom more may wait that had arrived before."""

    def drop_offenders(self) -> None:
        """Note that the connections of all offenders were cut: what has arrived from them is not passed on."""
        for peer in self._offending:
            self._full_since.pop(peer, None)
        self._dropped |= self._offending
        self._offending.clear()
        self.offenders.clear()

    def send(self, *frames: bytes) -> None:
        """Queue a message; it is sent within this pass of the scheduler, together with all others of the pass."""
        self._queue.append(list(frames))
        if not self._is_taking:
            self._wake_sender()

    def _wake_sender(self) -> None:
        if self._sender is not None:
            task, self._sender = self._sender, None
            trio.lowlevel.reschedule(task)

    def try_send(self, identity: bytes, frame: bytes) -> bool:
        """Send a message of a ROUTER at once, and return whether its peer had room for it; not for use in `take`.

        Raises:
            trio.BrokenResourceError: the peer is gone.
        """
        try:
            self._send(identity, _NOBLOCK | _SNDMORE)
            self._send(frame, _NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno == zmq.EAGAIN:
                return False
            if error.errno == zmq.EHOSTUNREACH:
                raise trio.BrokenResourceError("the peer is gone") from error
            raise
        finally:
            self._flush()  # rule 3, which within `take` nobody would keep
        return True

    async def wait_for_room(self) -> None:
        """Return when a peer that had no room may have some: when the socket wakes, or after 50 ms."""
        if self._woken.is_set():
            self._woken = trio.Event()
        with trio.move_on_after(_RETRY_S):
            await self._woken.wait()

    def receive_batch(self) -> bool:
        """Receive a batch if something has arrived, and return whether that was everything."""
        self._flush()
        return not self._is_behind

    @property
    def unsent(self) -> int:
        """Number of messages that wait for a connection or for the peer to read."""
        return len(self._queue)

    async def run(self) -> None:
        """Send and receive until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run_sender)
            while True:
                self._receive()
                if self._queue and self._sender is not None:
                    self._flush()  # answers to the batch leave at once, without a turn of the scheduler
                    if self._queue:
                        self._wake_sender()
                if self._is_behind:
                    await trio.lowlevel.checkpoint()  # let other tasks run, and more messages arrive
                else:
                    await trio.lowlevel.wait_readable(self._descriptor)  # rule 1
                    self._woken.set()

    async def catch_up(self) -> None:
        """Return when everything that has arrived was passed on."""
        self._receive()
        while self._is_behind:
            await trio.lowlevel.checkpoint()
            self._receive()

    def discard_unsent(self) -> None:
        """Drop the messages that are queued."""
        self._queue.clear()

    async def flush(self) -> None:
        """Return when everything queued has been handed to libzmq."""
        while self._queue:
            self._flush()
            if self._queue:
                await trio.sleep(_RETRY_S)
        await trio.lowlevel.checkpoint()

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket after at most `linger_ms` to send queued messages, such as those of cancelled tasks."""
        self._send_queued()
        trio.lowlevel.notify_closing(self._descriptor)
        self._socket.close(linger_ms)

    async def run_sender(self) -> None:
        """Send until cancelled; `run` includes this."""

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._sender = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            if not self._queue and not self._is_behind:
                self._sender = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(abort)
            is_blocked = self._flush()
            if self._is_behind or (self._queue and not is_blocked):
                await trio.lowlevel.checkpoint()  # more was queued or received meanwhile
            elif self._queue:
                self._woken = trio.Event()
                with trio.move_on_after(_RETRY_S):
                    await self._woken.wait()

    def _flush(self) -> bool:
        """Send what is queued, and receive what arrived; return whether sending is blocked."""
        is_blocked = self._send_queued()
        if not self._is_taking:
            if self._get(_EVENTS) & _POLLIN:  # rule 3
                self._receive()
                if self._is_behind:
                    self._wake_sender()
            else:
                self._is_behind = False
        return is_blocked

    def _send_queued(self) -> bool:
        """Send what is queued; return True if the socket is blocked for sending."""
        while self._queue:
            message = self._queue[0]
            try:
                if self._is_router:
                    self._send(message[0], _NOBLOCK | _SNDMORE)
                    self._send(message[1], _NOBLOCK)
                else:
                    self._send(message[0], _NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno == zmq.EAGAIN and not self._is_router:
                    return True
                if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                    raise
                if error.errno == zmq.EAGAIN and self._cuts_deaf:
                    self._full_since.setdefault(message[0], time.monotonic())
                if self._undeliverable is not None:
                    self._undeliverable(message)
            else:
                if self._full_since:
                    self._full_since.pop(message[0], None)
            self._queue.popleft()
        return False

    def _receive(self) -> None:
        """Receive up to one batch and pass it on."""
        batch: list[Message] = []
        self._is_behind = True
        needs_frames = self._has_users or self.origins is not None or self._full_since or self._dropped
        fill = self._fill_with_frames if needs_frames and self._is_router else self._fill_plainly
        try:
            fill(batch)
        except zmq.Again:
            self._is_behind = False
            self._dropped.clear()
        self._woken.set()
        if batch:
            self._is_taking = True
            try:
                self._take(batch)
            finally:
                self._is_taking = False

    def _sends_without_reading(self, peer: bytes) -> bool:
        since = self._full_since.get(peer)
        return since is not None and time.monotonic() - since >= _FULL_S

    def _fill_plainly(self, batch: list[Message]) -> None:
        recv, get, room = self._recv, self._get, _BATCH_BYTES
        while room > 0 and len(batch) < _BATCH:
            message = [recv(_NOBLOCK)]
            if self._is_router:
                if len(message[0]) > _MAX_IDENTITY_BYTES:
                    self._drop_message(self._recv_frame(_NOBLOCK, False))
                    room -= len(message[0])
                    continue
                message.append(recv(_NOBLOCK))
            room -= len(message[-1])
            if get(_RCVMORE):
                room -= self._drop_parts()
            batch.append(message)

    def _fill_with_frames(self, batch: list[Message]) -> None:
        """Receive messages of a ROUTER as `Frame` objects, which is slower: only they have key and connection."""
        recv, recv_frame, get, room = self._recv, self._recv_frame, self._get, _BATCH_BYTES
        while room > 0 and len(batch) < _BATCH:
            identity, frame = recv(_NOBLOCK), recv_frame(_NOBLOCK, False)
            if len(identity) > _MAX_IDENTITY_BYTES:
                self._drop_message(frame)
                room -= len(identity)
                continue
            if self._full_since and self._sends_without_reading(identity):
                self._offending.add(identity)
                self.offenders.add(frame.get(_ORIGIN))
            if identity in self._offending or identity in self._dropped:
                room -= len(frame) + self._drop_parts()
                continue
            message = [identity, frame.bytes]
            if self.origins is not None:
                origin = frame.get(_ORIGIN)
                self.origins[origin] = self.origins.get(origin, 0) + len(message[1]) + _FRAMING_BYTES
            if self._has_users:
                message.append(str(frame.get("User-Id")).encode())
            room -= len(message[1])
            if get(_RCVMORE):
                room -= self._drop_parts()
            batch.append(message)

    def _drop_message(self, frame: zmq.Frame) -> None:
        """Drop the rest of a message, and note its connection."""
        self.offenders.add(frame.get(_ORIGIN))
        while self._get(_RCVMORE):
            self._recv(_NOBLOCK)

    def _drop_parts(self) -> int:
        """Drop further parts: a message is one frame. Returns the bytes that they count for in a batch."""
        count = 0
        while self._get(_RCVMORE):
            count += 1
            if count == _MAX_EXTRA_PARTS:
                self.offenders.add(self._recv_frame(_NOBLOCK, False).get(_ORIGIN))
            else:
                self._recv(_NOBLOCK)
        return count * _PART_BYTES
