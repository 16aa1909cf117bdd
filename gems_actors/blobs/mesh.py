"""The client of the blob server, for a mesh whose hosts share no storage.

Requests are idempotent and repeated until they are answered, so the server may be killed at any moment: a request that
a restarted server does not know is sent again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import structlog
import trio
import zmq

from gems_actors.blobs.store import BlobStore, hex_of, verify
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import BlobError, ConfigError, storage_fault
from gems_actors.security.keys import ConnectingKeys, keys_to_connect
from gems_actors.tasks import open_background
from gems_actors.transport.links import Link, Message
from gems_actors.transport.sockets import open_context, open_dealer
from protocol.blobs import (
    BLOB_HEADER_BYTES,
    BlobHeader,
    BlobKind,
    blob_address,
    pack_blob,
    pack_blob_header,
    unpack_blob,
)
from protocol.errors import ProtocolError
from protocol.identity import digest_of
from protocol.limits import MAX_BLOB_BYTES
from protocol.messages import ImageRef

_CHECK_INTERVAL_S: Final = 0.5
"""How long to wait for an answer before asking the server whether it is handling the request."""
_TIMEOUT_S: Final = 30.0
"""A server that is silent for this long has failed; the supervisor restarts a dead one within a second."""
_MIN_BYTES_PER_S: Final = 1_000_000
"""The slowest supported connection: while one picture is sent, no other frame arrives."""
_MAX_IN_FLIGHT: Final = 16
"""Pictures in flight per process, which bounds memory here and at the server."""
_CHECKS_PER_SIZE: Final = 32
"""A process checks the size of the cache whenever it has written 1/32 of the maximum."""

_log = structlog.get_logger()


class BlobCache:
    """An LRU cache in a folder that all processes of this host share; its methods block on the disk.

    It is never the only copy: pictures that are lost, damaged or evicted are fetched again.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Use `folder`, which is created with the first picture."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._unchecked_bytes = max_bytes

    def read(self, digest: str, size_bytes: int) -> bytes | None:
        """Return a picture's bytes, verified; None if it is not cached, or damaged."""
        path = self._folder / hex_of(digest)
        try:
            data = path.read_bytes()
            verify(data, digest, size_bytes, str(path))
            os.utime(path)
        except OSError:
            return None
        except BlobError:
            with suppress(OSError):
                path.unlink()
            return None
        return data

    def write(self, digest: str, data: bytes | memoryview) -> None:
        """Cache a picture; disk errors are ignored."""
        part = self._folder / f"{hex_of(digest)}.{os.urandom(8).hex()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(self._folder / hex_of(digest))
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return
        self._unchecked_bytes += len(data)
        if self._unchecked_bytes >= self._max_bytes / _CHECKS_PER_SIZE:
            self._unchecked_bytes = 0
            self._evict()

    def _evict(self) -> None:
        with suppress(OSError):  # another process evicts too, or the folder is not ours
            found = [(entry.stat(), entry.path) for entry in os.scandir(self._folder)]
            free_bytes = self._max_bytes - sum(stat.st_size for stat, _ in found)
            for stat, path in sorted(found, key=lambda item: item[0].st_mtime_ns):
                if free_bytes >= 0:
                    return
                Path(path).unlink()
                free_bytes += stat.st_size


class _PendingRequest:
    """A request that waits for its answer."""

    def __init__(self, frame: zmq.Frame) -> None:
        self.frame = frame
        self.answered = trio.Event()
        self.kind: BlobKind
        self.data = memoryview(b"")

    def complete(self, kind: BlobKind, data: memoryview) -> None:
        self.kind, self.data = kind, data
        self.answered.set()


