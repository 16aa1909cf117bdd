"""What a second router gains where routers are what limits a mesh: requests a second with two against one.

Clients and workers of a trivial role load the routers over ipc. Each router may use a twentieth of a core, through
its own control group, so that it is the bottleneck on a machine of two cores too; that needs root. Elsewhere the CPU
seconds of the busiest router tell the same less well: a router with half the load finds smaller batches.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import trio

from gems_actors.addresses import join_addresses, next_address
from gems_actors.client import Mesh, open_client
from protocol.messages import PlanPrompt, ReadStatus
from tests.benchmarks.echo import ECHO_WORKER

_CLIENTS, _WORKERS, _WINDOW, _REQUESTS, _TURNS = 2, 2, 256, 10_000, 3
_SHARE = 0.05
_GROUPS = Path("/sys/fs/cgroup")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_ROUTER = """
import sys
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
sys.exit(run_role("router", load_config(environment={}, settings=["log.level=error"]), sys.argv[1], "router"))
"""


@contextmanager
def _processes(*commands: tuple[str, ...]) -> Iterator[list[int]]:
    running = [subprocess.Popen((sys.executable, "-P", "-c", *command)) for command in commands]
    try:
        yield [process.pid for process in running]
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


@contextmanager
def _held_back(pids: list[int]) -> Iterator[bool]:
    """Let each process use a share of a core; give whether that could be done."""
    version_2 = (_GROUPS / "cgroup.controllers").exists()
    groups = [(_GROUPS if version_2 else _GROUPS / "cpu") / f"gems-bench-{pid}" for pid in pids]
    quota = str(int(100_000 * _SHARE))
    try:
        for group, pid in zip(groups, pids, strict=True):
            group.mkdir()
            (group / ("cpu.max" if version_2 else "cpu.cfs_quota_us")).write_text(
                f"{quota} 100000" if version_2 else quota
            )
            (group / "cgroup.procs").write_text(str(pid))
        yield True
    except OSError:
        yield False
    finally:
        for group, pid in zip(groups, pids, strict=True):
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(str(pid))
                group.rmdir()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


async def _load(address: str, routers: int) -> float:
    """Ask, and return requests a second."""
    async with trio.open_nursery() as nursery:
        left = iter(range(_REQUESTS))
        ready = trio.Event()

        async def client() -> None:
            async with open_client(address, connect_within_s=20) as mesh, trio.open_nursery() as asking:
                await _await_workers(mesh, routers)
                ready.set()
                for _ in range(_WINDOW):
                    asking.start_soon(ask, mesh)

        async def ask(mesh: Mesh) -> None:
            for _ in left:
                await mesh.ask(PlanPrompt(prompt="x" * 150))

        for _ in range(_CLIENTS):
            nursery.start_soon(client)
        await ready.wait()
        began = time.perf_counter()
    return _REQUESTS / (time.perf_counter() - began)


async def _await_workers(mesh: Mesh, routers: int) -> None:
    while True:
        status = await mesh.ask(ReadStatus())
        if status.epoch.count("+") == routers - 1 and sum(len(role.actors) for role in status.roles) == _WORKERS:
            return
        await trio.sleep(0.05)


def main() -> None:
    """Print the table."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    carried: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(_TURNS):  # interleaved, because a virtual machine's speed changes by the minute
        for count in (1, 2):
            with tempfile.TemporaryDirectory(prefix="gems-") as folder:
                places = [next_address(f"ipc://{folder}/router.ipc", number) for number in range(count)]
                address = join_addresses(places)
                workers = [(ECHO_WORKER, address, f"planner-{number}") for number in range(_WORKERS)]
                with (
                    _processes(*((_ROUTER, place) for place in places), *workers) as pids,
                    _held_back(pids[:count]) as is_held_back,
                ):
                    before = [_cpu_s(pid) for pid in pids[:count]]
                    rates[count].append(trio.run(_load, address, count))
                    spent = [_cpu_s(pid) - was for pid, was in zip(pids, before, strict=False)]
                carried[count].append(_REQUESTS / max(spent))
    for count in (1, 2):
        of_cpu, here = median(carried[count]), median(rates[count])
        name = f"{count} router{'s' * (count > 1)}"
        print(f"{name:<9} {of_cpu:8,.0f} requests a CPU second of the busiest one, {here:8,.0f} a second")
    print(f"each router had {_SHARE:.0%} of a core" if is_held_back else "routers could not be held back: not root?")
    print(f"two / one: {median(rates[2]) / median(rates[1]):.2f}, by CPU {median(carried[2]) / median(carried[1]):.2f}")


if __name__ == "__main__":
    main()
