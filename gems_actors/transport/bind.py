"""Binds the sockets of a mesh's servers: ipc for their own host, and tcp for others, with keys if configured.

A process that can enter the folder of an ipc socket belongs to the mesh's user and needs no key.
"""

from __future__ import annotations

import ipaddress
import os
import socket as network
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import zmq

from gems_actors.addresses import MAX_IPC_PATH_BYTES
from gems_actors.config import SecurityConfig
from gems_actors.errors import AddressInUseError, ConfigError
from gems_actors.files import os_reason
from gems_actors.locks import LockHeldError, hold_lock
from gems_actors.security.keys import keys_to_listen
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Permissions
from gems_actors.security.zap import ZapAuthenticator
from gems_actors.transport.sockets import MAX_UNSENT_BY_ROUTER, open_context, open_router
from protocol.limits import MAX_FRAME_BYTES


class CurveSocket(NamedTuple):
    """A socket for peers with keys, and the authenticator that admits them."""

    socket: zmq.Socket[bytes]
    authenticator: ZapAuthenticator
    """Authenticator of the same context; no peer is admitted unless it runs."""


@contextmanager
def open_sockets(
    addresses: Sequence[str],
    security: SecurityConfig,
    *,
    is_insecure: bool,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    max_unsent: int = MAX_UNSENT_BY_ROUTER,
    permissions: Permissions = BUILT_IN_PERMISSIONS,
) -> Iterator[tuple[zmq.Socket[bytes], CurveSocket | None]]:
    """Bind a ROUTER to the addresses and, if there are keys, a second one that requires them to the tcp addresses.

    `is_insecure` allows other hosts without keys; `permissions` are what the grants of the allow list allow.

    Raises:
        AddressInUseError: another process listens at an address.
        ConfigError: an address cannot be bound, or needs keys; or a key cannot be used.
    """
    remote = [address for address in addresses if address.startswith("tcp:")]
    for address in remote:
        check_exposure(address, security, is_insecure=is_insecure)
    keys = keys_to_listen(security) if remote else None
    context = open_context(io_threads=1 if keys is None else 2)
    with ExitStack() as stack:
        stack.callback(context.term)
        socket = open_router(context, max_frame_bytes=max_frame_bytes, max_unsent=max_unsent)
        stack.callback(socket.close)  # before the context ends, which waits for it
        guarded: CurveSocket | None = None
        if keys is not None and security.allowed is not None:
            authenticator = ZapAuthenticator(context, Path(security.allowed), permissions)
            stack.callback(authenticator.close)
            with_keys = open_router(context, keys, max_frame_bytes=max_frame_bytes, max_unsent=max_unsent)
            guarded = CurveSocket(with_keys, authenticator)
            stack.callback(guarded.socket.close)
        for address in addresses:
            _listen(guarded.socket if guarded is not None and address in remote else socket, address, stack)
        yield socket, guarded


def check_exposure(address: str, security: SecurityConfig, *, is_insecure: bool) -> None:
    """Check that other hosts cannot connect without a key, unless that is configured.

    Raises:
        ConfigError: other hosts could connect without keys.
    """
    has_keys = security.key is not None and security.allowed is not None
    if not has_keys and not is_insecure and _is_reachable_from_elsewhere(address):
        raise ConfigError(
            f"{address}: expected security.key and security.allowed for an address that other hosts reach, got none;"
            " gems keys new makes them, router.insecure = true goes without"
        )


def _is_reachable_from_elsewhere(address: str) -> bool:
    if not address.startswith("tcp:"):
        return False
    try:
        found = network.getaddrinfo(address.removeprefix("tcp://").rpartition(":")[0].strip("[]"), None)
    except (network.gaierror, UnicodeError):
        return True  # `*`, the name of an interface, or a name that cannot be resolved now
    return not all(ipaddress.ip_address(str(socket_address[0])).is_loopback for *_, socket_address in found)


def _listen(socket: zmq.Socket[bytes], address: str, stack: ExitStack) -> None:
    """Bind a socket; for ipc also hold a lock, because libzmq silently takes over a socket file that is in use."""
    if address.startswith("ipc://"):
        _hold_ipc(Path(address.removeprefix("ipc://")), stack)
    umask = os.umask(0o177)  # a socket without keys is for this user only, whatever the folder allows
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise AddressInUseError(f"{address}: expected a free address, got one that is taken") from error
        raise ConfigError(f"{address}: expected an address to listen at: {error.strerror}") from error
    finally:
        os.umask(umask)


def _hold_ipc(path: Path, stack: ExitStack) -> None:
    if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
        raise ConfigError(f"{path}: expected a path of at most {MAX_IPC_PATH_BYTES} bytes for an ipc socket")
    try:
        stack.enter_context(hold_lock(path.with_suffix(".lock")))
    except LockHeldError as error:
        raise AddressInUseError(f"ipc://{path}: expected a free address, got one that is taken, {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: expected a writable folder for the socket: {os_reason(error)}") from error
