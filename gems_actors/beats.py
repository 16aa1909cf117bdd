"""When processes wake up for what they do from time to time: all of a host at once.

A process that wakes up alone finds cold caches, which costs it more than what it then does. Processes that were forked
from the same one share their code, so the second one to wake up finds it in the cache, and a router that is awake reads
the heartbeats of all. Each host has its own beat, so that the heartbeats of a large mesh do not arrive together.
"""

from __future__ import annotations

import socket
import time
from typing import Final

from protocol.identity import run_bytes

_LEAST: Final = 0.25
"""Part of a period that a wait has at least; a shorter one is prolonged by a period."""


def seconds_to_beat(period_s: float, now: float | None = None, host: str | None = None) -> float:
    """Return the time until the next beat of this host, a quarter of a period to one and a quarter.

    Args:
        period_s: time between two beats.
        now: time of the host's monotonic clock; the present one by default.
        host: name of the host; this one by default.
    """
    now = time.monotonic() if now is None else now
    name = socket.gethostname() if host is None else host
    whole, part = divmod(int.from_bytes(run_bytes(name), "big"), 2**32)
    phase_s = whole % max(1, int(period_s)) + part / 2**32  # so that beats of different periods coincide
    left_s = period_s - (now - phase_s) % period_s
    return left_s if left_s >= _LEAST * period_s else left_s + period_s
