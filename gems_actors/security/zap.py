"""Who gets through the door: libzmq asks here, by ZAP, about every key that knocks at the tcp socket.

A refused stranger learns no more than that. Whom the door let in is told by the key, which libzmq then puts on each
message as `User-Id`; what that key allows is decided by `permissions`.

Source: https://rfc.zeromq.org/spec/27/ (ZAP 1.0).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import cast

import structlog
import trio
import zmq
from zmq.utils import z85

from gems_actors.errors import ConfigError
from gems_actors.ops.log_setup import RateLimitedLog
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Permissions, Principal, parse_allow_list

DOMAIN = b"gems"
LOOK_S = 1.0
"""Between two looks at the allow-list."""
MAX_ALLOW_LIST_BYTES = 16 * 1024 * 1024

_log = structlog.get_logger()


def read_allow_list(path: Path, permissions: Permissions = BUILT_IN_PERMISSIONS) -> dict[str, Principal]:
    """Read who is let in, by public key in Z85.

    Raises:
        ConfigError: the file cannot be read, is no allow-list, or others than its owner can write it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(MAX_ALLOW_LIST_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable allow-list, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
    if mode & 0o022:
        raise ConfigError(f"{path}: expected an allow-list that only its owner can write, got mode {mode:04o}")
    try:
        return parse_allow_list(text, permissions)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


class ZapAuthenticator:
    """Answers libzmq about keys, by an allow-list that may change at any time."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        path: Path,
        permissions: Permissions = BUILT_IN_PERMISSIONS,
    ) -> None:
        """Open the door; before any socket that asks at it is bound, or libzmq would let nobody in.

        Raises:
            ConfigError: the allow-list cannot be used.
        """
        self._path, self._permissions = path, permissions
        self._stamp = self._look()
        self.allowed = read_allow_list(path, permissions)
        """Sessions by public key in Z85, as of now."""
        self._complaints = RateLimitedLog(_log)
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind("inproc://zeromq.zap.01")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def run(self) -> None:
        """Answer until cancelled."""
        descriptor = cast(int, self._socket.getsockopt(zmq.FD))
        while True:
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                await trio.lowlevel.wait_readable(descriptor)  # straight after EAGAIN: see `sockets`, rule 1
                continue
            self._socket.send_multipart(self._answer(*request))
            await trio.lowlevel.checkpoint()  # a crowd at the door must not keep the router from its work

    def look_again(self) -> bool:
        """Read the allow-list again if its file is another; return whether it was. A broken one changes nothing."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.allowed = read_allow_list(self._path, self._permissions)
        except ConfigError as error:
            _log.error("allow_list_unusable", reason=str(error), kept=len(self.allowed))
            return False
        _log.info("allow_list_read", guests=len(self.allowed))
        return True

    def _look(self) -> tuple[int, int, int] | None:
        """Return what tells one state of the file from the next; None where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _answer(
        self,
        version: bytes,
        request_id: bytes,
        domain: bytes,
        address: bytes,
        identity: bytes,
        mechanism: bytes,
        *credentials: bytes,
    ) -> list[bytes]:
        is_readable = version == b"1.0" and domain == DOMAIN and mechanism == b"CURVE" and len(credentials) == 1
        user = z85.encode(credentials[0]) if is_readable else b""
        if user and user.decode() in self.allowed:
            return [b"1.0", request_id, b"200", b"", user, b""]
        self._complaints.warning("stranger_refused", address=address.decode(errors="replace"), key=user.decode())
        return [b"1.0", request_id, b"400", b"", b"", b""]
