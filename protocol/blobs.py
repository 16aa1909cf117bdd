"""The wire on which pictures travel: a small fixed header, then the bytes, over sockets of their own.

The layout is given in `README.md` beside this file. A picture on the sockets of the messages would make every small
request behind it wait ten times as long.
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
"""Further routers of the host take the ports between."""
MAX_ROUTER_PORT = 65_535 - _PORTS_HIGHER
"""Of a router beside which pictures can be served."""

_LAYOUT = struct.Struct(">2sBB4xQQ32s")
BLOB_HEADER_BYTES = _LAYOUT.size


class BlobKind(IntEnum):
    """What a blob frame asks or answers."""

    HAS = 1
    """Is the picture there, whole?"""
    PUT = 2
    """Keep these bytes."""
    GET = 3
    """Send the bytes."""
    ARE_YOU_AT_IT = 4
    """Is the request of this id in hand? Asked while its answer does not come."""
    KEPT = 5
    """The picture is there, and stays there after a power cut."""
    ABSENT = 6
    """It is not."""
    BYTES = 7
    """Here it is."""
    AT_IT = 8
    """The request is in hand."""
    SAY_AGAIN = 9
    """The request is not in hand: it was answered, or it has never arrived."""
    FAILED = 10
    """The request cannot be done; why stands behind the header."""


class BlobHeader(NamedTuple):
    """The part in front of a picture."""

    kind: BlobKind
    id: int
    """Of the request, in its answer too; chosen by who asks, who never uses one twice under the same routing id."""
    size_bytes: int
    """Of the picture."""
    digest: bytes
    """SHA-256 of the picture, 32 bytes."""


_KINDS = {int(kind): kind for kind in BlobKind}


def blob_address(router: str) -> str:
    """Return where pictures are served beside a router: a hundred ports higher, or at the socket `PATH.blobs`."""
    scheme, _, rest = router.partition("://")
    if scheme == "ipc":
        return f"{router}.blobs"
    host, _, port = rest.rpartition(":")
    return f"{scheme}://{host}:{int(port) + _PORTS_HIGHER}"


def pack_blob(header: BlobHeader, data: bytes | memoryview = b"") -> bytes:
    """Return a frame: the header, and what stands behind it."""
    kind, id_, size_bytes, digest = header
    return b"".join((_LAYOUT.pack(BLOB_MAGIC, BLOB_VERSION, kind, id_, size_bytes, digest), data))


def unpack_blob(frame: bytes) -> tuple[BlobHeader, memoryview]:
    """Return the header of a frame and what stands behind it, which is not copied.

    Raises:
        TooLargeError: it is longer than a header and `MAX_BLOB_BYTES`.
        FrameError: it is shorter than a header, or begins otherwise.
        VersionError: it is of another version.
        UnknownKindError: its kind is not known.
    """
    if len(frame) > BLOB_HEADER_BYTES + MAX_BLOB_BYTES:
        raise TooLargeError(f"expected a picture of at most {MAX_BLOB_BYTES} bytes, got {len(frame)}")
    if len(frame) < BLOB_HEADER_BYTES or frame[:2] != BLOB_MAGIC:
        raise FrameError(
            f"expected a header of {BLOB_HEADER_BYTES} bytes that begins with {BLOB_MAGIC!r}, got {frame[:16]!r}"
        )
    _, version, kind, id_, size_bytes, digest = _LAYOUT.unpack_from(frame)
    if version != BLOB_VERSION:
        raise VersionError(f"expected version {BLOB_VERSION} of the blobs' wire, got {version}")
    if kind not in _KINDS:
        raise UnknownKindError(f"expected a kind of blob frame from 1 to {max(_KINDS)}, got {kind}")
    return BlobHeader(_KINDS[kind], id_, size_bytes, digest), memoryview(frame)[BLOB_HEADER_BYTES:]
