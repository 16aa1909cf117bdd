"""The interface of every blob store, and the rule by which all of them verify what they read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gems_actors.errors import BlobError
from protocol.identity import digest_of
from protocol.messages import ImageRef

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class BlobStore(ABC):
    """Stores pictures; safe to use from many tasks, processes and hosts at once."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the store's connections; `put` and `get` work inside the block."""
        yield

    async def put(self, data: bytes, *, media_type: str, width_px: int, height_px: int) -> ImageRef:
        """Store a picture durably and return its reference.

        Idempotent: an existing picture is kept, a damaged one replaced. A process that is killed meanwhile leaves the
        picture complete or absent. After cancellation it may be stored or not.

        Raises:
            BlobError: the picture cannot be stored.
        """
        digest = await self._keep(data)
        return ImageRef(digest=digest, media_type=media_type, bytes=len(data), width_px=width_px, height_px=height_px)

    @abstractmethod
    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified.

        Raises:
            BlobError: the picture is missing, unreadable, or does not match its reference.
        """

    def get_from_thread(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified; for threads that trio started."""
        return trio.from_thread.run(self.get, ref)

    @abstractmethod
    def locate(self, digest: str) -> str:
        """Return the path or address of a picture, for people.

        Raises:
            BlobError: not a valid digest.
        """

    @abstractmethod
    async def _keep(self, data: bytes) -> str:
        """Store a picture durably and return its digest."""


def hex_of(digest: str) -> str:
    """Return the 64 hexadecimal digits of a digest.

    Raises:
        BlobError: not a valid digest. Digests come from other processes and must not lead out of the store.
    """
    if (match := _DIGEST.fullmatch(digest)) is None:
        raise BlobError(f"expected 'sha256:' and 64 hexadecimal digits, got {digest[:100]!r}")
    return match[1]


def key_of(digest: str) -> str:
    """Return the key under which a picture is stored: `sha256/ab/cd/` and the 64 digits, which begin with `abcd`.

    Raises:
        BlobError: not a valid digest.
    """
    digits = hex_of(digest)
    return f"sha256/{digits[:2]}/{digits[2:4]}/{digits}"


def verify(data: bytes | memoryview, digest: str, size_bytes: int, location: str) -> None:
    """Check that the bytes read from `location` are those of a reference.

    Raises:
        BlobError: the size or the digest differs.
    """
    if len(data) != size_bytes:
        raise BlobError(f"{location}: expected {size_bytes} bytes, got {len(data)}")
    if (got := digest_of(data)) != digest:
        raise BlobError(f"{location}: expected bytes with the digest of the picture's name, got {got}")
