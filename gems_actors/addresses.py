"""Where routers are: addresses as they stand in settings and on command lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BETWEEN = re.compile(r",(?=(?:ipc|tcp)://)")
"""A comma that begins another address; the path of an ipc socket may hold one too."""


def split_addresses(text: str) -> list[str]:
    """Return each address of a text that has one, or several with commas between them."""
    return _BETWEEN.split(text)


def join_addresses(addresses: Iterable[str]) -> str:
    """Return several addresses as one text."""
    return ",".join(addresses)


def next_address(address: str, further: int) -> str:
    """Return where the router that is so many behind the first one of a host listens.

    The port is as many higher; the name of an ipc socket tells the number, from 2 on.
    """
    if further == 0:
        return address
    if address.startswith("ipc://"):
        return f"{address.removesuffix('.ipc')}-{further + 1}.ipc"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + further}"
