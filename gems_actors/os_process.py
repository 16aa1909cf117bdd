"""What the operating system knows of a process: exit code, title in `ps`, signals, and who may read its files."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, Literal

EXIT_NO_FORK = 71
"""`EX_OSERR` of sysexits.h: the system refused to fork the process."""
EXIT_INTERRUPTED = 130
"""Interrupted or cancelled, gracefully or not."""
EXIT_CONFIG = 78
"""`EX_CONFIG` of sysexits.h: a restart would end the same way."""
FINAL_EXITS = {64: "wrong usage", EXIT_CONFIG: "bad configuration"}
"""Exit codes, with their meaning, after which a process is not restarted; 64 is `EX_USAGE` of sysexits.h."""

SHORTAGES: Final = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Reasons that may pass for which the system refuses a process, memory or a file."""
_NO_THREAD: Final = "can't start new thread"
"""Text of the error that Python raises for want of memory or of processes."""

FileAccess = Literal["private", "group"]
_UMASKS: Final[dict[FileAccess, int]] = {"private": 0o077, "group": 0o007}

_INTERRUPTED = b"gems: interrupted\n"
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def is_shortage(error: BaseException) -> bool:
    """Return whether a process got no memory, thread or descriptor, which may pass and is no fault of its task."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_shortage, error.exceptions))
    if isinstance(error, OSError):
        return error.errno in SHORTAGES
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and str(error) == _NO_THREAD)


def describe_exit(code: int) -> str:
    """Return in words how a process ended: the name of its signal (a code below zero), or its exit code."""
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:  # real-time signals have no name
            return f"signal {-code}"
    meanings = {EXIT_NO_FORK: "the system refused the process", **FINAL_EXITS}
    return f"exit code {code} ({meanings[code]})" if code in meanings else f"exit code {code}"


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a process to stop; SIGHUP is not one where it is ignored, as under `nohup`."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def collect_garbage_rarely() -> None:
    """Look for garbage less often than Python does by default.

    With 10,000 requests in flight, each a task that lives for long, the collector took a third of their CPU time.
    """
    gc.set_threshold(10_000, 50, 100)


def run_to_the_end(run: Callable[[], int]) -> int:
    """Return the exit code of a command that is all this process does, whatever signals to stop it gets.

    Until the command calls `raise_at_stop_signals`, a signal ends the process at once: KeyboardInterrupt would be lost
    in the callbacks of an import. After the command signals are ignored, because the interpreter, on its way out,
    restores defaults that would kill it.
    """
    collect_garbage_rarely()
    try:
        for number in stop_signals():
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _end_at_once)
        code = run()
    except KeyboardInterrupt:  # another one, while the first was reported
        os.write(2, _INTERRUPTED)
        code = EXIT_INTERRUPTED
    finally:
        for number in stop_signals():
            signal.signal(number, signal.SIG_IGN)
    if code == EXIT_INTERRUPTED:
        # An interpreter in which code that was built as text, such as that of a dataclass, was interrupted ends itself
        # by SIGINT, whatever its exit code is.
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def raise_at_stop_signals() -> None:
    """Have signals to stop raise KeyboardInterrupt from now on, in a process that `run_to_the_end` runs."""
    if signal.getsignal(signal.SIGTERM) == _end_at_once:
        for number in stop_signals():
            is_ctrl_c = number == signal.SIGINT  # whose default handler trio replaces by its own
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if is_ctrl_c else _interrupt)


@contextmanager
def ending_at_stop_signals() -> Iterator[None]:
    """Have signals to stop end the process at once for the time of some more imports, as before the command began."""
    if signal.getsignal(signal.SIGTERM) != _interrupt:  # not the process of a command
        yield
        return
    for number in stop_signals():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end_at_once)
    try:
        yield
    finally:
        raise_at_stop_signals()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os.write(2, _INTERRUPTED)
    os._exit(EXIT_INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    act = signal.getsignal(signal.SIGINT)  # trio's own handler while trio runs, which knows when raising is safe
    (act if callable(act) else signal.default_int_handler)(signal.SIGINT, frame)  # trio's accepts no other number


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; exit at once if it already has."""
    import ctypes  # here and below: the command line imports this module for its exit codes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def protect_files(access: FileAccess) -> None:
    """Keep other users, or users outside the group, from what this process and its children create from now on."""
    os.umask(_UMASKS[access])


def set_title(short: str, title: str) -> None:
    """Set what `ps` shows: `short`, cut to 15 characters, as process name and `title` as command line."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_NAME, short.encode()[:15])
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from the third field on
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5); zeros where the kernel hides them
    if start < end:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, text := title.encode(), min(len(text), end - start - 1))
