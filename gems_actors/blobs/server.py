"""The blob server of a mesh whose hosts share no storage: a ROUTER socket in front of a folder.

It holds no state: if it is killed and restarted, clients repeat their requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
import trio
import zmq

from gems_actors.blobs.byte_room import ByteRoom
from gems_actors.blobs.folder import BlobFolder
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import BlobError, ForbiddenError
from gems_actors.ops.log_setup import RateLimitedLog
from gems_actors.roles import BUILT_IN_ROLES, RoleSpec
from gems_actors.security.permissions import Permissions, Principal
from gems_actors.security.zap import ALLOW_LIST_POLL_S, ZapAuthenticator
from gems_actors.transport.bind import CurveSocket, open_sockets
from gems_actors.transport.links import Link, Message
from gems_actors.transport.memory_watch import MemoryWatch
from protocol.blobs import BLOB_HEADER_BYTES, BlobHeader, BlobKind, pack_blob, pack_blob_header, unpack_blob
from protocol.errors import ProtocolError
from protocol.identity import digest_of
from protocol.limits import MAX_BLOB_BYTES

_REVOKED = Principal("a client that was removed from the allow-list", frozenset())

_MAX_UNSENT = 1
"""Answers that libzmq holds for each peer, next to the one that it is sending; pictures have up to 64 MiB each."""
_ROOM_BYTES = 64 * 1024 * 1024
"""Bytes of pictures in memory to be sent or compared."""
_PEER_ROOM_BYTES = 32 * 1024 * 1024
_MAX_RECEIVED_BYTES = 64 * 1024 * 1024
"""Bytes of pictures in memory to be stored; others that arrive are dropped, and sent again half a second later."""
_MAX_REQUESTS = 64
"""Requests in flight per peer, four times what our client sends at a time."""
_PATIENCE_S = 0.25
"""How long a picture that its peer does not take keeps its room when others wait for it."""
_SMALL_BYTES = 64 * 1024
"""Answers up to this size need no room: everything but a picture."""

_log = structlog.get_logger()


class _Peer(NamedTuple):
    """A connection of a client, by its routing id."""

    link: Link
    identity: bytes

    def offer(self, frame: bytes) -> None:
        """Send an answer if there is room, which a client that gets none asks for again."""
        self.link.send(self.identity, frame)


async def serve_blobs(
    addresses: Sequence[str],
    folder: Path,
    security: SecurityConfig = NO_KEYS,
    *,
    is_insecure: bool = False,
    roles: Mapping[str, RoleSpec] = BUILT_IN_ROLES,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the pictures of a folder until cancelled; writes in progress are completed.

    The addresses, `ipc://PATH` and `tcp://HOST:PORT`, are bound before the task reports started. `security` has the
    keys of the router; with `is_insecure` other hosts may connect without keys.

    Raises:
        AddressInUseError: another process listens at an address.
        ConfigError: an address cannot be bound, or not without keys; or a key cannot be used.
    """
    opened = open_sockets(
        addresses,
        security,
        is_insecure=is_insecure,
        max_frame_bytes=MAX_BLOB_BYTES,
        max_unsent=_MAX_UNSENT,
        permissions=Permissions(roles),
    )
    with opened as sockets:
        socket, guarded = sockets
        links: Sequence[Link] = ()
        try:
            async with trio.open_nursery() as nursery:
                server = _BlobServer(socket, guarded, BlobFolder(folder), nursery)
                links = server.links
                for link in links:
                    nursery.start_soon(link.run)
                nursery.start_soon(MemoryWatch(addresses, server.links, MAX_BLOB_BYTES).run)
                if guarded is not None:
                    nursery.start_soon(guarded.authenticator.run)
                    nursery.start_soon(_watch, guarded.authenticator)
                _log.info("blob_server_listening", addresses=addresses, with_keys=guarded is not None)
                task_status.started()
                await trio.sleep_forever()
        finally:
            for link in links:  # not before its tasks have ended: they use the socket
                link.close(linger_ms=200)


async def _watch(authenticator: ZapAuthenticator) -> None:
    while True:
        await trio.sleep(ALLOW_LIST_POLL_S)
        authenticator.reload()


