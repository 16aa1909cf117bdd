"""What every store of pictures promises, and the rule by which all of them verify."""

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
    """Keeps pictures; safe to use from many tasks, processes and hosts at once."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold what the store needs; put and get inside."""
        yield

    async def put(self, data: bytes, *, media_type: str, width_px: int, height_px: int) -> ImageRef:
        """Store a picture and return its reference; when this returns, the picture outlives a power cut.

        A picture that is there already is kept, a damaged one replaced. Whoever is killed meanwhile leaves the picture
        whole or not at all. Cancelled, it may be stored or not.

        Raises:
            BlobError: it cannot be stored.
        """
        digest = await self._keep(data)
        return ImageRef(digest=digest, media_type=media_type, bytes=len(data), width_px=width_px, height_px=height_px)

    @abstractmethod
    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified.

        Raises:
            BlobError: it is missing, unreadable, or not what its reference says.
        """

    def get_from_thread(self, ref: ImageRef) -> bytes:
        """Return what `get` does, for a thread that trio started."""
        return trio.from_thread.run(self.get, ref)

    @abstractmethod
    def place_of(self, digest: str) -> str:
        """Return where a person finds the picture of a digest.

        Raises:
            BlobError: it is no digest.
        """

    @abstractmethod
    async def _keep(self, data: bytes) -> str:
        """Store a picture durably and return its digest."""


def hex_of(digest: str) -> str:
    """Return the 64 hexadecimal digits of a digest.

    Raises:
        BlobError: it is no digest; a picture's name comes from other processes and must not leave the store.
    """
    if (match := _DIGEST.fullmatch(digest)) is None:
        raise BlobError(f"expected 'sha256:' and 64 hexadecimal digits, got {digest[:100]!r}")
    return match[1]


def key_of(digest: str) -> str:
    """Return under which name a picture rests: `sha256/ab/cd/` and its 64 digits, of which `ab` and `cd` are the first.

    Raises:
        BlobError: it is no digest.
    """
    digits = hex_of(digest)
    return f"sha256/{digits[:2]}/{digits[2:4]}/{digits}"


def verify(data: bytes | memoryview, digest: str, size_bytes: int, place: str) -> None:
    """See that what was read is what was stored.

    Raises:
        BlobError: it is not; says where it was read.
    """
    if len(data) != size_bytes:
        raise BlobError(f"{place}: expected {size_bytes} bytes, got {len(data)}")
    if (got := digest_of(data)) != digest:
        raise BlobError(f"{place}: expected bytes with the digest of the picture's name, got {got}")
