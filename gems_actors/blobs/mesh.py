"""The pictures of a mesh whose hosts share no storage: they are served beside the router, over sockets of their own.

What is asked is asked again until it is answered, so a server may be killed at any moment: a request of which it knows
nothing has been lost, and all of them may be done twice.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import structlog
import trio
import zmq

from gems_actors.blobs.cache import BlobCache
from gems_actors.blobs.store import BlobStore, hex_of, verify
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import BlobError, ConfigError
from gems_actors.security.keys import ConnectingKeys, keys_to_connect
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import Link, Message, open_dealer
from protocol.blobs import BlobHeader, BlobKind, blob_address, pack_blob, unpack_blob
from protocol.errors import ProtocolError
from protocol.identity import digest_of
from protocol.limits import MAX_BLOB_BYTES
from protocol.messages import ImageRef

_LOOK_AGAIN_S: Final = 0.5
"""How long an answer is waited for before the server is asked whether it is at it."""
_PATIENCE_S: Final = 30.0
"""A server that says nothing at all for so long is not there; the supervisor starts another within a second."""
_SLOWEST_BYTES_PER_S: Final = 1_000_000
"""A line on which one picture may hold up every word behind it."""
_AT_ONCE: Final = 16
"""Pictures under way of one process, which bounds the memory that they take here and at the server."""

_log = structlog.get_logger()


class _Question:
    """A request that waits for its answer."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.answered = trio.Event()
        self.kind: BlobKind
        self.data = memoryview(b"")

    def take(self, kind: BlobKind, data: memoryview) -> None:
        self.kind, self.data = kind, data
        self.answered.set()


class MeshBlobs(BlobStore):
    """Keeps pictures at the router's host, and a copy of those that are used on this one."""

    def __init__(self, router: str, cache: Path, cache_bytes: int, security: SecurityConfig = NO_KEYS) -> None:
        """Connect once opened.

        Args:
            router: its address.
            cache: folder of pictures that came from another host; not used on the router's own.
            cache_bytes: what it may hold, about.
            security: our keys.
        """
        self.address = blob_address(router)
        self._security = security
        self._cache = None if router.startswith("ipc:") else BlobCache(cache, cache_bytes)
        self._questions: dict[int, _Question] = {}
        self._numbers = count(1)
        self._at_once = trio.CapacityLimiter(_AT_ONCE)
        self._heard = 0.0
        self._link: Link

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the connection, whether or not a server is there yet.

        Raises:
            ConfigError: the router's address has none beside it, or a key cannot be used.
        """
        keys = keys_to_connect(self._security, self.address)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._link = Link(self._connect(context, keys), self._take)
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
            raise ConfigError(f"blobs: expected an address beside the router's, got {self.address}") from error

    def place_of(self, digest: str) -> str:
        """Return who serves a picture, and under which name."""
        return f"{self.address} {digest}"

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified."""
        hex_of(ref.digest)
        if self._cache is not None:
            cached = await trio.to_thread.run_sync(self._cache.read, ref.digest, ref.bytes)
            if cached is not None:
                return cached
        async with self._at_once:
            answer = await self._ask(BlobKind.GET, ref.digest, ref.bytes)
            if answer.kind is not BlobKind.BYTES:
                raise self._unexpected(answer, f"a picture of {ref.bytes} bytes")
            return await trio.to_thread.run_sync(self._take_in, ref, answer.data)

    async def _keep(self, data: bytes) -> str:
        if len(data) > MAX_BLOB_BYTES:
            raise BlobError(f"{self.address}: expected a picture of at most {MAX_BLOB_BYTES} bytes, got {len(data)}")
        digest = await trio.to_thread.run_sync(digest_of, data)
        async with self._at_once:
            answer = await self._ask(BlobKind.HAS, digest, len(data))
            if answer.kind is BlobKind.ABSENT:
                answer = await self._ask(BlobKind.PUT, digest, len(data), data)
        if answer.kind is not BlobKind.KEPT:
            raise self._unexpected(answer, f"to store {len(data)} bytes")
        if self._cache is not None:
            await trio.to_thread.run_sync(self._cache.write, digest, data)
        return digest

    def _take_in(self, ref: ImageRef, data: memoryview) -> bytes:
        verify(data, ref.digest, ref.bytes, self.address)
        if self._cache is not None:
            self._cache.write(ref.digest, data)
        return bytes(data)

    def _unexpected(self, answer: _Question, expected: str) -> BlobError:
        if answer.kind is BlobKind.FAILED:
            return BlobError(bytes(answer.data).decode(errors="replace"))
        return BlobError(f"{self.address}: expected {expected}, got {answer.kind.name}")

    async def _ask(self, kind: BlobKind, digest: str, size_bytes: int, data: bytes = b"") -> _Question:
        header = BlobHeader(kind, next(self._numbers), size_bytes, bytes.fromhex(hex_of(digest)))
        question = self._questions[header.id] = _Question(pack_blob(header, data))
        patience_s, began = _PATIENCE_S + size_bytes / _SLOWEST_BYTES_PER_S, trio.current_time()
        try:
            self._link.send(question.frame)
            while not question.answered.is_set():
                with trio.move_on_after(_LOOK_AGAIN_S):
                    await question.answered.wait()
                    break
                if trio.current_time() - max(began, self._heard) > patience_s:
                    raise BlobError(
                        f"{self.address}: expected pictures to be served, but nobody answered for {patience_s:.0f} s"
                    )
                if self._link.unsent == 0:  # what has not left yet cannot be lost
                    self._link.send(pack_blob(header._replace(kind=BlobKind.ARE_YOU_AT_IT)))
            return question
        finally:
            del self._questions[header.id]

    def _take(self, batch: list[Message]) -> None:
        self._heard = trio.current_time()
        for (frame,) in batch:
            try:
                header, data = unpack_blob(frame)
            except ProtocolError as error:
                _log.warning("blob_frame_refused", reason=str(error))
                continue
            question = self._questions.get(header.id)
            if question is None or header.kind is BlobKind.AT_IT:
                continue
            if header.kind is BlobKind.SAY_AGAIN:
                self._link.send(question.frame)
            else:
                question.take(header.kind, data)
