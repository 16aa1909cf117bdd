"""A bucket of pictures, in S3 or in anything that speaks like it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import urlsplit

import trio

from gems_actors.blobs.store import BlobStore, key_of, verify
from gems_actors.config import S3Config
from gems_actors.errors import BlobError, ConfigError
from protocol.identity import digest_of
from protocol.messages import ImageRef

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise ConfigError(f"blobs: expected the extra gems-actors[s3] for s3:, got {error}") from error

if TYPE_CHECKING:
    from obstore.store import S3Config as ServiceConfig

ResultT = TypeVar("ResultT")

_PATIENCE: Final = timedelta(seconds=30)
"""For one request, with all that obstore repeats of it: what the service answers with 5xx, and lost connections."""
_AT_ONCE: Final = 16
_MAX_REASON_CHARS: Final = 300
_FAULTS: Final = (BaseError, OSError)
"""OSError: what is missing or forbidden is told as the system's own exceptions."""


class BlobBucket(BlobStore):
    """Keeps pictures in a bucket; another object is never written where one is."""

    def __init__(self, address: str, settings: S3Config) -> None:
        """Use the bucket and prefix of `s3://BUCKET/PREFIX`; nothing is asked of the service yet.

        Raises:
            ConfigError: the settings, or those of the environment, are none.
        """
        bucket, prefix = urlsplit(address).netloc, urlsplit(address).path.strip("/")
        self._address = f"s3://{bucket}/{prefix}".rstrip("/")
        service: ServiceConfig = {}
        if settings.endpoint is not None:
            service["endpoint"] = settings.endpoint
        if settings.region is not None:
            service["region"] = settings.region
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=service,
                client_options={"allow_http": True},  # of an endpoint that says so
                retry_config={"max_retries": 8, "retry_timeout": _PATIENCE},
            )
        except _FAULTS as error:
            raise ConfigError(f"blobs: expected a bucket that can be used, got {address}: {_reason(error)}") from error
        self._can_create = True
        """Whether the service can be told to write only where nothing is."""
        self._threads = trio.CapacityLimiter(_AT_ONCE)  # others of the process need threads while a service is away

    def place_of(self, digest: str) -> str:
        """Return the address of a picture."""
        return f"{self._address}/{key_of(digest)}"

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified."""
        return await self._in_thread(lambda: self._get(ref))

    async def _keep(self, data: bytes) -> str:
        return await self._in_thread(lambda: self._put(data))

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        # obstore's own async calls want asyncio. What is abandoned ends by itself, and halves are never seen.
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    def _get(self, ref: ImageRef) -> bytes:
        place = self.place_of(ref.digest)
        with _explained(f"{place}: expected a picture of {ref.bytes} bytes"):
            data = self._fetch(ref.digest)
        verify(data, ref.digest, ref.bytes, place)
        return data

    def _put(self, data: bytes) -> str:
        digest = digest_of(data)
        with _explained(f"{self.place_of(digest)}: expected to store {len(data)} bytes"):
            if not self._create(digest, data) and not self._holds(digest):
                self._write(digest, data, "overwrite")
        return digest

    def _create(self, digest: str, data: bytes) -> bool:
        """Write a picture where nothing is, and return whether that was so; not where the service cannot tell."""
        if self._can_create:
            try:
                self._write(digest, data, "create")
            except AlreadyExistsError:  # or another writes it this moment, and nothing can be read yet
                return False
            except BaseError as error:
                if "<Code>NotImplemented</Code>" not in str(error):
                    raise
                self._can_create = False  # it does not know If-None-Match
        return self._can_create

    def _holds(self, digest: str) -> bool:
        """Return whether a picture is there, undamaged."""
        try:
            return digest_of(self._fetch(digest)) == digest
        except FileNotFoundError:
            return False

    def _fetch(self, digest: str) -> bytes:
        return obstore.get(self._store, key_of(digest)).bytes().to_bytes()

    def _write(self, digest: str, data: bytes, mode: Literal["create", "overwrite"]) -> None:
        obstore.put(self._store, key_of(digest), data, mode=mode, use_multipart=False)


@contextmanager
def _explained(expected: str) -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        raise BlobError(f"{expected}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return a failure in one line: what the service says of it, else obstore's words without the print of causes."""
    if said := re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", str(error), re.DOTALL):
        return f"{said[1]}: {said[2]}"
    words = " ".join(str(error).partition("Debug source:")[0].split())
    return words if len(words) <= _MAX_REASON_CHARS else f"{words[:_MAX_REASON_CHARS]}…"
