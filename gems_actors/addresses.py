"""Addresses of routers, as in settings and on command lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BETWEEN = re.compile(r",(?=(?:ipc|tcp)://)")
"""A comma between two addresses; the path of an ipc socket may contain commas too."""


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
