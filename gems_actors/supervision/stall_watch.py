"""Ends a process that waits for ever for lack of memory, so that it is replaced.

Without memory for a new thread, the thread ends before it has told that it began, and `Thread.start` waits for it for
ever: in a role, that is the thread of the event loop. And without memory for its last tasks, trio waits for ever at its
end. No exception tells of either, and no other process can help. A loop that stands still in other code, such as that
of a backend that loads its model there, does so for reasons of its own, and is left alone.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Final

import trio

from gems_actors.beats import seconds_to_beat

_PERIOD_S: Final = 15.0
_MAX_MISSED: Final = 4
"""Periods in a row in which it waited in vain, after which it would do so for good."""
_LAST_WORDS: Final = (
    b"gems: this process waited in vain for a minute, for a thread that never began or for its own end, as happens "
    b"without memory; it ends by SIGALRM\n"
)
_END_S: Final = 10
"""Seconds that a process may take to end once its work has ended."""


async def watch_for_stalls(
    period_s: float = _PERIOD_S, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """End this process by SIGALRM once it has waited in vain for three to four periods; runs until cancelled.

    It waits in vain in `Thread.start`, or without work although this task, which was cancelled, should have ended it.
    Periods in which the process is stopped, as by Ctrl-Z, do not count: alarms that are due meanwhile arrive as one.

    Args:
        period_s: time between two alarms.
    """
    missed = 0

    def count(number: int, frame: FrameType | None) -> None:  # also in a main thread that waits for a lock
        nonlocal missed
        missed = missed + 1 if _waits_in_vain(frame) else 0
        if missed >= _MAX_MISSED:
            os.write(2, _LAST_WORDS)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGALRM)

    signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, period_s, period_s)
    task_status.started()
    while True:
        missed = 0
        await trio.sleep(seconds_to_beat(period_s))


def _waits_in_vain(frame: FrameType | None) -> bool:
    """Return whether the main thread, which is in this frame, waits for a new thread to begin, or has no work."""
    is_idle = frame is not None and frame.f_code.co_name == "get_events"  # of trio's event loop
    while frame is not None and frame.f_code is not threading.Thread.start.__code__:
        frame = frame.f_back
    return is_idle or frame is not None


def end_soon() -> None:
    """Have this process killed by SIGALRM if it is still there in 10 s.

    The end of an event loop takes milliseconds, but without memory for its last tasks it waits for ever.
    """
    signal.setitimer(signal.ITIMER_REAL, _END_S)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def stop_watching() -> None:
    """Let this process live on."""
    signal.setitimer(signal.ITIMER_REAL, 0)
