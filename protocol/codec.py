"""Bodies to bytes and back; the only place in the project that knows msgpack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

import msgspec

from protocol.envelope import HEADER_BYTES, Header, pack_header, unpack_header
from protocol.errors import BodyError, TooLargeError, UnknownKindError
from protocol.limits import MAX_FRAME_BYTES
from protocol.messages import EVENTS, LINK_BODIES, RECORDS, REPLIES, REQUESTS, AnyRecord, Body

BODIES: dict[str, type[Body]] = {body.__name__: body for body in (*LINK_BODIES, *REQUESTS, *REPLIES, *EVENTS, *RECORDS)}
"""Every type that may stand behind a header, by the name it has on the wire."""

_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Body] = msgspec.msgpack.Decoder(Union[tuple(BODIES.values())]).decode  # noqa: UP007
_decode_record: Callable[[bytes], AnyRecord] = msgspec.msgpack.Decoder(AnyRecord).decode


class _Tagged(msgspec.Struct):
    """Any body, of which only its type is read."""

    type: str


_decode_tag = msgspec.msgpack.Decoder(_Tagged).decode


def encode_body(body: Body) -> bytes:
    """Return a body as msgpack.

    Raises:
        BodyError: a text in it holds half a character, which no UTF-8 can.
    """
    try:
        return _encode(body)
    except UnicodeEncodeError as error:
        raise BodyError(f"{type(body).__name__}: expected text in whole characters: {error}") from error


def decode_body(data: bytes) -> Body:
    """Read a body as the class that its `type` names; fields unknown to this side are skipped.

    Raises:
        UnknownKindError: its type is not known to this side.
        BodyError: it is not msgpack, or not of the shape its type promises.
    """
    try:
        return _decode(data)
    except (ValueError, RecursionError) as error:  # every error of msgspec on foreign bytes is a ValueError
        raise _explain(data, error) from error


def peek_type(data: bytes) -> str:
    """Return the type of a body without opening it, for who has to judge it by that alone.

    `type` must be the first key, so that nothing stands before it; a reader of ours refuses a body that says two.

    Raises:
        BodyError: it is no msgpack map that begins with its `type`.
    """
    head, size_of_map = data[:1], 1
    if head in (b"\xde", b"\xdf"):  # map 16 and map 32; below 16 pairs their number is in the first byte
        size_of_map = 3 if head == b"\xde" else 5
    elif not head or not 0x81 <= head[0] <= 0x8F:
        raise BodyError(f"expected a msgpack map, got {data[:16]!r}")
    if data[size_of_map : size_of_map + 5] != b"\xa4type":
        raise BodyError(f"expected a body whose first key is `type`, got {data[:16]!r}")
    at = size_of_map + 5
    length = data[at] if at < len(data) else 0
    start, size = (at + 1, length & 0x1F) if length >> 5 == 0b101 else (0, 0)  # no type's name is longer than 31
    if not size or start + size > len(data):
        raise BodyError(f"expected a type's name of at most 31 characters, got {data[:64]!r}")
    return data[start : start + size].decode("ascii", "replace")


def decode_record(data: bytes) -> AnyRecord:
    """Read one record of memory's log.

    Raises:
        BodyError: it is none.
    """
    try:
        return _decode_record(data)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"expected a record, got {data[:64]!r}: {str(error)[:500]}") from error


def encode_message(header: Header, body: Body) -> bytes:
    """Return the frame of a message.

    Raises:
        TooLargeError: it would be longer than `MAX_FRAME_BYTES`.
        FrameError: the header does not fit its layout.
    """
    return frame_of(header, encode_body(body))


def frame_of(header: Header, body: bytes) -> bytes:
    """Return the frame of a message whose body is bytes already; what a router uses, which opens no body."""
    frame = pack_header(header) + body
    if len(frame) > MAX_FRAME_BYTES:
        raise TooLargeError(f"expected a message of at most {MAX_FRAME_BYTES} bytes, got {len(frame)}")
    return frame


def decode_message(frame: bytes) -> tuple[Header, Body]:
    """Read a frame whole.

    Raises:
        ProtocolError: one of its kinds, and never anything else, whatever the bytes are.
    """
    return unpack_header(frame), decode_body(frame[HEADER_BYTES:])


def _explain(data: bytes, error: Exception) -> BodyError | UnknownKindError:
    """Tell a type this side does not know from a body that is broken; only ever called on bytes already refused."""
    reason = str(error)[:500]  # it may quote what got, which may be long
    try:
        name = _decode_tag(data).type
    except (ValueError, RecursionError):
        return BodyError(f"expected a msgpack map with a `type`, got {data[:64]!r}: {reason}")
    if name not in BODIES:
        return UnknownKindError(f"expected a known message type, got {name[:64]!r}")
    return BodyError(f"{name}: {reason}")
