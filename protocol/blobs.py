"""The wire of pictures: a small fixed header, then the bytes, over separate sockets.

`README.md` in this folder specifies the layout. On the sockets of messages, a picture would make every small request
behind it wait ten times as long.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from protocol.errors import FrameError, TooLargeError, UnknownKindError, VersionError
from protocol.limits import MAX_BLOB_BYTES

BLOB_MAGIC = b"GB"
BLOB_VERSION = 1

_PORTS_HIGHER = 100
"""Distance of the port for pictures; further routers of the host use the ports between."""
MAX_ROUTER_PORT = 65_535 - _PORTS_HIGHER
"""Highest port of a router that leaves a port for pictures."""

_LAYOUT = struct.Struct(">2sBB4xQQ32s")
BLOB_HEADER_BYTES = _LAYOUT.size


class BlobKind(IntEnum):
    """The kind of a blob frame: a request or an answer."""

    HAS = 1
    """Does the store have the whole picture?"""
    PUT = 2
    """Store these bytes."""
    GET = 3
    """Send the bytes."""
    ARE_YOU_AT_IT = 4
    """Is the request with this id in progress? Asked while its answer is missing."""
    KEPT = 5
    """The picture is stored durably."""
    ABSENT = 6
    """The store does not have it."""
    BYTES = 7
    """The bytes of the picture."""
    AT_IT = 8
    """The request is in progress."""
    SAY_AGAIN = 9
    """The request is not in progress: it was answered, or never arrived."""
    FAILED = 10
    """The request failed; the reason follows the header."""
    UNAVAILABLE = 11
    """The store cannot be used now, as with a full disk or without open files; the reason follows the header."""


class BlobHeader(NamedTuple):
    """The header of a blob frame."""

    kind: BlobKind
    id: int
    """Id of the request, repeated in its answer; the client never uses one twice under the same routing id."""
    size_bytes: int
    """Size of the picture."""
    digest: bytes
    """SHA-256 of the picture, 32 bytes."""


_KINDS = {int(kind): kind for kind in BlobKind}


def blob_address(router: str) -> str:
    """Return the address of pictures next to a router: a hundred ports higher, or the socket `PATH.blobs`."""
    scheme, _, rest = router.partition("://")
    if scheme == "ipc":
        return f"{router}.blobs"
    host, _, port = rest.rpartition(":")
    return f"{scheme}://{host}:{int(port) + _PORTS_HIGHER}"


def pack_blob(header: BlobHeader, data: bytes | memoryview = b"") -> bytes:
    """Return a frame: the header, then the data."""
    kind, id_, size_bytes, digest = header
    return b"".join((_LAYOUT.pack(BLOB_MAGIC, BLOB_VERSION, kind, id_, size_bytes, digest), data))


def pack_blob_header(header: BlobHeader, frame: bytearray) -> None:
    """Write a header over the first `BLOB_HEADER_BYTES` of a frame, whose data need not be copied so."""
    kind, id_, size_bytes, digest = header
    _LAYOUT.pack_into(frame, 0, BLOB_MAGIC, BLOB_VERSION, kind, id_, size_bytes, digest)


def unpack_blob(frame: bytes | memoryview) -> tuple[BlobHeader, memoryview]:
    """Return the header of a frame and a view of the data after it.

    Raises:
        TooLargeError: the data is longer than `MAX_BLOB_BYTES`.
        FrameError: it is shorter than a header, or does not start with the magic bytes.
        VersionError: it has another version.
        UnknownKindError: its kind is unknown.
    """
    if len(frame) > BLOB_HEADER_BYTES + MAX_BLOB_BYTES:
        raise TooLargeError(f"expected a picture of at most {MAX_BLOB_BYTES} bytes, got {len(frame)}")
    if len(frame) < BLOB_HEADER_BYTES or frame[:2] != BLOB_MAGIC:
        raise FrameError(
            f"expected a header of {BLOB_HEADER_BYTES} bytes that begins with {BLOB_MAGIC!r}, got {bytes(frame[:16])!r}"
        )
    _, version, kind, id_, size_bytes, digest = _LAYOUT.unpack_from(frame)
    if version != BLOB_VERSION:
        raise VersionError(f"expected version {BLOB_VERSION} of the wire for pictures, got {version}")
    if kind not in _KINDS:
        raise UnknownKindError(f"expected a kind of blob frame from 1 to {max(_KINDS)}, got {kind}")
    return BlobHeader(_KINDS[kind], id_, size_bytes, digest), memoryview(frame)[BLOB_HEADER_BYTES:]
