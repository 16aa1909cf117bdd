"""What systemd is told of a service: that it is ready, that its loop moves, that it ends.

The protocol of sd_notify(3): lines in a datagram to the socket that `NOTIFY_SOCKET` names. Where nobody named one,
nothing happens.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import trio


def notify(*lines: str) -> None:
    """Tell whoever started this process, such as `READY=1`; who does not listen goes without."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.setblocking(False)
        sender.connect(f"\0{place[1:]}" if place.startswith("@") else place)
        sender.send("\n".join(lines).encode())


async def keep_watchdog() -> None:
    """Tell twice in each of systemd's periods that this loop moves, until cancelled; return at once where none asks."""
    period_us = os.environ.get("WATCHDOG_USEC", "")
    is_meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    while period_us.isdecimal() and int(period_us) and is_meant:
        notify("WATCHDOG=1")
        await trio.sleep(int(period_us) / 2e6)
