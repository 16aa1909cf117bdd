"""Opens ZeroMQ sockets with the options that a mesh needs: contexts, DEALERs that reconnect, and bounded ROUTERs."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import trio
import zmq

from gems_actors.errors import UsageError
from gems_actors.security.keys import ConnectingKeys, KeyPair
from gems_actors.security.zap import DOMAIN
from protocol.limits import MAX_FRAME_BYTES

MAX_EXPLAINED_BYTES = 4 * 1024 * 1024
"""How much too long a message may be for its peer to be told why it is refused."""
HANDSHAKE_S = 5.0
"""Time limit of a connection's handshake; half-open connections are closed after it."""
_REFUSALS = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
MAX_UNSENT = 100_000
"""Messages that wait for a router which does not read; beyond, sending fails. libzmq knows no limit in bytes."""
MAX_UNSENT_BY_ROUTER = 10_000
"""Messages to a peer that does not read, by default: twice what a client may have in flight with default settings."""


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
    if address.startswith("ipc:"):  # no host can go away in between, and pings wake both sides' threads for nothing
        socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
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
