"""The fixed header in front of every body: all that a router needs, without msgpack.

`README.md` in this folder specifies the layout. A header is unpacked in one `struct` call. It holds no wall time,
because clocks of hosts differ, but the time that is left.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from functools import lru_cache

from msgspec import Struct

from protocol.errors import FrameError, TooLargeError, UnknownKindError, VersionError
from protocol.limits import MAX_FRAME_BYTES

WIRE_VERSION = 1
MAGIC = b"GA"
NO_DEADLINE_MS = 0xFFFFFFFF
"""`time_left_ms` of a request without a deadline."""

REPLY_START = MAGIC + bytes((WIRE_VERSION, 8))
"""How the frame of a reply begins: for its client, the id decides everything else."""

ROLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,15}")
"""Valid role names: 1 to 16 characters, which fit the header."""

_LAYOUT = struct.Struct(">2sBBBxHI16s16s8s16s16s8s")
_unpack_from = _LAYOUT.unpack_from
HEADER_BYTES = _LAYOUT.size
_HANDED_OUT = struct.Struct(">HI")
"""Attempt and time left, next to each other in the layout."""
_LANE_AT, _HANDED_OUT_AT = 4, 6
_ID = slice(12, 28)


class Kind(IntEnum):
    """The kind of a message. The router acts on it and decodes the body only where it must."""

    HELLO = 1
    WELCOME = 2
    HEARTBEAT = 3
    PULSE = 4
    CAPACITY = 5
    GOODBYE = 6
    REQUEST = 7
    REPLY = 8
    FAILURE = 9
    CANCEL = 10
    EVENT = 11
    SUBSCRIBE = 12
    HELLO_AGAIN = 13


class Lane(IntEnum):
    """The priority lane of a request: interactive requests are handed out before all bulk requests."""

    INTERACTIVE = 0
    BULK = 1


class Header(Struct, frozen=True, gc=False):  # made twice a hop, at a third of a NamedTuple's cost
    """The part of a message that every process decodes."""

    kind: Kind
    id: bytes = bytes(16)
    """Unique id of the request in all messages about it, chosen by the client: 16 bytes."""
    role: str = ""
    """Role that a request is for, or that the message concerns; may be empty."""
    lane: Lane = Lane.INTERACTIVE
    attempt: int = 0
    """Fencing number: how often the request has been handed out, 0 to 65,535; replies with an older number are dropped.
    A client sends 0, or 1 with a repeated request that an actor may already hold."""
    time_left_ms: int = NO_DEADLINE_MS
    trajectory: bytes = bytes(16)
    run: bytes = bytes(8)
    trace: bytes = bytes(16)
    """W3C trace id; zeros without a trace."""
    span: bytes = bytes(8)
    """W3C parent span id; zeros without a trace."""


_KINDS = {int(kind): kind for kind in Kind}
_STARTS = tuple(MAGIC + bytes((WIRE_VERSION, kind)) for kind in range(max(_KINDS) + 1))
"""How the frames of each kind begin."""
_LANES = (Lane.INTERACTIVE, Lane.BULK)


def pack_header(header: Header) -> bytes:
    """Return the header's 92 bytes.

    Raises:
        FrameError: a value does not fit its field.
    """
    id_, trajectory, run, trace, span = header.id, header.trajectory, header.run, header.trace, header.span
    if len(id_) != 16 or len(trajectory) != 16 or len(run) != 8:
        raise FrameError(f"expected ids of 16 bytes and a run of 8, got {header}")
    if len(trace) != 16 or len(span) != 8:
        raise FrameError(f"expected a trace of 16 bytes and a span of 8, got {header}")
    name, attempt = _bytes_of_role(header.role), header.attempt & 0xFFFF
    kind, lane, left_ms = header.kind, header.lane, header.time_left_ms
    try:
        return _LAYOUT.pack(MAGIC, WIRE_VERSION, kind, lane, attempt, left_ms, id_, trajectory, run, name, trace, span)
    except struct.error as error:
        raise FrameError(f"expected numbers that fit their fields, got {header}") from error


def unpack_header(frame: bytes) -> Header:
    """Return the header at the front of a frame.

    Raises:
        TooLargeError: the frame is longer than `MAX_FRAME_BYTES`.
        FrameError: it is shorter than a header, lacks the magic bytes, or has an invalid lane or role.
        VersionError: it has another version of the wire.
        UnknownKindError: its kind is unknown.
    """
    if len(frame) > MAX_FRAME_BYTES:
        raise TooLargeError(f"expected a frame of at most {MAX_FRAME_BYTES} bytes, got {len(frame)}")
    if len(frame) < HEADER_BYTES or frame[:2] != MAGIC:
        raise FrameError(f"expected a header of {HEADER_BYTES} bytes that begins with {MAGIC!r}, got {frame[:16]!r}")
    _, version, kind, lane, attempt, time_left_ms, id_, trajectory, run, role, trace, span = _unpack_from(frame)
    if version != WIRE_VERSION:
        raise VersionError(f"expected version {WIRE_VERSION} of the wire, got {version}")
    try:
        return Header(
            _KINDS[kind], id_, _role_of_bytes(role), _LANES[lane], attempt, time_left_ms, trajectory, run, trace, span
        )
    except LookupError:
        if kind not in _KINDS:
            raise UnknownKindError(f"expected a message kind from 1 to {max(_KINDS)}, got {kind}") from None
        raise FrameError(f"expected lane 0 or 1, got {lane}") from None


def id_of(frame: bytes) -> bytes:
    """Return the id in a frame that is at least as long as a header."""
    return frame[_ID]


def handed_out(frame: bytes, attempt: int, time_left_ms: int) -> bytes:
    """Return the frame of a request with another fencing number and time left, without packing the rest again."""
    changed = _HANDED_OUT.pack(attempt & 0xFFFF, time_left_ms)
    return frame[:_HANDED_OUT_AT] + changed + frame[_HANDED_OUT_AT + _HANDED_OUT.size :]


def answered(head: bytes, kind: Kind) -> bytes:
    """Return the header of a request as that of a message about it, without packing the rest again."""
    return _STARTS[kind] + head[_LANE_AT : _LANE_AT + 1] + b"\0" + head[_HANDED_OUT_AT:]


@lru_cache(maxsize=256)  # a mesh has a dozen roles, and every message names one
def _bytes_of_role(role: str) -> bytes:
    if role and not ROLE_NAME.fullmatch(role):
        raise FrameError(f"expected a role like 'verifier', of at most 16 characters, got {role[:64]!r}")
    return role.encode()


@lru_cache(maxsize=256)
def _role_of_bytes(padded: bytes) -> str:
    name = padded.rstrip(b"\0").decode("ascii", "replace")
    if name and not ROLE_NAME.fullmatch(name):
        raise FrameError(f"expected a role like 'verifier', got {name!r}")
    return name
