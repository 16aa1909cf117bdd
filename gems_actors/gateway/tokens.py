"""Who may use the gateway: names and tokens from a file and the environment, compared in constant time."""

from __future__ import annotations

import hmac
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog

from gems_actors.config import GatewayConfig
from gems_actors.errors import ConfigError
from gems_actors.files import open_regular, os_reason
from gems_actors.security.permissions import check_principal_name

_TOKEN: Final = re.compile(r"[!-~]{16,256}")
_MAX_FILE_BYTES: Final = 1024 * 1024

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request."""

    name: str
    requests_per_minute: int | None = None
    """None: no limit; the same applies to `images_per_day`."""
    images_per_day: int | None = None
    is_admin: bool = False
    """Whether it sees and controls everything: all runs, and how many actors a role has."""


LOCAL: Final = Caller("local", is_admin=True)
"""Everybody, where a gateway has no tokens: it listens on loopback alone."""


_Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    requests_per_minute: _Limit | None = None
    images_per_day: _Limit | None = None
    admin: bool = False


class TokenTable:
    """The callers by their tokens."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        """Keep digests of tokens; `callers` is by token."""
        self._callers = {sha256(token.encode()).digest(): caller for token, caller in callers.items()}

    def __len__(self) -> int:
        return len(self._callers)

    def caller_of(self, token: str) -> Caller | None:
        """Return the caller with a token, in a time that says nothing about the tokens; None if nobody has it."""
        digest = sha256(token.encode(errors="replace")).digest()
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def named(self, name: str) -> Caller | None:
        """Return the caller with a name; None if it has no token."""
        return next((caller for caller in self._callers.values() if caller.name == name), None)


class Tokens:
    """The tokens of the settings; those of the file are read again when it changes."""

    def __init__(self, settings: GatewayConfig) -> None:
        """Read the tokens.

        Raises:
            ConfigError: the file or the variable cannot be read, or holds no valid token.
        """
        self._settings = settings
        self._path = None if settings.tokens is None else Path(settings.tokens)
        self._variable = settings.tokens_env
        self._stamp = self._fingerprint()
        self.are_needed = self._path is not None or self._variable is not None
        """Whether a request needs a token."""
        self.table = self._read()

    def reload(self) -> None:
        """Read the file again if it has changed; one that is invalid is not used."""
        if (stamp := self._fingerprint()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self.table = self._read()
            _log.info("tokens_read", tokens=len(self.table))
        except ConfigError as error:
            _log.error("tokens_unusable", reason=str(error), kept=len(self.table))

    def named(self, name: str) -> Caller | None:
        """Return the caller with a name, for what was begun earlier; None if it may do nothing any more."""
        return self.table.named(name) if self.are_needed else LOCAL

    def _read(self) -> TokenTable:
        callers: dict[str, Caller] = {}
        if self._path is not None:
            callers |= read_tokens(self._path)
        if self._variable is not None:
            callers |= parse_variable(self._variable, os.environ.get(self._variable, ""))
        return TokenTable({token: self._limited(caller) for token, caller in callers.items()})

    def _limited(self, caller: Caller) -> Caller:
        """Return a caller with the limits of the settings where it has no own ones."""
        return replace(
            caller,
            requests_per_minute=caller.requests_per_minute or self._settings.requests_per_minute,
            images_per_day=caller.images_per_day or self._settings.images_per_day,
        )

    def _fingerprint(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def read_tokens(path: Path) -> dict[str, Caller]:
    """Return the callers of a file by token.

    Raises:
        ConfigError: it cannot be read, is readable by others, or holds no valid tokens.
    """
    try:
        with open_regular(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MAX_FILE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file of tokens, got: {os_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: expected a file that only its owner can read, got mode {mode:04o}")
    try:
        entries = msgspec.convert(tomllib.loads(text), dict[str, _Entry])
    except (ValueError, RecursionError) as error:  # the text of an error of TOML or msgspec has no value of the file
        raise ConfigError(f"{path}: expected tables [NAME] with a token: {type(error).__name__}") from error
    callers: dict[str, Caller] = {}
    for name, entry in entries.items():
        caller = Caller(name, entry.requests_per_minute, entry.images_per_day, entry.admin)
        _add(callers, f"{path}: [{name[:80]}]", caller, entry.token)
    if not callers:
        raise ConfigError(f"{path}: expected tables [NAME] with a token, got none")
    return callers


def parse_variable(variable: str, text: str) -> dict[str, Caller]:
    """Return the callers of an environment variable by token.

    Raises:
        ConfigError: it does not hold valid tokens.
    """
    callers: dict[str, Caller] = {}
    for number, item in enumerate(text.split()):
        name, _, token = item.partition("=")
        _add(callers, f"environment {variable}: token {number + 1}", Caller(name), token)
    if not callers:
        raise ConfigError(f"environment {variable}: expected NAME=TOKEN, got nothing")
    return callers


def _add(callers: dict[str, Caller], where: str, caller: Caller, token: str) -> None:
    try:
        check_principal_name(caller.name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{where}: expected a token of 16 to 256 printable ASCII characters without spaces")
    if token in callers:
        raise ConfigError(f"{where}: expected a token that no other name has")
    callers[token] = caller
