"""The header has 92 bytes, laid out as specified."""

import struct
from typing import Any

import pytest
from hypothesis import given
from msgspec import structs

from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, Header, Kind, Lane, pack_header, unpack_header
from protocol.errors import FrameError
from tests.protocol.strategies import headers

HEARTBEAT = pack_header(Header(Kind.HEARTBEAT, role="verifier"))


def patched(offset: int, data: bytes) -> bytes:
    return HEARTBEAT[:offset] + data + HEARTBEAT[offset + len(data) :]


@given(headers())
def test_a_header_round_trips(header: Header) -> None:
    packed = pack_header(header)
    assert len(packed) == HEADER_BYTES == 92
    assert unpack_header(packed) == header
    assert unpack_header(packed + b"body") == header


def test_each_field_has_its_specified_offset() -> None:
    header = Header(
        Kind.REQUEST,
        id=b"i" * 16,
        role="verifier",
        lane=Lane.BULK,
        attempt=0x0102,
        time_left_ms=0x03040506,
        trajectory=b"t" * 16,
        run=b"r" * 8,
        trace=b"w" * 16,
        span=b"s" * 8,
    )
    packed = pack_header(header)
    assert packed[0:8] == b"GA\x01\x07\x01\x00\x01\x02"
    assert packed[8:12] == b"\x03\x04\x05\x06"
    assert (packed[12:28], packed[28:44], packed[44:52]) == (b"i" * 16, b"t" * 16, b"r" * 8)
    assert packed[52:68] == b"verifier" + bytes(8)
    assert (packed[68:84], packed[84:92]) == (b"w" * 16, b"s" * 8)


def test_the_reserved_byte_is_ignored() -> None:
    assert unpack_header(patched(5, b"\xff")) == unpack_header(HEARTBEAT)


def test_a_request_has_no_deadline_by_default() -> None:
    (left,) = struct.unpack_from(">I", HEARTBEAT, 8)
    assert left == NO_DEADLINE_MS == 0xFFFFFFFF


@pytest.mark.parametrize("role", ["Verifier", "1st", "a role", "verifier\n", "prüfer", "_", "-"])
def test_an_invalid_role_name_is_neither_packed_nor_unpacked(role: str) -> None:
    with pytest.raises(FrameError, match="expected a role like 'verifier'"):
        pack_header(Header(Kind.REQUEST, role=role))
    with pytest.raises(FrameError, match="expected a role like 'verifier'"):
        unpack_header(patched(52, role.encode().ljust(16, b"\0")))


def test_a_role_has_at_most_16_characters() -> None:
    assert unpack_header(pack_header(Header(Kind.REQUEST, role="a" * 16))).role == "a" * 16
    with pytest.raises(FrameError, match="at most 16 characters"):
        pack_header(Header(Kind.REQUEST, role="a" * 17))


def test_a_role_is_padded_with_zeros_only() -> None:
    with pytest.raises(FrameError):
        unpack_header(patched(52, b"a\0b"))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": b"short"},
        {"trajectory": bytes(17)},
        {"run": bytes(16)},
        {"trace": b""},
        {"span": bytes(9)},
        {"time_left_ms": -1},
        {"time_left_ms": 2**32},
        {"lane": 256},
    ],
)
def test_a_field_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        pack_header(structs.replace(Header(Kind.REQUEST), **fields))


@pytest.mark.parametrize("frame", [b"", b"GA", HEARTBEAT[:-1], b"AG" + HEARTBEAT[2:], bytes(92), patched(4, b"\x02")])
def test_a_frame_without_a_valid_header_is_refused(frame: bytes) -> None:
    with pytest.raises(FrameError):
        unpack_header(frame)


def test_kinds_keep_their_numbers() -> None:
    assert [kind.name for kind in sorted(Kind)] == [
        "HELLO", "WELCOME", "HEARTBEAT", "PULSE", "CAPACITY", "GOODBYE", "REQUEST", "REPLY", "FAILURE", "CANCEL",
        "EVENT", "SUBSCRIBE", "HELLO_AGAIN",
    ]  # fmt: skip
    assert sorted(Kind) == list(range(1, 14))
