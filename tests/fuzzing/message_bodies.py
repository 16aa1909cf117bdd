"""Messages from the socket, and records of memory's log."""

from __future__ import annotations

from contextlib import suppress

from protocol.bundles import bundled, unbundled
from protocol.codec import BODIES, decode_body, decode_message, decode_record, encode_body, encode_message, peek_type
from protocol.envelope import HEADER_BYTES, Header, Kind
from protocol.errors import ProtocolError
from protocol.messages import DrawPicture, Hello, ReadStatus, RunBegun


def seeds() -> list[bytes]:
    """Return whole frames."""
    header = Header(Kind.REQUEST, bytes(range(16)), "planner", trajectory=bytes(16))
    bodies = [Hello(name="x"), ReadStatus(), DrawPicture(run="r", prompt="a fox", seed=7), RunBegun(run="r")]
    whole = [encode_message(header, body) for body in bodies]
    return [*whole, *bundled(whole)] + [
        encode_message(header, ReadStatus())[:HEADER_BYTES]
        + b"\x81\xa4type"
        + bytes([0xA0 | len(name)])
        + name.encode()
        for name in sorted(BODIES)
    ]


def check(data: bytes) -> None:
    """Read a frame in every way that a router, an actor or memory does."""
    with suppress(ProtocolError):
        _, body = decode_message(data)
        assert decode_body(encode_body(body)) == body, "it does not survive a round trip"
    with suppress(ProtocolError):
        peek_type(data[HEADER_BYTES:])
    with suppress(ProtocolError):
        decode_record(data[HEADER_BYTES:])
    with suppress(ProtocolError):
        messages = unbundled(data)
        assert len(b"".join(messages)) + 8 + 4 * len(messages) == len(data), "bytes were lost or made up"