class _BlobServer:
    """Answers each request in its own task, once its peer can take the answer.

    A peer that does not read costs the pictures that libzmq holds for it and its part of the room for answers, which
    it loses when others wait. Requests beyond a peer's limit are dropped: clients ask after those without an answer.
    Unlike in the router, a routing id is not bound to one key: it cannot be guessed, and would only reveal a picture.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], guarded: CurveSocket | None, folder: BlobFolder, nursery: trio.Nursery
    ) -> None:
        self._plain = Link(socket, self._receive, has_large_frames=True)
        self.links = [self._plain]
        if guarded is not None:
            self._authenticator = guarded.authenticator
            self._guarded = Link(guarded.socket, self._receive_with_keys, has_users=True, has_large_frames=True)
            self.links.append(self._guarded)
        self._folder = folder
        self._nursery = nursery
        self._rejections = RateLimitedLog(_log)
        self._in_flight: dict[_Peer, set[int]] = {}
        self._room = ByteRoom(_ROOM_BYTES, _PEER_ROOM_BYTES)
        self._received_bytes = 0
        """Size of the pictures that have arrived and are not stored yet."""

    def _receive(self, batch: list[Message]) -> None:
        for identity, frame in batch:
            self._handle(_Peer(self._plain, identity), frame, None)

    def _receive_with_keys(self, batch: list[Message]) -> None:
        for identity, frame, key in batch:
            principal = self._authenticator.allowed.get(key.decode(), _REVOKED)
            self._handle(_Peer(self._guarded, identity), frame, principal)

    def _handle(self, peer: _Peer, frame: bytes, principal: Principal | None) -> None:
        try:
            header, data = unpack_blob(frame)
            if principal is not None:
                principal.check_picture(header.kind)
        except (ProtocolError, ForbiddenError) as error:
            self._rejections.warning("blob_frame_refused", peer=peer.identity.hex(), reason=str(error))
            id_ = int.from_bytes(bytes(frame[8:16]).ljust(8, b"\0"))  # its position in every version of the header
            peer.offer(_failed(BlobHeader(BlobKind.FAILED, id_, 0, bytes(32)), error))
            return
        in_flight = self._in_flight.get(peer, set())
        if header.kind is BlobKind.ARE_YOU_AT_IT:
            kind = BlobKind.AT_IT if header.id in in_flight else BlobKind.SAY_AGAIN
            peer.offer(pack_blob(header._replace(kind=kind)))
        elif header.id in in_flight:
            return
        elif len(in_flight) >= _MAX_REQUESTS or self._received_bytes > _MAX_RECEIVED_BYTES:
            self._rejections.warning("blob_request_dropped", peer=peer.identity.hex(), in_flight=len(in_flight))
        else:
            self._in_flight.setdefault(peer, in_flight).add(header.id)
            if header.kind is not BlobKind.PUT:
                data = memoryview(b"")  # whatever the peer has sent along
            self._received_bytes += len(data)
            self._nursery.start_soon(self._answer, peer, header, data)

    async def _answer(self, peer: _Peer, header: BlobHeader, data: memoryview) -> None:
        try:
            if header.kind is BlobKind.PUT:
                try:
                    frame = await trio.to_thread.run_sync(self._perform, header, data)
                finally:
                    self._received_bytes -= len(data)
                    del data
            else:
                while True:
                    async with self._room.hold(peer, min(header.size_bytes, MAX_BLOB_BYTES)):
                        frame = await trio.to_thread.run_sync(self._perform, header, memoryview(b""))
                        if len(frame) <= _SMALL_BYTES:
                            break
                        if await self._deliver(peer, frame):
                            return
                        del frame
                    # The picture is read again once the peer has taken something, for which this waits.
                    await self._deliver(peer, pack_blob(header._replace(kind=BlobKind.AT_IT)), is_patient=True)
            await self._deliver(peer, frame, is_patient=True)
        except trio.BrokenResourceError:
            return  # the peer is gone; it asks again when it is back
        finally:
            in_flight = self._in_flight[peer]
            in_flight.discard(header.id)
            if not in_flight:
                del self._in_flight[peer]

    async def _deliver(self, peer: _Peer, frame: bytes | zmq.Frame, *, is_patient: bool = False) -> bool:
        """Send an answer once the peer has room, and return whether it did, before others had waited for too long."""
        patience_until = trio.current_time() + _PATIENCE_S
        while not peer.link.try_send(peer.identity, frame):
            if not is_patient and self._room.is_wanted and trio.current_time() > patience_until:
                return False
            await peer.link.wait_for_room()
        return True

    def _perform(self, header: BlobHeader, data: memoryview) -> bytes | zmq.Frame:
        digest = f"sha256:{header.digest.hex()}"
        try:
            match header.kind:
                case BlobKind.HAS:
                    is_stored = self._folder.has(digest, header.size_bytes)
                    return pack_blob(header._replace(kind=BlobKind.KEPT if is_stored else BlobKind.ABSENT))
                case BlobKind.PUT:
                    if (got := digest_of(data)) != digest:
                        raise BlobError(f"blob server: expected bytes with the digest of the request, got {got}")
                    self._folder.write(digest, data)
                    return pack_blob(header._replace(kind=BlobKind.KEPT))
                case BlobKind.GET:
                    return self._read(header, digest)
                case kind:
                    raise BlobError(f"blob server: expected HAS, PUT, GET or ARE_YOU_AT_IT, got {kind.name}")
        except BlobError as error:
            _log.warning("blob_request_failed", kind=header.kind.name, reason=str(error))
            return _failed(header, error)

    def _read(self, header: BlobHeader, digest: str) -> zmq.Frame:
        """Return the answer with a picture, which its reader verifies: once is enough, and SHA-256 costs most of it."""
        with self._folder.open_file(digest, header.size_bytes) as file:
            frame = bytearray(BLOB_HEADER_BYTES + header.size_bytes)
            pack_blob_header(header._replace(kind=BlobKind.BYTES), frame)
            with memoryview(frame) as view:
                file.readinto(view[BLOB_HEADER_BYTES:])
        return zmq.Frame(frame)


def _failed(header: BlobHeader, error: Exception) -> bytes:
    may_pass = isinstance(error, BlobError) and error.is_outage
    kind = BlobKind.UNAVAILABLE if may_pass else BlobKind.FAILED
    return pack_blob(header._replace(kind=kind), str(error).encode(errors="replace"))
