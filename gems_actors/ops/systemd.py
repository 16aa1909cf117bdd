"""Messages to systemd: the service is ready, its event loop is running, it is stopping.

The protocol of sd_notify(3): lines in a datagram to the socket in `NOTIFY_SOCKET`. Without that variable nothing
happens.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import trio

from gems_actors.terminal_text import printable


def notify(*lines: str) -> None:
    """Send lines such as `READY=1` to the service manager; errors are ignored."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.setblocking(False)
        sender.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        sender.send("\n".join(map(printable, lines)).encode())


async def keep_watchdog() -> None:
    """Ping systemd's watchdog twice per period until cancelled; return at once if no watchdog is configured."""
    period_us = os.environ.get("WATCHDOG_USEC", "")
    is_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    while period_us.isdecimal() and int(period_us) and is_for_us:
        notify("WATCHDOG=1")
        await trio.sleep(int(period_us) / 2e6)
