"""Keys of a mesh, for CURVE over tcp: one file each, made by `gems keys`, read where a socket needs them.

A file contains comments and one key in Z85. As with ssh, a secret key that is readable by others is refused. What a key
allows is written in the router's allow-list; see `permissions`.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import zmq

from gems_actors.config import SecurityConfig
from gems_actors.errors import ConfigError
from gems_actors.files import open_regular, os_reason
from gems_actors.security.permissions import KEY_TEXT, describe_principal

ALLOW_LIST_NAME = "allowed.toml"
MAX_KEY_FILE_BYTES = 4096
_FIRST_GRANTS = {"router": "agent", "agent": "agent", "client": "client", "admin": "admin"}
"""Grants of the keys that `make_mesh_keys` makes, by name; the router's key has one because the actors of its
host use it to connect to routers of other hosts."""
_ALLOW_LIST_HEAD = """\
# Keys that may connect to this mesh over tcp, and their grants. The router reads this file again when it changes and
# disconnects keys that were removed. `may` lists grants: client (draw pictures, read memory), names of roles to play,
# agent (play every role, and supervise a host), admin (everything, including scaling and stopping the mesh).
"""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key and its secret key, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectingKeys:
    """The keys of a socket that connects."""

    own: KeyPair
    router: bytes
    """Public key of the router, in Z85."""


def keys_to_listen(security: SecurityConfig) -> KeyPair | None:
    """Return the router's own keys, or None if none are configured.

    Raises:
        ConfigError: the key cannot be read, or only one of key and allow-list is configured.
    """
    if security.key is None and security.allowed is None:
        return None
    if security.key is None:
        raise ConfigError("security.key: expected the router's secret key together with security.allowed, got none")
    if security.allowed is None:
        raise ConfigError("security.allowed: expected the router's allow-list together with security.key, got none")
    return read_key_pair(Path(security.key))


def keys_to_connect(security: SecurityConfig, address: str) -> ConnectingKeys | None:
    """Return the keys for a connection to an address, or None if it is not over tcp or no keys are configured.

    Raises:
        ConfigError: a key cannot be read, or only one of the two is configured.
    """
    if not address.startswith("tcp:") or (security.key is None and security.router_key is None):
        return None
    if security.key is None:
        raise ConfigError("security.key: expected this host's secret key together with security.router_key, got none")
    if security.router_key is None:
        raise ConfigError("security.router_key: expected the router's public key together with security.key, got none")
    return ConnectingKeys(read_key_pair(Path(security.key)), read_public_key(Path(security.router_key)))


def read_key_pair(path: Path) -> KeyPair:
    """Read a secret key, and derive its public key.

    Raises:
        ConfigError: the file cannot be read, is not a key, or is readable by others than its owner.
    """
    secret = _read_key(path, "secret")
    return KeyPair(zmq.curve_public(secret), secret)


def read_public_key(path: Path) -> bytes:
    """Read a public key.

    Raises:
        ConfigError: the file cannot be read or is not a key.
    """
    return _read_key(path, "public")


def is_key(text: bytes) -> bool:
    """Return whether a text is a key in Z85: forty characters that stand for 32 bytes."""
    if not KEY_TEXT.fullmatch(text.decode("ascii", "replace")):
        return False
    try:
        zmq.curve_public(text)
    except zmq.ZMQError:  # five characters above the largest number of four bytes
        return False
    return True


def make_mesh_keys(folder: Path) -> list[Path]:
    """Write the keys of a new mesh and its allow-list into a folder, which is created if missing; return the files.

    Raises:
        FileExistsError: one of the files exists already; then nothing is written.
        OSError: the folder is not writable.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    allow_list, router_public = folder / ALLOW_LIST_NAME, folder / "router.pub"
    secrets = {name: folder / f"{name}.key" for name in _FIRST_GRANTS}
    files = [*secrets.values(), router_public, allow_list]
    for file in files:
        if file.exists():
            raise FileExistsError(file)
    public = {name: _write_key_pair(file, name) for name, file in secrets.items()}
    _write_new(router_public, _key_lines("public key of the router, for security.router_key", public["router"]), 0o644)
    entries = [describe_principal(name, public[name].decode(), [grant]) for name, grant in _FIRST_GRANTS.items()]
    _write_new(allow_list, "\n".join([_ALLOW_LIST_HEAD, *entries]), 0o600)
    return files


def add_key(folder: Path, name: str, grants: list[str]) -> Path:
    """Write a new key into a mesh's folder, append it to the allow-list, and return the file.

    The allow-list is only appended to, so that manual changes are kept.

    Raises:
        FileExistsError: a key of that name exists.
        OSError: the folder has no allow-list, or is not writable.
    """
    with (folder / ALLOW_LIST_NAME).open("r+", encoding="utf-8") as allow_list:
        public = _write_key_pair(folder / f"{name}.key", name)
        allow_list.seek(0, os.SEEK_END)
        allow_list.write("\n" + describe_principal(name, public.decode(), grants))
    return folder / f"{name}.key"


def _write_key_pair(path: Path, whose: str) -> bytes:
    """Write a new secret key and return the public one."""
    public, secret = zmq.curve_keypair()
    _write_new(path, _key_lines(f"secret key of {whose}, for security.key; public: {public.decode()}", secret), 0o600)
    return public


def _key_lines(what: str, key: bytes) -> str:
    return f"# gems: {what}\n{key.decode()}\n"


def _write_new(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)


def _read_key(path: Path, kind: Literal["secret", "public"]) -> bytes:
    if not zmq.has("curve"):
        raise ConfigError(f"security: expected a libzmq with CURVE for {path}, got one without; reinstall pyzmq")
    try:
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            text = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable {kind} key, got: {os_reason(error)}") from error
    mode = stat.S_IMODE(found.st_mode)
    if kind == "secret" and found.st_uid == os.getuid() and mode & 0o077:  # root's file is root's concern
        raise ConfigError(f"{path}: expected a secret key that nobody else can read, got mode {mode:04o}; chmod 600")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(b"#")]  # as no key does
    if len(lines) != 1 or not is_key(lines[0]):  # never show the content, which may be a secret
        raise ConfigError(f"{path}: expected one line with a {kind} key of 40 characters in Z85, got something else")
    return lines[0]
