"""Frames of the picture server's socket."""

from __future__ import annotations

from contextlib import suppress

from protocol.blobs import BlobHeader, BlobKind, pack_blob, unpack_blob
from protocol.errors import ProtocolError


def seeds() -> list[bytes]:
    """Return a frame of each kind."""
    return [pack_blob(BlobHeader(kind, 7, 3, bytes(32)), b"abc") for kind in BlobKind]


def check(data: bytes) -> None:
    """Read a frame and write it again."""
    with suppress(ProtocolError):
        header, picture = unpack_blob(data)
        again, same = unpack_blob(pack_blob(header, picture))
        assert (again, same) == (header, picture)
