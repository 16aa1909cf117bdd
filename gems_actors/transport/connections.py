"""The connections that libzmq has accepted, seen from outside: through /proc, and by descriptor.

libzmq tells neither which connections a socket has nor what it holds for each, and has no call that ends one.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import stat
import struct
import termios
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

_TCP_INFO_BYTES = 192
_ACKED_AND_RECEIVED = struct.Struct("=QQ")
_AT_ACKED = 120
"""Offset of `tcpi_bytes_acked` and `tcpi_bytes_received` in `struct tcp_info` (linux/tcp.h, since 4.1)."""


_RESET = struct.pack("ii", 1, 0)


class Connection(NamedTuple):
    """What the system knows about one accepted connection."""

    descriptor: int
    inode: int
    """Identity of the connection; its descriptor may be used again."""
    taken_bytes: int | None
    """Bytes that libzmq has read from it since it began; None where the system does not count them (ipc)."""
    unread_bytes: int
    """Bytes that libzmq has not read yet."""
    unsent: tuple[int, int]
    """Bytes that the peer has not taken yet, and of tcp how many it has: unchanged while it takes nothing."""

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait for the peer."""
        return self.unsent[0] > 0


class AcceptedConnections:
    """Finds the connections that this process accepted at given addresses."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Take the addresses of a router: `ipc://PATH` and `tcp://HOST:PORT`."""
        self._names: set[str | int] = set()
        for address in addresses:
            scheme, _, rest = address.partition("://")
            self._names.add(rest if scheme == "ipc" else int(rest.rpartition(":")[2]))
        self._families: dict[tuple[int, int], int | None] = {}
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._copy = os.dup(self._nothing)
        """Becomes a copy of the connection that is shut down: later no descriptor may be left."""

    def close(self) -> None:
        """Close the descriptors that this holds."""
        os.close(self._nothing)
        os.close(self._copy)

    def cut(self, connection: Connection) -> None:
        """Shut a connection down, for which libzmq then frees what it holds; do nothing if it has ended meanwhile."""
        with suppress(OSError):
            os.dup2(connection.descriptor, self._copy, inheritable=False)  # from here on it cannot become another file
            try:
                if os.fstat(self._copy).st_ino == connection.inode:
                    borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=self._copy)
                    try:
                        # A peer with a full window would hear of an ordinary end only after minutes; this resets tcp.
                        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        borrowed.shutdown(socket.SHUT_RDWR)
                    finally:
                        borrowed.detach()
            finally:
                os.dup2(self._nothing, self._copy, inheritable=False)

    def look(self) -> list[Connection]:
        """Return the connections; costs some ten microseconds for each open file of the process."""
        found: list[Connection] = []
        families: dict[tuple[int, int], int | None] = {}
        for descriptor in _open_descriptors():
            with suppress(OSError):  # closed meanwhile
                status = os.fstat(descriptor)
                if not stat.S_ISSOCK(status.st_mode):
                    continue
                key = descriptor, status.st_ino
                family = self._families[key] if key in self._families else self._family_of(descriptor)
                families[key] = family
                if family is not None:
                    found.append(_read(descriptor, status.st_ino, is_tcp=family != socket.AF_UNIX))
        self._families = families
        return found

    def _family_of(self, descriptor: int) -> int | None:
        """Return the address family of a connection accepted at one of the addresses; None for other sockets."""
        borrowed = socket.socket(fileno=descriptor)
        try:
            if borrowed.type != socket.SOCK_STREAM or borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            name = borrowed.getsockname()
            return borrowed.family if (name[1] if isinstance(name, tuple) else name) in self._names else None
        finally:
            borrowed.detach()


def _open_descriptors() -> Iterable[int]:
    try:
        return map(int, os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path for each would cost more than the rest
    except OSError:  # no descriptor is left to list them with
        return range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _read(descriptor: int, inode: int, *, is_tcp: bool) -> Connection:
    unread, unsent = (
        int.from_bytes(fcntl.ioctl(descriptor, request, bytes(4)), "little")
        for request in (termios.FIONREAD, termios.TIOCOUTQ)
    )
    if not is_tcp:
        return Connection(descriptor, inode, None, unread, (unsent, 0))
    borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
    try:
        info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    finally:
        borrowed.detach()
    if len(info) < _AT_ACKED + _ACKED_AND_RECEIVED.size:  # an older kernel
        return Connection(descriptor, inode, None, unread, (unsent, 0))
    acked, received = _ACKED_AND_RECEIVED.unpack_from(info, _AT_ACKED)
    return Connection(descriptor, inode, max(0, received - unread), unread, (unsent, acked))
