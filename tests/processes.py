"""Real processes: starting and ending them, and looking at them through /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gems_actors.cli.fork_server import SERVER_NAME

_TIMEOUT_S = 240.0


def take_signals() -> None:
    """Have the processes that are started from now on take signals, also where `nohup` or `&` has us ignore them."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def started(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process, and kill it at the end of the block if it still runs, also if the test fails."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def descendants(pid: int) -> dict[int, str]:
    """Return the running descendants of a process, but the fork server of the tests: pids, with the names in `ps`."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, tail = (folder / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent = tail.split()[:2]
        name = head.partition("(")[2]
        if state != "Z" and name != SERVER_NAME:
            parents[int(folder.name)] = (int(parent), name)
    found: dict[int, str] = {}
    layer = {pid}
    while layer:
        layer = {child for child, (parent, _) in parents.items() if parent in layer}
        found |= {child: parents[child][1] for child in layer}
    return found


def await_gone(pids: set[int], within_s: float = _TIMEOUT_S) -> set[int]:
    """Wait until the processes have ended, and return those that still run after the timeout, normally none."""
    end = time.monotonic() + within_s
    left = {pid for pid in pids if _is_alive(pid)}
    while left and time.monotonic() < end:
        time.sleep(0.01)  # they are not our children, so there is nothing to wait on
        left = {pid for pid in left if _is_alive(pid)}
    return left


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def memory_kib(pid: int) -> tuple[int, int]:
    """Return the resident and the proportional set size of a process, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return sizes["Rss"], sizes["Pss"]


def environment() -> dict[str, str]:
    """Return this process's environment without variables that colour or configure the program under test."""
    dropped = ("NO_COLOR", "FORCE_COLOR")
    return {key: value for key, value in os.environ.items() if key not in dropped and not key.startswith("GEMS_")}
