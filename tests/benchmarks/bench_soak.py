"""Whether the processes of a mesh stay the same size under load: `make soak MINUTES=10`, one minute otherwise.

Draws of two rounds with small pictures run 32 at a time, while clients come and go, follow events, read the status and
cancel requests. Resident memory, open descriptors and threads of every process are compared between the first third of
the time, after a tenth to warm up, and the last third. Memory begins with the records of more trajectories than its
caches hold, and indexes them when it starts: it would fill its caches during the first 5,000 draws otherwise.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import structlog
import trio

from actors.memory_store.index_db import remove_index
from actors.memory_store.log_folder import INDEX_NAME
from actors.memory_store.sharding import shard_folder
from gems_actors.client import Mesh, open_client
from gems_actors.config import load_config
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import open_supervisor
from protocol.messages import DrawPicture, DrawSettings, ReadStatus
from tests.benchmarks.bench_recovery import fill
from tests.processes import descendants

_DRAW = DrawSettings(max_rounds=2, width_px=64, height_px=64)
_DRAWS_AT_ONCE = 32
_RECORDS = 250_000
"""Records at the start, of 22,700 trajectories: the index holds 4,096 of them and 16 MB of its database in memory."""
_LOOK_S = 1.0
_MAX_GROWTH_MIB = 8.0
_MAX_GROWTH_SHARE = 0.1
_MAX_NEW_DESCRIPTORS = 8
_MAX_THREADS = 48
"""Eight, and the forty worker threads that trio's default limit allows; they end when they are idle for ten seconds."""


class Size(NamedTuple):
    """What one process holds."""

    resident_mib: float
    descriptors: int
    threads: int


def size_of(pid: int) -> Size | None:
    """Return what a process holds; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        counts = [sum(1 for _ in (folder / name).iterdir()) for name in ("fd", "task")]
    except OSError:
        return None
    return Size(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, *counts)


def middle(sizes: Iterable[Size]) -> Size:
    """Return the median of each figure."""
    resident, descriptors, threads = zip(*sizes, strict=True)
    return Size(median(resident), round(median(descriptors)), round(median(threads)))


def is_flat(before: Size, after: Size) -> bool:
    """Return whether a process did not grow by more than its share."""
    allowed_mib = max(_MAX_GROWTH_MIB, _MAX_GROWTH_SHARE * before.resident_mib)
    return (
        after.resident_mib - before.resident_mib <= allowed_mib
        and after.descriptors - before.descriptors <= _MAX_NEW_DESCRIPTORS
        and after.threads <= _MAX_THREADS
    )


class Load:
    """Keeps a mesh busy and counts what it did."""

    def __init__(self, address: str) -> None:
        self.draws = self.clients = self.cancelled = 0
        self._address = address
        self._lines = itertools.count()

    async def run(self) -> None:
        """Work until cancelled."""
        async with open_client(self._address) as mesh, trio.open_nursery() as nursery:
            for _ in range(_DRAWS_AT_ONCE):
                nursery.start_soon(self._draw, mesh)
            nursery.start_soon(self._come_and_go)

    async def _draw(self, mesh: Mesh) -> None:
        for line in self._lines:
            request = DrawPicture(
                run=f"soak {line // 500}", line=line, prompt=f"{line} red cats", seed=line, settings=_DRAW
            )
            if line % 10 == 0:
                with trio.move_on_after(0.02) as scope:
                    await mesh.ask(request)
                self.cancelled += scope.cancelled_caught
            else:
                await mesh.ask(request)
                self.draws += 1

    async def _come_and_go(self) -> None:
        while True:
            async with open_client(self._address) as mesh, mesh.events("mesh"):
                await mesh.ask(ReadStatus())
            self.clients += 1
            await trio.sleep(0.05)


async def measure(minutes: float) -> bool:
    """Print a row for each process, and return whether all stayed flat."""
    seen: defaultdict[tuple[int, str], list[tuple[float, Size]]] = defaultdict(list)
    settings = ["log.level=error", "supervisor.grace_s=2"]
    with (
        tempfile.TemporaryDirectory(prefix="gems-") as folder,
        open_private_folder(load_config(environment={}, settings=[*settings, f"data_dir={folder}"])) as config,
    ):
        log = shard_folder(config.data_path, 0)
        fill(log, _RECORDS)
        remove_index(log / INDEX_NAME)
        async with open_supervisor(config) as supervisor, trio.open_nursery() as nursery:
            await supervisor.ready()
            load = Load(supervisor.address)
            nursery.start_soon(load.run)
            began, seconds = time.monotonic(), 60 * minutes
            while (now := time.monotonic() - began) < seconds:
                names = {os.getpid(): "supervisor and clients", **descendants(os.getpid())}
                for pid, name in names.items():
                    if (size := size_of(pid)) is not None:
                        seen[pid, name].append((now / seconds, size))
                await trio.sleep(_LOOK_S)
            nursery.cancel_scope.cancel()
    print(f"{load.draws:,} draws, {load.cancelled:,} cancelled, {load.clients:,} clients in {minutes:g} min")
    all_flat = True
    for (_, name), sizes in seen.items():
        first = [size for share, size in sizes if 0.1 <= share < 0.4]
        last = [size for share, size in sizes if share >= 0.7]
        if not first or not last:
            print(f"{name:<24} did not run all the time")
            all_flat = False
            continue
        before, after = middle(first), middle(last)
        flat = is_flat(before, after)
        all_flat &= flat
        print(
            f"{name:<24} {before.resident_mib:6.1f} -> {after.resident_mib:6.1f} MiB, {before.descriptors:3} -> "
            f"{after.descriptors:3} descriptors, {before.threads:2} -> {after.threads:2} threads"
            f"{'' if flat else '  GROWS'}"
        )
    return all_flat


def main() -> None:
    """Print the load of the machine and the table; exit with 1 if a process grew."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if not trio.run(measure, float(os.environ.get("MINUTES", "1"))):
        sys.exit("expected every process to stay flat")


if __name__ == "__main__":
    main()
