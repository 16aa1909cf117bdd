"""Frames of pictures match the specification, and all others are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.blobs import BLOB_HEADER_BYTES, BlobHeader, BlobKind, blob_address, pack_blob, unpack_blob
from protocol.errors import FrameError, ProtocolError, TooLargeError, UnknownKindError, VersionError
from protocol.limits import MAX_BLOB_BYTES
from tests.protocol.reference import BLOB_VECTORS, README

TEXT = README.read_text(encoding="utf-8")
FRAME = pack_blob(BlobHeader(BlobKind.PUT, 1, 3, bytes(32)), b"abc")


@pytest.mark.parametrize("vector", BLOB_VECTORS)
def test_vectors_are_encoded_and_decoded_exactly(vector: tuple[str, BlobHeader, bytes]) -> None:
    title, header, data = vector
    found = re.search(rf"\*\*{re.escape(title)}\*\* \(`{header.kind.name}`\)\n\n```text\n([0-9a-f\n]+)```", TEXT)
    assert found is not None
    frame = bytes.fromhex(found[1])
    assert pack_blob(header, data) == frame
    read, rest = unpack_blob(frame)
    assert (read, bytes(rest)) == (header, data)


def test_the_specification_explains_every_kind() -> None:
    for kind in BlobKind:
        assert f"| {int(kind)} | `{kind.name}` |" in TEXT


@pytest.mark.parametrize(
    ("router", "blobs"),
    [
        ("ipc:///run/gems/router.ipc", "ipc:///run/gems/router.ipc.blobs"),
        ("tcp://gpu-box:27960", "tcp://gpu-box:28060"),
        ("tcp://[::1]:5000", "tcp://[::1]:5100"),
    ],
)
def test_the_address_for_pictures_follows_from_the_router(router: str, blobs: str) -> None:
    assert blob_address(router) == blobs


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"", FrameError),
        (FRAME[: BLOB_HEADER_BYTES - 1], FrameError),
        (b"GA" + FRAME[2:], FrameError),
        (FRAME[:2] + b"\x02" + FRAME[3:], VersionError),
        (FRAME[:3] + b"\x00" + FRAME[4:], UnknownKindError),
        (FRAME[:3] + b"\x0c" + FRAME[4:], UnknownKindError),
        (FRAME + bytes(MAX_BLOB_BYTES), TooLargeError),
    ],
    ids=["empty", "short", "magic", "version", "kind 0", "kind 12", "long"],
)
def test_an_invalid_frame_is_refused(frame: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error):
        unpack_blob(frame)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: FRAME[:3] + tail))
def test_any_bytes_are_decoded_or_refused(frame: bytes) -> None:
    try:
        header, data = unpack_blob(frame)
    except ProtocolError:
        return
    assert unpack_blob(pack_blob(header, data)) == (header, data)
