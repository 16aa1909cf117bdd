"""What a mesh needs from its host: Linux, a runtime directory for its sockets, and its port.

ZeroMQ silently takes over an ipc path that is in use, so the lock in the runtime directory is what keeps two meshes
apart.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from gems_actors.addresses import MAX_IPC_PATH_BYTES, can_hold_sockets, split_addresses
from gems_actors.config import MESH_BLOBS, MeshConfig
from gems_actors.errors import AddressInUseError, ConfigError
from gems_actors.files import os_reason
from gems_actors.locks import LockHeldError, hold_lock, hold_new_lock
from gems_actors.security.keys import keys_to_listen
from gems_actors.security.permissions import Permissions
from gems_actors.security.zap import read_allow_list
from gems_actors.transport.bind import check_exposure

_PREFIX: Final = "gems-"
_TEMPORARY: Final = re.compile(r"gems-[a-z0-9_]{8}")
_HOLDER: Final = "command.lock"
"""File in a temporary folder that its command holds locked; the kernel lets go of it however the command ends."""
_SHORT_FOLDERS: Final = ("/tmp", "/var/tmp", "/dev/shm")


def check_platform() -> None:
    """Refuse to run processes of a mesh on any system but Linux.

    The fork server relies on the kernel's death signal, on /proc, pidfd and memfd, which other systems lack.

    Raises:
        ConfigError: this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError(f"expected Linux to run processes of a mesh, got {sys.platform}; use a container or a VM")


@contextmanager
def open_private_folder(config: MeshConfig) -> Iterator[MeshConfig]:
    """Yield the settings of a mesh that shares nothing: sockets and data in a temporary folder.

    Where the path of the system's folder for temporary files is too long for sockets, as on clusters, only the data is
    there, and the sockets are in a short folder. A configured `data_dir` is used and kept.

    Raises:
        ConfigError: no folder for temporary files is writable, or none is short enough for sockets.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_open_temporary_folder(tempfile.gettempdir()))
        except OSError as error:
            got = os.environ.get("TMPDIR") or "none"
            raise ConfigError(f"TMPDIR: expected a writable folder for temporary files, got {got}: {error}") from error
        sockets = folder if can_hold_sockets(folder) else _open_short_folder(stack, folder)
        yield msgspec.structs.replace(
            config,
            router=msgspec.structs.replace(config.router, runtime_dir=sockets),
            data_dir=config.data_dir or f"{folder}/data",
        )


@contextmanager
def _open_temporary_folder(parent: str) -> Iterator[str]:
    """Yield a new private folder, which is removed at the end; those of commands that were killed are removed now."""
    _clear_abandoned_folders(parent)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    try:
        with hold_new_lock(Path(folder) / _HOLDER):
            yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:  # a signal meanwhile must not leave the rest of it
            shutil.rmtree(folder, ignore_errors=True)


def _clear_abandoned_folders(parent: str) -> None:
    """Remove the temporary folders of this user's commands that have ended; one without a lock is not touched."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            lock = Path(entry.path) / _HOLDER
            with suppress(OSError, LockHeldError):
                if entry.is_dir(follow_symlinks=False) and entry.stat().st_uid == os.getuid() and lock.is_file():
                    with hold_lock(lock):
                        shutil.rmtree(entry.path, ignore_errors=True)


def _open_short_folder(stack: ExitStack, folder: str) -> str:
    """Return a private temporary folder whose path leaves room for sockets, which is removed when the stack ends."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), *_SHORT_FOLDERS):
        if parent.startswith("/") and can_hold_sockets(f"{parent}/gems-12345678"):
            with suppress(OSError):
                return stack.enter_context(_open_temporary_folder(parent))
    raise ConfigError(
        f"TMPDIR: expected a path short enough for sockets ({MAX_IPC_PATH_BYTES} bytes with their names), or one of "
        f"{', '.join(_SHORT_FOLDERS)} to be writable, got {folder}"
    )


@contextmanager
def claim_runtime_dir(config: MeshConfig) -> Iterator[None]:
    """Hold the runtime directory exclusively for this mesh; it is created if missing.

    Raises:
        AddressInUseError: another mesh of this host holds the directory or listens at the port.
        ConfigError: the directory or the port cannot be used.
    """
    folder, lock = config.runtime_path, config.runtime_path / "mesh.lock"
    routers = [split_addresses(router) for router in config.router_addresses]
    sockets = [routers[-1][0], *(config.blob_addresses[:1] if config.blobs == MESH_BLOBS else ())]
    longest = max((address.removeprefix("ipc://") for address in sockets), key=lambda path: len(os.fsencode(path)))
    if (size := len(os.fsencode(longest))) > MAX_IPC_PATH_BYTES:
        raise ConfigError(
            f"router.runtime_dir: expected a folder in which {Path(longest).name} has a path of at most "
            f"{MAX_IPC_PATH_BYTES} bytes, got {size} bytes: {folder}"
        )
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise ConfigError(f"router.runtime_dir: expected a folder of our own, got another user's: {folder}")
            stack.enter_context(hold_lock(lock))
        except LockHeldError as error:
            raise AddressInUseError(f"{lock}: expected a folder that no mesh uses, got one {error}") from error
        except OSError as error:
            raise ConfigError(
                f"router.runtime_dir: expected a folder to write to, got {folder}: {os_reason(error)}"
            ) from error
        addresses = [address for router in routers for address in router[1:]]
        for address in (*addresses, *(config.blob_addresses if config.blobs == MESH_BLOBS else ())):
            _check_address(address, config)
        yield


def _check_address(address: str, config: MeshConfig) -> None:
    """Check that a server will be able to listen, while the failure can still be reported in one line."""
    if not address.startswith("tcp:"):
        return
    check_exposure(address, config.security, is_insecure=config.router.insecure)
    if keys_to_listen(config.security) is not None and config.security.allowed is not None:
        read_allow_list(Path(config.security.allowed), Permissions(config.role_specs))
    _check_port(address)


def _check_port(address: str) -> None:
    """Check that the port is free; the router binds it later, and exits with code 78 if it was taken meanwhile."""
    found = re.fullmatch(r"tcp://\[?([^/\]]+)\]?:(\d+)", address)
    if found is None or found[2] == "0":
        return
    host = None if found[1] == "*" else found[1]
    try:
        family, *_, endpoint = socket.getaddrinfo(
            host, int(found[2]), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        return  # the name of an interface, which ZeroMQ resolves
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as libzmq does: a port in TIME_WAIT is free
        try:
            probe.bind(endpoint)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(f"{address}: expected a free address, got one that is taken") from error
            raise ConfigError(
                f"router.address: expected an address of this host, got {address}: {os_reason(error)}"
            ) from error
