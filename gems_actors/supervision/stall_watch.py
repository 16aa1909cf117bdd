"""Ends a process whose event loop stands still for good, so that it is replaced.

Without memory for a new thread, the thread ends before it has told that it began, and `Thread.start` waits for it for
ever: in a role, that is the thread of the event loop. No exception tells of it, and no other process can help.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final

import trio

from gems_actors.beats import seconds_to_beat

_PERIOD_S: Final = 15.0
_MAX_MISSED: Final = 4
"""Periods in a row without a turn of the event loop after which it stands still for good."""
_END_S: Final = 10
"""Seconds that a process may take to end once its work has ended."""


async def watch_for_stalls(
    period_s: float = _PERIOD_S, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """End this process by SIGALRM once its event loop stands still for three to four periods; runs until cancelled.

    Periods in which the process is stopped, as by Ctrl-Z, do not count: alarms that are due meanwhile arrive as one.
    What cancels the task must end the process as soon, for the alarms go on until `end_soon`.

    Args:
        period_s: time between two alarms.
    """
    missed = 0

    def count(number: int, frame: FrameType | None) -> None:  # also in a main thread that waits for a lock
        nonlocal missed
        missed += 1
        if missed >= _MAX_MISSED:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGALRM)

    signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, period_s, period_s)
    task_status.started()
    while True:
        missed = 0
        await trio.sleep(seconds_to_beat(period_s))


def end_soon() -> None:
    """Have this process killed by SIGALRM if it is still there in 10 s.

    The end of an event loop takes milliseconds, but without memory for its last tasks it waits for ever.
    """
    signal.setitimer(signal.ITIMER_REAL, _END_S)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def stop_watching() -> None:
    """Let this process live on."""
    signal.setitimer(signal.ITIMER_REAL, 0)
