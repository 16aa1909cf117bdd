"""CPU time of a trajectory by process, without start and end.

`TASKS` (1,500) go through `gems bulk` with the models of `bench_bulk`, which only wait, `CONCURRENCY` (256) at once.
Counted is what each process takes between the first 300 tasks and the last 100, for each task in between, and how
often its threads went to sleep meanwhile.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import structlog
import trio

from gems_actors.config import load_config
from gems_actors.supervision.supervisor import open_supervisor
from tests.benchmarks.bench_bulk import run_null_role
from tests.processes import environment

_FIRST, _LAST = 300, 100
"""Tasks at either end that do not count."""
_LOOK_S = 0.05


class Usage(NamedTuple):
    """What a process has used so far."""

    cpu_s: float = 0.0
    sleeps: int = 0
    """Voluntary context switches of all its threads."""


def usage_of(pid: int) -> Usage:
    """Return what the present threads of a process have used, to the nanosecond."""
    cpu_s, sleeps = 0.0, 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            cpu_s += int((thread / "schedstat").read_text().split()[0]) / 1e9
            sleeps += int((thread / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return Usage(cpu_s, sleeps)


def start_bulk(prompts: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the command."""
    command = (sys.executable, "-P", "-m", "gems_actors.cli", "bulk", str(prompts), "--out", str(out), *options)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())


async def measure(folder: Path, tasks: int, concurrency: int) -> None:
    """Print the table."""
    prompts, rows = folder / "prompts.txt", folder / "out" / "dataset" / "metadata.jsonl"
    prompts.write_text("".join(f"picture {number}\n" for number in range(tasks)))
    settings = [f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", "log.level=error"]
    config = load_config(environment={}, settings=settings)

    async def drawn(count: int) -> tuple[int, float]:
        while (done := rows.read_bytes().count(b"\n") if rows.exists() else 0) < count:
            if command.poll() is not None:
                sys.exit(f"expected {count} pictures, got {done}: gems bulk ended with {command.returncode}")
            await trio.sleep(_LOOK_S)
        return done, perf_counter()

    async with open_supervisor(config, entry=f"{__name__}:{run_null_role.__name__}") as supervisor:
        await supervisor.ready()
        options = ["--router", supervisor.address, "--concurrency", str(concurrency)]
        command = start_bulk(prompts, folder / "out", *options, *(f"--set={setting}" for setting in settings))
        pids = {child.role: child.pid for child in supervisor.children()} | {"command": command.pid}
        first, began = await drawn(_FIRST)
        before = {name: usage_of(pid) for name, pid in pids.items()}
        last, ended = await drawn(tasks - _LAST)
        after = {name: usage_of(pid) for name, pid in pids.items()}
        command.wait()
    count = last - first
    print(f"{count} tasks, {count / (ended - began):.0f} a second, {concurrency} in flight")
    used = {name: Usage(after[name].cpu_s - was.cpu_s, after[name].sleeps - was.sleeps) for name, was in before.items()}
    used["all"] = Usage(sum(each.cpu_s for each in used.values()), sum(each.sleeps for each in used.values()))
    for name, each in sorted(used.items(), key=lambda item: -item[1].cpu_s):
        print(f"{name:<12} {1000 * each.cpu_s / count:6.2f} ms CPU a task, {each.sleeps / count:5.1f} times asleep")


def main() -> None:
    """Print the load of the machine and the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    tasks, concurrency = int(os.environ.get("TASKS", "1500")), int(os.environ.get("CONCURRENCY", "256"))
    with tempfile.TemporaryDirectory(prefix="gems-") as folder:
        trio.run(measure, Path(folder), tasks, concurrency)


if __name__ == "__main__":
    main()
