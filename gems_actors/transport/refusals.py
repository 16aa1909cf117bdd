"""Why a router refuses a connection: libzmq tries again for ever, and says so only to a socket's monitor."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import trio
import zmq
from zmq.utils.monitor import parse_monitor_message

from gems_actors.transport.sockets import HANDSHAKE_S

_SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f\x03"
"""What a ZMTP 3 peer sends first; it makes the other side send its greeting."""
_MECHANISM = slice(12, 32)
"""Place of the security mechanism in a greeting of ZMTP 3.1, padded with zeros."""


async def await_refusal(socket: zmq.Socket[bytes]) -> str:
    """Wait until the peer of a DEALER over tcp refuses the handshake, and return the reason as text."""
    monitor: zmq.Socket[bytes] = socket.get_monitor_socket()
    descriptor = cast(int, monitor.getsockopt(zmq.FD))
    while True:
        try:
            event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            await trio.lowlevel.wait_readable(descriptor)  # rule 1
            continue
        if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return "it does not admit this key"
        if event["value"] == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH or await _has_other_mechanism(socket, event):
            return "one side has keys and the other none"


async def _has_other_mechanism(socket: zmq.Socket[bytes], event: Mapping[str, Any]) -> bool:
    """Return whether the peer of a failed handshake names another mechanism than ours in its greeting.

    A peer that notices the mismatch first may close the connection before libzmq has read why, so this asks again.
    """
    if event["event"] != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return False
    host, _, port = event["endpoint"].decode().removeprefix("tcp://").rpartition(":")
    greeting = b""
    with trio.move_on_after(HANDSHAKE_S), suppress(OSError, trio.BrokenResourceError):
        async with await trio.open_tcp_stream(host.strip("[]"), int(port)) as stream:
            await stream.send_all(_SIGNATURE)
            while len(greeting) < _MECHANISM.stop and (more := await stream.receive_some()):
                greeting += more
    others = b"NULL" if socket.getsockopt(zmq.MECHANISM) == zmq.CURVE else b"CURVE"
    return greeting.startswith(b"\xff") and greeting[_MECHANISM].rstrip(b"\0") == others
