"""A bucket of pictures, in S3 or a compatible service."""

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
from gems_actors.errors import BlobError, ConfigError, storage_fault
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

_RETRY_TIMEOUT: Final = timedelta(seconds=30)
"""For one request with all of obstore's retries, which cover 5xx answers and lost connections."""
_MAX_CONCURRENCY: Final = 16
_MAX_REASON_CHARS: Final = 300
_FAULTS: Final = (BaseError, OSError)
"""OSError because obstore reports missing and forbidden objects as built-in exceptions."""


class BlobBucket(BlobStore):
    """Stores pictures in a bucket; existing objects are not overwritten, unless damaged."""

    def __init__(self, address: str, settings: S3Config) -> None:
        """Use the bucket and prefix of `s3://BUCKET/PREFIX`; sends no request yet.

        Raises:
            ConfigError: the settings, or those of the environment, are not valid.
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
                client_options={"allow_http": True},  # for endpoints that start with http:
                retry_config={"max_retries": 8, "retry_timeout": _RETRY_TIMEOUT},
            )
        except _FAULTS as error:
            raise ConfigError(f"blobs: expected a bucket that can be used, got {address}: {_reason(error)}") from error
        self._can_create = True
        """Whether the service supports conditional writes, which fail if the object exists."""
        self._threads = trio.CapacityLimiter(_MAX_CONCURRENCY)  # other tasks need threads while the service is down

    def locate(self, digest: str) -> str:
        """Return the address of a picture."""
        return f"{self._address}/{key_of(digest)}"

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified."""
        return await self._in_thread(lambda: self._get(ref))

    async def _keep(self, data: bytes) -> str:
        return await self._in_thread(lambda: self._put(data))

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        # obstore's async calls need asyncio. An abandoned call ends by itself, and partial objects are never visible.
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    def _get(self, ref: ImageRef) -> bytes:
        location = self.locate(ref.digest)
        with _explained(f"{location}: expected a picture of {ref.bytes} bytes"):
            data = self._fetch(ref.digest)
        verify(data, ref.digest, ref.bytes, location)
        return data

    def _put(self, data: bytes) -> str:
        digest = digest_of(data)
        with _explained(f"{self.locate(digest)}: expected to store {len(data)} bytes"):
            if not self._create(digest, data) and not self._holds(digest):
                self._write(digest, data, "overwrite")
        return digest

    def _create(self, digest: str, data: bytes) -> bool:
        """Write a picture unless it exists, and return whether it was written; False without conditional writes."""
        if self._can_create:
            try:
                self._write(digest, data, "create")
            except AlreadyExistsError:  # possibly being written by another process, and not readable yet
                return False
            except BaseError as error:
                if "<Code>NotImplemented</Code>" not in str(error):
                    raise
                self._can_create = False  # it does not support If-None-Match
        return self._can_create

    def _holds(self, digest: str) -> bool:
        """Return whether a picture is stored undamaged."""
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
        failure = BlobError(f"{expected}: {_reason(error)}")
        raise (failure if isinstance(error, FileNotFoundError) else storage_fault(failure)) from error


def _reason(error: Exception) -> str:
    """Return a failure in one line: the service's code and message if it sent them, else obstore's message."""
    text = " ".join(str(error).partition("Debug source:")[0].split())
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text) for tag in ("Code", "Message"))
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]  # the message is optional
    return text if len(text) <= _MAX_REASON_CHARS else f"{text[:_MAX_REASON_CHARS]}…"
