"""Keys of a mesh, for CURVE over tcp: one file each, made by `gems keys`, read where a socket needs them.

A file holds one key in Z85, beneath comments. A secret key that others than its owner can read is refused, as ssh does.
What a key allows stands in the router's allow-list; see `permissions`.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from gems_actors.config import SecurityConfig
from gems_actors.errors import ConfigError
from gems_actors.security.permissions import KEY_TEXT, describe_principal

ALLOW_LIST_NAME = "allowed.toml"
MAX_KEY_FILE_BYTES = 4096
_FIRST_GUESTS = {"router": "agent", "agent": "agent", "client": "client", "admin": "admin"}
"""Whom `make_mesh_keys` makes keys for, and what each of them may do; the router is among them because with its key
the actors of its host come to the routers of other hosts."""
_ALLOW_LIST_HEAD = """\
# Who may come to this mesh over tcp, and what for. The router reads it again when it changes; who is taken out is
# cut off. `may` is a list of: client (ask for pictures, read memory), the names of roles to play, agent (play every
# role, and supervise a host), admin (everything, also scale the mesh and end it).
"""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One side's own keys, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectingKeys:
    """What a socket that connects needs."""

    own: KeyPair
    router: bytes
    """Public key of the router, in Z85."""


def keys_to_listen(security: SecurityConfig) -> KeyPair | None:
    """Return the router's own keys, or None where it is to have none.

    Raises:
        ConfigError: the key's file cannot be used, or there is a key without an allow-list or the other way round.
    """
    if security.key is None and security.allowed is None:
        return None
    if security.key is None:
        raise ConfigError("security.key: expected the router's secret key beside security.allowed, got none")
    if security.allowed is None:
        raise ConfigError(
            "security.allowed: expected the list of whom the router lets in beside security.key, got none"
        )
    return read_key_pair(Path(security.key))


def keys_to_connect(security: SecurityConfig, address: str) -> ConnectingKeys | None:
    """Return what a connection to an address needs, or None where it needs, or is to have, no keys.

    Raises:
        ConfigError: a key's file cannot be used, or one of the two keys is missing.
    """
    if not address.startswith("tcp:") or (security.key is None and security.router_key is None):
        return None
    if security.key is None:
        raise ConfigError("security.key: expected a secret key of our own beside security.router_key, got none")
    if security.router_key is None:
        raise ConfigError("security.router_key: expected the router's public key beside security.key, got none")
    return ConnectingKeys(read_key_pair(Path(security.key)), read_public_key(Path(security.router_key)))


def read_key_pair(path: Path) -> KeyPair:
    """Read a secret key, and work out the public one.

    Raises:
        ConfigError: the file cannot be read, is no key, or others than its owner can read it.
    """
    secret = _read_key(path, "secret", is_secret=True)
    return KeyPair(zmq.curve_public(secret), secret)


def read_public_key(path: Path) -> bytes:
    """Read a public key.

    Raises:
        ConfigError: the file cannot be read or is no key.
    """
    return _read_key(path, "public", is_secret=False)


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
    """Write the keys of a new mesh and its allow-list into a folder, made where it is missing; return the files.

    Raises:
        FileExistsError: one of the files is there; nothing is written then.
        OSError: the folder cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    allow_list, router_public = folder / ALLOW_LIST_NAME, folder / "router.pub"
    secrets = {name: folder / f"{name}.key" for name in _FIRST_GUESTS}
    files = [*secrets.values(), router_public, allow_list]
    for file in files:
        if file.exists():
            raise FileExistsError(file)
    public = {name: _write_key_pair(file, name) for name, file in secrets.items()}
    _write_new(router_public, _key_lines("public key of the router, for security.router_key", public["router"]), 0o644)
    guests = [describe_principal(name, public[name].decode(), [grant]) for name, grant in _FIRST_GUESTS.items()]
    _write_new(allow_list, "\n".join([_ALLOW_LIST_HEAD, *guests]), 0o600)
    return files


def add_key(folder: Path, name: str, grants: list[str]) -> Path:
    """Write a key of its own for somebody into a mesh's folder, and let it in; return the file.

    The allow-list is added to and never written anew, so that what was written into it by hand stays.

    Raises:
        FileExistsError: there is such a key.
        OSError: the folder has no allow-list, or cannot be written to.
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


def _read_key(path: Path, kind: str, *, is_secret: bool) -> bytes:
    if not zmq.has("curve"):
        raise ConfigError(f"security: expected a libzmq with CURVE for {path}, got one without; reinstall pyzmq")
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable {kind} key, got: {error.strerror}") from error
    mode = stat.S_IMODE(found.st_mode)
    if is_secret and found.st_uid == os.getuid() and mode & 0o077:  # another's, such as root's, is for root to keep
        raise ConfigError(f"{path}: expected a secret key that nobody else can read, got mode {mode:04o}; chmod 600")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(b"#")]  # as no key does
    if len(lines) != 1 or not is_key(lines[0]):  # and never a word of what got, which may be a secret
        raise ConfigError(f"{path}: expected one line with a {kind} key of 40 characters in Z85, got something else")
    return lines[0]
