"""The process that keeps the pictures of a mesh whose hosts share no storage: one ROUTER socket before a folder.

It keeps nothing in memory that anybody misses: killed and started again, it is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog
import trio
import zmq

from gems_actors.blobs.folder import BlobFolder
from gems_actors.errors import BlobError
from gems_actors.router import listen
from gems_actors.sockets import Link, Message, open_router
from protocol.blobs import BlobHeader, BlobKind, pack_blob, unpack_blob
from protocol.errors import ProtocolError
from protocol.identity import digest_of
from protocol.limits import MAX_BLOB_BYTES

_log = structlog.get_logger()


async def serve_blobs(
    addresses: Sequence[str], folder: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the pictures of a folder until cancelled; what is being written then is written to its end.

    Args:
        addresses: `ipc://PATH` and `tcp://HOST:PORT`, all of them bound before the task reports started.
        folder: of the pictures.

    Raises:
        AddressInUseError: somebody listens at an address already.
        ConfigError: an address cannot be listened at at all.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with ExitStack() as stack:
        stack.callback(context.term)
        socket = open_router(context, max_frame_bytes=MAX_BLOB_BYTES)
        stack.callback(socket.close)  # before the context ends, which waits for it
        for address in addresses:
            listen(socket, address, stack)
        async with trio.open_nursery() as nursery:
            server = _BlobServer(socket, BlobFolder(folder), nursery)
            try:
                nursery.start_soon(server.link.run)
                _log.info("blob_server_listening", addresses=addresses)
                task_status.started()
                await trio.sleep_forever()
            finally:
                server.link.close(linger_ms=200)


class _BlobServer:
    """Requests in, each a task of its own, answers out."""

    def __init__(self, socket: zmq.Socket[bytes], folder: BlobFolder, nursery: trio.Nursery) -> None:
        self.link = Link(socket, self._take)
        self._folder = folder
        self._nursery = nursery
        self._in_hand: set[tuple[bytes, int]] = set()

    def _take(self, batch: list[Message]) -> None:
        for identity, frame in batch:
            try:
                header, data = unpack_blob(frame)
            except ProtocolError as error:
                _log.warning("blob_frame_refused", peer=identity.hex(), reason=str(error))
                id_ = int.from_bytes(frame[8:16].ljust(8, b"\0"))  # where every version of the header has the id
                self.link.send(identity, _failed(BlobHeader(BlobKind.FAILED, id_, 0, bytes(32)), error))
                continue
            place = identity, header.id
            if header.kind is BlobKind.ARE_YOU_AT_IT:
                kind = BlobKind.AT_IT if place in self._in_hand else BlobKind.SAY_AGAIN
                self.link.send(identity, pack_blob(header._replace(kind=kind)))
            elif place not in self._in_hand:
                self._in_hand.add(place)
                self._nursery.start_soon(self._answer, identity, header, data)

    async def _answer(self, identity: bytes, header: BlobHeader, data: memoryview) -> None:
        try:
            frame = await trio.to_thread.run_sync(self._answer_to, header, data)
            self.link.send(identity, frame)
        finally:
            self._in_hand.discard((identity, header.id))

    def _answer_to(self, header: BlobHeader, data: memoryview) -> bytes:
        digest = f"sha256:{header.digest.hex()}"
        try:
            match header.kind:
                case BlobKind.HAS:
                    is_there = self._folder.has(digest, header.size_bytes)
                    return pack_blob(header._replace(kind=BlobKind.KEPT if is_there else BlobKind.ABSENT))
                case BlobKind.PUT:
                    if (came := digest_of(data)) != digest:
                        raise BlobError(f"blob server: expected bytes of the digest that they are to have, came {came}")
                    self._folder.write(digest, data)
                    return pack_blob(header._replace(kind=BlobKind.KEPT))
                case BlobKind.GET:
                    found = self._folder.read(digest, header.size_bytes)
                    return pack_blob(header._replace(kind=BlobKind.BYTES), found)
                case kind:
                    raise BlobError(f"blob server: expected HAS, PUT, GET or ARE_YOU_AT_IT, came {kind.name}")
        except BlobError as error:
            _log.warning("blob_request_failed", kind=header.kind.name, reason=str(error))
            return _failed(header, error)


def _failed(header: BlobHeader, error: Exception) -> bytes:
    return pack_blob(header._replace(kind=BlobKind.FAILED), str(error).encode(errors="replace"))
