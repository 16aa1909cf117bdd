"""The address file of a router on a shared file system, for agents that cannot know the router's host beforehand.

The file holds one line: the address, then text for people, such as the job that wrote it. A router that moves to
another host replaces the file atomically.
"""

from __future__ import annotations

from pathlib import Path

import trio

from gems_actors.app.options import parse_address
from gems_actors.errors import ConfigError, UsageError
from gems_actors.files import os_reason, read_regular

_POLL_S = 1.0


def read_rendezvous(path: Path) -> str:
    """Return the line of a router's address file; empty while the file does not exist.

    Raises:
        ConfigError: the file cannot be read, or does not begin with an address.
    """
    try:
        line = read_regular(path).decode("utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise ConfigError(f"{path}: expected a file with the address of a router, got: {reason}") from error
    try:
        parse_address(address_of(line))
    except UsageError as error:
        raise ConfigError(f"{path}: {error}") from error
    return line


def address_of(line: str) -> str:
    """Return the address at the beginning of a line."""
    return line.partition(" ")[0]


async def await_router(path: Path, *, other_than: str = "") -> str:
    """Return the address in a router's file, once the file has one that differs from `other_than`.

    Raises:
        ConfigError: the file cannot be read, or does not begin with an address.
    """
    while True:
        if (address := address_of(read_rendezvous(path))) not in ("", other_than):
            return address
        await trio.sleep(_POLL_S)
