"""The process that keeps the pictures of a mesh whose hosts share no storage: one ROUTER socket before a folder.

It keeps nothing in memory that anybody misses: killed and started again, it is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
import trio
import zmq

from gems_actors.blobs.folder import BlobFolder
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import BlobError, ForbiddenError
from gems_actors.ops.log_setup import RateLimitedLog
from gems_actors.roles import BUILT_IN_ROLES, RoleSpec
from gems_actors.security.permissions import Permissions, Principal
from gems_actors.security.zap import ALLOW_LIST_POLL_S, ZapAuthenticator
from gems_actors.transport.bind import CurveSocket, open_sockets
from gems_actors.transport.sockets import Link, Message
from protocol.blobs import BlobHeader, BlobKind, pack_blob, unpack_blob
from protocol.errors import ProtocolError
from protocol.identity import digest_of
from protocol.limits import MAX_BLOB_BYTES

_NOBODY = Principal("somebody who was taken out of the allow-list", frozenset())

_log = structlog.get_logger()


async def serve_blobs(
    addresses: Sequence[str],
    folder: Path,
    security: SecurityConfig = NO_KEYS,
    *,
    is_insecure: bool = False,
    roles: Mapping[str, RoleSpec] = BUILT_IN_ROLES,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the pictures of a folder until cancelled; what is being written then is written to its end.

    Args:
        addresses: `ipc://PATH` and `tcp://HOST:PORT`, all of them bound before the task reports started.
        folder: of the pictures.
        security: the keys, the same as the router's.
        is_insecure: other hosts may come without.
        roles: what there is to know about the roles of the mesh, by name.

    Raises:
        AddressInUseError: somebody listens at an address already.
        ConfigError: an address cannot be listened at at all, or not without keys; or a key cannot be used.
    """
    opened = open_sockets(
        addresses,
        security,
        is_insecure=is_insecure,
        max_frame_bytes=MAX_BLOB_BYTES,
        permissions=Permissions(roles),
    )
    with opened as sockets:
        async with trio.open_nursery() as nursery:
            socket, guarded = sockets
            server = _BlobServer(socket, guarded, BlobFolder(folder), nursery)
            try:
                for link in server.links:
                    nursery.start_soon(link.run)
                if guarded is not None:
                    nursery.start_soon(guarded.door.run)
                    nursery.start_soon(_watch, guarded.door)
                _log.info("blob_server_listening", addresses=addresses, with_keys=guarded is not None)
                task_status.started()
                await trio.sleep_forever()
            finally:
                for link in server.links:
                    link.close(linger_ms=200)


async def _watch(door: ZapAuthenticator) -> None:
    while True:
        await trio.sleep(ALLOW_LIST_POLL_S)
        door.reload()


class _BlobServer:
    """Requests in, each a task of its own, answers out.

    An identity is not held to one key, as a router's is: nobody can guess one, and who did would see a picture.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], guarded: CurveSocket | None, folder: BlobFolder, nursery: trio.Nursery
    ) -> None:
        self._plain = Link(socket, self._take)
        self.links = [self._plain]
        if guarded is not None:
            self._door = guarded.door
            self._guarded = Link(guarded.socket, self._take_guests, has_users=True)
            self.links.append(self._guarded)
        self._folder = folder
        self._nursery = nursery
        self._complaints = RateLimitedLog(_log)
        self._in_hand: set[tuple[Link, bytes, int]] = set()

    def _take(self, batch: list[Message]) -> None:
        for identity, frame in batch:
            self._take_one(self._plain, identity, frame, None)

    def _take_guests(self, batch: list[Message]) -> None:
        for identity, frame, key in batch:
            guest = self._door.allowed.get(key.decode(), _NOBODY)
            self._take_one(self._guarded, identity, frame, guest)

    def _take_one(self, link: Link, identity: bytes, frame: bytes, guest: Principal | None) -> None:
        try:
            header, data = unpack_blob(frame)
            if guest is not None:
                guest.check_picture(header.kind)
        except (ProtocolError, ForbiddenError) as error:
            self._complaints.warning("blob_frame_refused", peer=identity.hex(), reason=str(error))
            id_ = int.from_bytes(frame[8:16].ljust(8, b"\0"))  # where every version of the header has the id
            link.send(identity, _failed(BlobHeader(BlobKind.FAILED, id_, 0, bytes(32)), error))
            return
        place = link, identity, header.id
        if header.kind is BlobKind.ARE_YOU_AT_IT:
            kind = BlobKind.AT_IT if place in self._in_hand else BlobKind.SAY_AGAIN
            link.send(identity, pack_blob(header._replace(kind=kind)))
        elif place not in self._in_hand:
            self._in_hand.add(place)
            self._nursery.start_soon(self._answer, link, identity, header, data)

    async def _answer(self, link: Link, identity: bytes, header: BlobHeader, data: memoryview) -> None:
        try:
            frame = await trio.to_thread.run_sync(self._answer_to, header, data)
            link.send(identity, frame)
        finally:
            self._in_hand.discard((link, identity, header.id))

    def _answer_to(self, header: BlobHeader, data: memoryview) -> bytes:
        digest = f"sha256:{header.digest.hex()}"
        try:
            match header.kind:
                case BlobKind.HAS:
                    is_there = self._folder.has(digest, header.size_bytes)
                    return pack_blob(header._replace(kind=BlobKind.KEPT if is_there else BlobKind.ABSENT))
                case BlobKind.PUT:
                    if (got := digest_of(data)) != digest:
                        raise BlobError(f"blob server: expected bytes of the digest that they are to have, got {got}")
                    self._folder.write(digest, data)
                    return pack_blob(header._replace(kind=BlobKind.KEPT))
                case BlobKind.GET:
                    found = self._folder.read(digest, header.size_bytes)
                    return pack_blob(header._replace(kind=BlobKind.BYTES), found)
                case kind:
                    raise BlobError(f"blob server: expected HAS, PUT, GET or ARE_YOU_AT_IT, got {kind.name}")
        except BlobError as error:
            _log.warning("blob_request_failed", kind=header.kind.name, reason=str(error))
            return _failed(header, error)


def _failed(header: BlobHeader, error: Exception) -> bytes:
    return pack_blob(header._replace(kind=BlobKind.FAILED), str(error).encode(errors="replace"))
