"""Authenticates keys: libzmq asks here, by ZAP, about the key of every connection to the tcp socket.

A refused peer learns nothing but that. An accepted peer is known by its key, which libzmq attaches to each message as
`User-Id`; `permissions` decides what that key allows.

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
from gems_actors.files import open_regular, os_reason
from gems_actors.ops.log_setup import RateLimitedLog
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Permissions, Principal, parse_allow_list

DOMAIN = b"gems"
ALLOW_LIST_POLL_S = 1.0
"""Seconds between two checks whether the allow-list has changed."""
MAX_ALLOW_LIST_BYTES = 16 * 1024 * 1024

_log = structlog.get_logger()


def read_allow_list(path: Path, permissions: Permissions = BUILT_IN_PERMISSIONS) -> dict[str, Principal]:
    """Return the principals of an allow-list by public key in Z85.

    Raises:
        ConfigError: the file cannot be read, is not an allow-list, or is writable by others than its owner.
    """
    try:
        with open_regular(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(MAX_ALLOW_LIST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable allow-list, got: {os_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
    if mode & 0o022:
        raise ConfigError(f"{path}: expected an allow-list that only its owner can write, got mode {mode:04o}")
    try:
        return parse_allow_list(text, permissions)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


class ZapAuthenticator:
    """Answers libzmq about keys from an allow-list that may change at any time."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], path: Path, permissions: Permissions = BUILT_IN_PERMISSIONS
    ) -> None:
        """Open the ZAP socket, which must happen before a socket with keys is bound, or libzmq refuses every key.

        Raises:
            ConfigError: the allow-list cannot be read.
        """
        self._path, self._permissions = path, permissions
        self._stamp = self._fingerprint()
        self.allowed = read_allow_list(path, permissions)
        """Principals by public key in Z85."""
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
            self._socket.send_multipart(self._answer(request))
            await trio.lowlevel.checkpoint()  # many connections must not starve the router

    def reload(self) -> bool:
        """Read the allow-list again if its file has changed, and return whether it was; an invalid one is not used."""
        stamp = self._fingerprint()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.allowed = read_allow_list(self._path, self._permissions)
        except ConfigError as error:
            _log.error("allow_list_unusable", reason=str(error), kept=len(self.allowed))
            return False
        _log.info("allow_list_read", principals=len(self.allowed))
        return True

    def _fingerprint(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the file does; None if it cannot be read."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _answer(self, request: list[bytes]) -> list[bytes]:
        version, request_id, domain, address, _, mechanism, *credentials = request
        is_readable = version == b"1.0" and domain == DOMAIN and mechanism == b"CURVE" and len(credentials) == 1
        user = z85.encode(credentials[0]) if is_readable else b""
        if user and user.decode() in self.allowed:
            return [b"1.0", request_id, b"200", b"", user, b""]
        self._complaints.warning("key_refused", address=address.decode(errors="replace"), key=user.decode())
        return [b"1.0", request_id, b"400", b"", b"", b""]
