"""What a mesh costs that has nothing to do: CPU time and wake-ups of each of its processes, `SECONDS=30` by default."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from pathlib import Path

import structlog
import trio

from gems_actors.config import load_config
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import open_supervisor
from tests.processes import descendants

_SETTLE_S = 4.0
_SLEPT = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)


def used_by(pid: int) -> tuple[float, int]:
    """Return the CPU seconds of all threads of a process, to the nanosecond, and how often they have slept."""
    seconds, sleeps = 0.0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
        if found := _SLEPT.search((task / "status").read_text()):
            sleeps += int(found[1])
    return seconds, sleeps


async def measure(seconds: float) -> None:
    """Print one line for each process, and the sum."""
    with (
        tempfile.TemporaryDirectory(prefix="gems-") as folder,
        open_private_folder(load_config(environment={}, settings=["log.level=error", f"data_dir={folder}"])) as config,
    ):
        async with open_supervisor(config) as supervisor:
            await supervisor.ready()
            await trio.sleep(_SETTLE_S)
            names = {child.pid: child.role for child in supervisor.children()}
            pids = [os.getpid(), *descendants(os.getpid())]
            before, began = {pid: used_by(pid) for pid in pids}, trio.current_time()
            await trio.sleep(seconds)
            took_s = trio.current_time() - began
            after = {pid: used_by(pid) for pid in pids}
    total = 0.0
    for pid in pids:
        used, slept = (now - then for now, then in zip(after[pid], before[pid], strict=True))
        total += used
        name = names.get(pid, "supervisor" if pid == os.getpid() else "zygote")
        print(f"{name:<12} {100 * used / took_s:5.2f} % of a core, {slept / took_s:5.1f} wake-ups a second")
    print(f"all {len(pids)} processes: {100 * total / took_s:.2f} % of a core, expected less than 1")


def main() -> None:
    """Print the load of the machine and the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    trio.run(measure, float(os.environ.get("SECONDS", "30")))
