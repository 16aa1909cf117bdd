"""Addresses of routers, as in settings and on command lines. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

PORT_PATTERN = r"(6553[0-5]|655[0-2]\d|65[0-4]\d{2}|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})"
"""A port from 1 to 65535; libzmq takes 99999 as 34463."""
ADDRESS_PATTERN = rf"(ipc:///[^\0\n]+|tcp://([^/:\s]+|\[[0-9a-fA-F:]+\]):{PORT_PATTERN})"
"""The address of one router."""
_BETWEEN = re.compile(r",(?=(?:ipc|tcp)://)")
"""A comma between two addresses; the path of an ipc socket may contain commas too."""

MAX_IPC_PATH_BYTES = 107
"""Longest path of an ipc socket: `sun_path` of a Unix socket address without its closing zero byte."""
_LONGEST_SOCKET_NAME = "router.ipc.blobs"


def split_addresses(text: str) -> list[str]:
    """Split a text of one or more comma-separated addresses."""
    return _BETWEEN.split(text)


def join_addresses(addresses: Iterable[str]) -> str:
    """Join addresses with commas."""
    return ",".join(addresses)


def next_address(address: str, further: int) -> str:
    """Return the address of a further router on the same host.

    Its port is `further` higher than the first router's; the name of its ipc socket has its number, from 2 on.
    """
    if further == 0:
        return address
    if address.startswith("ipc://"):
        return f"{address.removesuffix('.ipc')}-{further + 1}.ipc"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + further}"


def can_hold_sockets(folder: str) -> bool:
    """Return whether ipc sockets of a mesh can lie in a folder: its path is short, and text that ZeroMQ takes."""
    path = f"{folder}/{_LONGEST_SOCKET_NAME}"
    return path.isprintable() and len(os.fsencode(path)) <= MAX_IPC_PATH_BYTES
