"""The blob server of a mesh whose hosts share no storage: a ROUTER socket in front of a folder.

It holds no state: if it is killed and restarted, clients repeat their requests.
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

_REVOKED = Principal("a client that was removed from the allow-list", frozenset())

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
    """Serve the pictures of a folder until cancelled; writes in progress are completed.

    The addresses, `ipc://PATH` and `tcp://HOST:PORT`, are bound before the task reports started. `security` has the
    keys of the router; with `is_insecure` other hosts may connect without keys.

    Raises:
        AddressInUseError: another process listens at an address.
        ConfigError: an address cannot be bound, or not without keys; or a key cannot be used.
    """
    opened = open_sockets(
        addresses, security, is_insecure=is_insecure, max_frame_bytes=MAX_BLOB_BYTES, permissions=Permissions(roles)
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
    """Answers each request in its own task.

    Unlike in the router, a routing id is not bound to one key: it cannot be guessed, and would only reveal a picture.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], guarded: CurveSocket | None, folder: BlobFolder, nursery: trio.Nursery
    ) -> None:
        self._plain = Link(socket, self._receive)
        self.links = [self._plain]
        if guarded is not None:
            self._authenticator = guarded.authenticator
            self._guarded = Link(guarded.socket, self._receive_with_keys, has_users=True)
            self.links.append(self._guarded)
        self._folder = folder
        self._nursery = nursery
        self._rejections = RateLimitedLog(_log)
        self._in_flight: set[tuple[Link, bytes, int]] = set()

    def _receive(self, batch: list[Message]) -> None:
        for identity, frame in batch:
            self._handle(self._plain, identity, frame, None)

    def _receive_with_keys(self, batch: list[Message]) -> None:
        for identity, frame, key in batch:
            principal = self._authenticator.allowed.get(key.decode(), _REVOKED)
            self._handle(self._guarded, identity, frame, principal)

    def _handle(self, link: Link, identity: bytes, frame: bytes, principal: Principal | None) -> None:
        try:
            header, data = unpack_blob(frame)
            if principal is not None:
                principal.check_picture(header.kind)
        except (ProtocolError, ForbiddenError) as error:
            self._rejections.warning("blob_frame_refused", peer=identity.hex(), reason=str(error))
            id_ = int.from_bytes(frame[8:16].ljust(8, b"\0"))  # the position of the id in every version of the header
            link.send(identity, _failed(BlobHeader(BlobKind.FAILED, id_, 0, bytes(32)), error))
            return
        key = link, identity, header.id
        if header.kind is BlobKind.ARE_YOU_AT_IT:
            kind = BlobKind.AT_IT if key in self._in_flight else BlobKind.SAY_AGAIN
            link.send(identity, pack_blob(header._replace(kind=kind)))
        elif key not in self._in_flight:
            self._in_flight.add(key)
            self._nursery.start_soon(self._answer, link, identity, header, data)

    async def _answer(self, link: Link, identity: bytes, header: BlobHeader, data: memoryview) -> None:
        try:
            frame = await trio.to_thread.run_sync(self._perform, header, data)
            link.send(identity, frame)
        finally:
            self._in_flight.discard((link, identity, header.id))

    def _perform(self, header: BlobHeader, data: memoryview) -> bytes:
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
                    found = self._folder.read(digest, header.size_bytes)
                    return pack_blob(header._replace(kind=BlobKind.BYTES), found)
                case kind:
                    raise BlobError(f"blob server: expected HAS, PUT, GET or ARE_YOU_AT_IT, got {kind.name}")
        except BlobError as error:
            _log.warning("blob_request_failed", kind=header.kind.name, reason=str(error))
            return _failed(header, error)


def _failed(header: BlobHeader, error: Exception) -> bytes:
    return pack_blob(header._replace(kind=BlobKind.FAILED), str(error).encode(errors="replace"))