class MeshBlobs(BlobStore):
    """Stores pictures on the router's host, and caches those that are used on this one."""

    def __init__(
        self,
        router: str,
        cache: Path,
        cache_bytes: int,
        security: SecurityConfig = NO_KEYS,
        *,
        timeout_s: float = _TIMEOUT_S,
        check_interval_s: float = _CHECK_INTERVAL_S,
    ) -> None:
        """Connect once opened; `cache` is a folder for pictures from another host, unused on the router's host."""
        self.address = blob_address(router)
        self._security = security
        self._timeout_s, self._check_interval_s = timeout_s, check_interval_s
        self._cache = None if router.startswith("ipc:") else BlobCache(cache, cache_bytes)
        self._pending: dict[int, _PendingRequest] = {}
        self._ids = count(1)
        self._in_flight = trio.CapacityLimiter(_MAX_IN_FLIGHT)
        self._last_heard = 0.0
        self._link: Link

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the connection, whether or not a server is running yet.

        Raises:
            ConfigError: the router's address leaves no port for the blob server, or a key cannot be used.
        """
        keys = keys_to_connect(self._security, self.address)
        context = open_context()
        try:
            self._link = Link(self._connect(context, keys), self._receive, has_large_frames=True)
            try:
                async with open_background() as nursery:
                    nursery.start_soon(self._link.run)
                    yield
            finally:
                self._link.close()
        finally:
            context.destroy()

    def _connect(self, context: zmq.Context[zmq.Socket[bytes]], keys: ConnectingKeys | None) -> zmq.Socket[bytes]:
        try:
            return open_dealer(context, self.address, b"b" + os.urandom(12), keys, max_frame_bytes=MAX_BLOB_BYTES)
        except zmq.ZMQError as error:
            raise ConfigError(f"blobs: expected an address of a blob server, got {self.address}") from error

    def locate(self, digest: str) -> str:
        """Return the address of the server and the digest of the picture."""
        return f"{self.address} {digest}"

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified."""
        hex_of(ref.digest)
        if self._cache is not None:
            cached = await trio.to_thread.run_sync(self._cache.read, ref.digest, ref.bytes)
            if cached is not None:
                return cached
        async with self._in_flight:
            answer = await self._request(BlobKind.GET, ref.digest, ref.bytes)
            if answer.kind is not BlobKind.BYTES:
                raise self._unexpected(answer, f"a picture of {ref.bytes} bytes")
            return await trio.to_thread.run_sync(self._accept, ref, answer.data)

    async def _keep(self, data: bytes) -> str:
        if len(data) > MAX_BLOB_BYTES:
            raise BlobError(f"{self.address}: expected a picture of at most {MAX_BLOB_BYTES} bytes, got {len(data)}")
        async with self._in_flight:
            frame, digest = await trio.to_thread.run_sync(_framed, data)
            answer = await self._request(BlobKind.HAS, digest, len(data))
            if answer.kind is BlobKind.ABSENT:
                answer = await self._request(BlobKind.PUT, digest, len(data), frame)
        if answer.kind is not BlobKind.KEPT:
            raise self._unexpected(answer, f"to store {len(data)} bytes")
        if self._cache is not None:
            await trio.to_thread.run_sync(self._cache.write, digest, data)
        return digest

    def _accept(self, ref: ImageRef, received: memoryview) -> bytes:
        # First the copy, which brings the bytes into the processor's cache: with 1.5 MB, both take 1.05 ms, not 1.45.
        data = bytes(received)
        verify(data, ref.digest, ref.bytes, self.locate(ref.digest))
        if self._cache is not None:
            self._cache.write(ref.digest, data)
        return data

    def _unexpected(self, answer: _PendingRequest, expected: str) -> BlobError:
        if answer.kind in (BlobKind.FAILED, BlobKind.UNAVAILABLE):
            error = BlobError(bytes(answer.data).decode(errors="replace"))
            error.is_outage = answer.kind is BlobKind.UNAVAILABLE
            return error
        return BlobError(f"{self.address}: expected {expected}, got {answer.kind.name}")

    async def _request(
        self, kind: BlobKind, digest: str, size_bytes: int, frame: bytearray | None = None
    ) -> _PendingRequest:
        """Return the answer to a request; its header is written into the frame, if there is one."""
        header = BlobHeader(kind, next(self._ids), size_bytes, bytes.fromhex(hex_of(digest)))
        frame = bytearray(BLOB_HEADER_BYTES) if frame is None else frame
        pack_blob_header(header, frame)
        request = self._pending[header.id] = _PendingRequest(zmq.Frame(frame))
        timeout_s, started_at = self._timeout_s + size_bytes / _MIN_BYTES_PER_S, trio.current_time()
        try:
            self._link.send(request.frame)
            while not request.answered.is_set():
                with trio.move_on_after(self._check_interval_s):
                    await request.answered.wait()
                    break
                if trio.current_time() - max(started_at, self._last_heard) > timeout_s:
                    text = f"{self.address}: expected a blob server, got no answer for {timeout_s:.0f} s"
                    raise storage_fault(BlobError(text))
                if self._link.unsent == 0:  # a request that is still queued here cannot be lost
                    self._link.send(pack_blob(header._replace(kind=BlobKind.ARE_YOU_AT_IT)))
            return request
        finally:
            del self._pending[header.id]

    def _receive(self, batch: list[Message]) -> None:
        self._last_heard = trio.current_time()
        for (frame,) in batch:
            try:
                header, data = unpack_blob(frame)
            except ProtocolError as error:
                _log.warning("blob_frame_refused", reason=str(error))
                continue
            request = self._pending.get(header.id)
            if request is None or header.kind is BlobKind.AT_IT:
                continue
            if header.kind is BlobKind.SAY_AGAIN:
                self._link.send(request.frame)
            else:
                request.complete(header.kind, data)


def _framed(data: bytes) -> tuple[bytearray, str]:
    """Return a frame without its header, and the digest of the data; of the copy, as in `MeshBlobs._accept`."""
    frame = bytearray(BLOB_HEADER_BYTES)
    frame += data
    with memoryview(frame) as view:
        return frame, digest_of(view[BLOB_HEADER_BYTES:])
