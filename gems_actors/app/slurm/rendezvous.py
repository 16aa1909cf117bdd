"""Where a router says where it is, for agents that cannot know before: a file on a file system that all hosts share.

It holds one line: the address, and then whatever helps a person, such as which job wrote it. A router that has come to
another place replaces the file whole.
"""

from __future__ import annotations

from pathlib import Path

import trio

from gems_actors.app.options import parse_address
from gems_actors.errors import ConfigError, UsageError

_LOOK_AGAIN_S = 1.0


def read_rendezvous(path: Path) -> str:
    """Return the line of a router's file, empty while there is none.

    Raises:
        ConfigError: it is a file of another kind.
    """
    try:
        line = path.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a file with the address of a router, got: {error}") from error
    try:
        parse_address(address_of(line))
    except UsageError as error:
        raise ConfigError(f"{path}: {error}") from error
    return line


def address_of(line: str) -> str:
    """Return the address that a line begins with."""
    return line.partition(" ")[0]


async def await_router(path: Path, *, other_than: str = "") -> str:
    """Return the address in a router's file, once there is one, and another than that which is known.

    Raises:
        ConfigError: it is a file of another kind.
    """
    while True:
        if (address := address_of(read_rendezvous(path))) not in ("", other_than):
            return address
        await trio.sleep(_LOOK_AGAIN_S)
