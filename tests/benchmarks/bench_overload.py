"""Ten times as many draws as a mesh has room for: `MINUTES=5 python -m tests.benchmarks overload`, one by default.

The mesh has places for 64 draws at once, and a queue of 256 for each role. Four runs, with 400, 160, 60 and 20 draws in
flight, share it, so that most of their requests are refused and repeated by the clients; somebody draws one picture a
second beside them. Before and after, one run with 64 draws in flight shows what the same mesh does at its capacity.

The storyboard makes the cores of the machine the limit, which the 640 clients share. With `DEVICE=1`, the limit is an
image model that draws up to 16 pictures in half a second, as that of a mesh with real models.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import structlog
import trio

from gems_actors.client import Mesh, open_client
from gems_actors.config import load_config
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import open_supervisor
from protocol.envelope import Lane
from protocol.messages import DrawPicture, DrawSettings, ReadStatus
from tests.benchmarks.bench_device import BATCHES, open_device
from tests.processes import descendants

_DRAW = DrawSettings(max_rounds=2, width_px=64, height_px=64)
_PLACES, _MAX_QUEUE = 64, 256
_RUNS = {"huge": 400, "large": 160, "middle": 60, "small": 20}
"""Draws in flight of each run: ten times the places in all."""
_LOOK_S = 0.2
_WARM_UP_S = 5.0
_MAX_START_S, _MAX_RECOVERY_S, _MIN_THROUGHPUT, _MIN_FAIRNESS = 2.0, 5.0, 0.95, 0.95
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Seen:
    """What happened in one part of the time."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    """CPU time of all processes of the mesh, without the clients."""
    done: Counter[str] = field(default_factory=Counter)
    """Pictures of each run."""
    peak_queued: Counter[str] = field(default_factory=Counter)
    starts_s: list[float] = field(default_factory=list)
    """Time from each request of somebody who waits to the first step of its trajectory."""
    draws_s: list[float] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return sum(self.done.values()) + len(self.draws_s)

    def __str__(self) -> str:
        each_ms = 1000 * self.cpu_s / self.pictures
        return f"{self.pictures / self.seconds:6.1f} pictures a second, {each_ms:5.1f} ms CPU each"


def fairness(counts: list[int]) -> float:
    """Return Jain's index of shares: 1 if all are equal, 1/n if one has everything."""
    return sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts))


class Load:
    """The clients of a mesh."""

    def __init__(self, address: str, mesh: Mesh) -> None:
        self._address, self._mesh = address, mesh
        self._lines = itertools.count()

    def _cpu_s(self) -> float:
        seconds = 0.0
        for pid in descendants(os.getpid()):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            seconds += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return seconds

    @asynccontextmanager
    async def drawing(self, runs: dict[str, int]) -> AsyncIterator[Seen]:
        """Keep draws of some runs in flight; what is yielded counts all pictures."""
        seen = Seen()
        async with trio.open_nursery() as nursery:
            for run, in_flight in runs.items():
                nursery.start_soon(self._draw_run, run, in_flight, seen)
            yield seen
            nursery.cancel_scope.cancel()

    async def _draw_run(self, run: str, in_flight: int, seen: Seen) -> None:
        async with open_client(self._address) as mesh, trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(self._draw, mesh, run, seen)

    async def _draw(self, mesh: Mesh, run: str, seen: Seen) -> None:
        for line in self._lines:
            await mesh.ask(self._request(run, line), lane=Lane.BULK)
            seen.done[run] += 1

    def _request(self, run: str, line: int) -> DrawPicture:
        return DrawPicture(run=run, line=line, prompt=f"{line} red cats", seed=line, settings=_DRAW)

    async def look(self, seen: Seen, seconds: float, *, draws_beside: bool = False) -> None:
        """Count in what happens during some seconds; what was counted before is forgotten."""
        await trio.sleep(_WARM_UP_S)
        seen.done.clear()
        began, cpu_s = time.perf_counter(), self._cpu_s()
        async with trio.open_nursery() as nursery:
            if draws_beside:
                nursery.start_soon(self._draw_beside, seen)
            while time.perf_counter() - began < seconds:
                status = await self._mesh.ask(ReadStatus())
                for role in status.roles:
                    seen.peak_queued[role.role] = max(seen.peak_queued[role.role], role.queued)
                await trio.sleep(_LOOK_S)
            nursery.cancel_scope.cancel()
        seen.seconds, seen.cpu_s = time.perf_counter() - began, self._cpu_s() - cpu_s

    async def _draw_beside(self, seen: Seen) -> None:
        while True:
            began = time.perf_counter()
            start_s, draw_s = await self.draw_one()
            seen.starts_s.append(start_s)
            seen.draws_s.append(draw_s)
            await trio.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))

    async def draw_one(self) -> tuple[float, float]:
        """Draw one picture as `gems draw` does; return the seconds until its first step and its end."""
        request = self._request(f"one {next(self._lines)}", 0)
        started_s: list[float] = []

        async def await_start(events: trio.MemoryReceiveChannel[object]) -> None:
            await events.receive()
            started_s.append(time.perf_counter() - began)

        async with self._mesh.events(request.run) as events, trio.open_nursery() as nursery:
            began = time.perf_counter()
            nursery.start_soon(await_start, events)
            await self._mesh.ask(request)
        return started_s[0], time.perf_counter() - began

    async def seconds_to_recover(self, usual_s: float) -> float:
        """Return the seconds until nothing waits or is worked on and a draw takes no more than twice its usual time."""
        began = time.perf_counter()
        while True:
            status = await self._mesh.ask(ReadStatus())
            is_idle = not any(role.queued or any(actor.busy for actor in role.actors) for role in status.roles)
            if is_idle and (await self.draw_one())[1] <= 2 * usual_s:
                return time.perf_counter() - began
            await trio.sleep(0.02)


async def measure(minutes: float, *, with_device: bool) -> bool:
    """Print the table, and return whether all that is promised was kept."""
    device = [f"image.backend={open_device.__module__}:open_device", f'import_path=["{Path(__file__).parents[2]}"]']
    settings = [
        *(device if with_device else ()),
        "log.level=error", "supervisor.grace_s=2", f"roles.conductor.capacity={_PLACES}",
        f"router.max_queue={_MAX_QUEUE}",
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="gems-") as folder,
        open_private_folder(load_config(environment={}, settings=[*settings, f"data_dir={folder}"])) as config,
    ):
        os.environ[BATCHES] = f"{folder}/batches.txt"
        async with open_supervisor(config) as supervisor, open_client(supervisor.address) as mesh:
            await supervisor.ready()
            load = Load(supervisor.address, mesh)
            usual_s = median([(await load.draw_one())[1] for _ in range(10)])
            at_capacity: list[Seen] = []
            seconds = max(10.0, min(60.0, 12 * minutes))
            async with load.drawing({"before": _PLACES}) as seen:
                await load.look(seen, seconds)
            at_capacity.append(seen)
            async with load.drawing(_RUNS) as overload:
                await load.look(overload, 60 * minutes, draws_beside=True)
            recovery_s = await load.seconds_to_recover(usual_s)
            async with load.drawing({"after": _PLACES}) as seen:
                await load.look(seen, seconds)
            at_capacity.append(seen)
    return show(at_capacity, overload, usual_s, recovery_s)


def show(at_capacity: list[Seen], overload: Seen, usual_s: float, recovery_s: float) -> bool:
    """Print the table, and return whether all that is promised was kept."""
    best = sum(seen.pictures for seen in at_capacity) / sum(seen.seconds for seen in at_capacity)
    best_cpu = sum(seen.pictures for seen in at_capacity) / sum(seen.cpu_s for seen in at_capacity)
    throughput = overload.pictures / overload.seconds / best
    by_cpu = overload.pictures / overload.cpu_s / best_cpu
    index = fairness([overload.done[run] for run in _RUNS])
    total = sum(overload.done.values())
    shares = ", ".join(f"{run} ({_RUNS[run]} in flight) {overload.done[run] / total:.1%}" for run in _RUNS)
    queued = ", ".join(f"{role} {peak}" for role, peak in sorted(overload.peak_queued.items()) if peak)
    for name, seen in zip(("capacity, before", "capacity, after"), at_capacity, strict=True):
        print(f"{name:<18} {seen}")
    print(f"{'10 times that':<18} {overload}, for {overload.seconds:.0f} s")
    print(f"throughput of that at capacity: {throughput:.2f}, by CPU time {by_cpu:.2f}")
    print(f"most queued (limit {_MAX_QUEUE}): {queued}")
    print(f"shares of the runs: {shares}; Jain's index {index:.3f}")
    starts, draws = sorted(overload.starts_s), sorted(overload.draws_s)
    print(
        f"{len(starts)} interactive draws: first step after {median(starts):.2f} s (median), {starts[-1]:.2f} s "
        f"(longest); picture after {median(draws):.2f} and {draws[-1]:.2f} s, {usual_s:.2f} s in an idle mesh"
    )
    print(f"recovered {recovery_s:.2f} s after the load had ended")
    return (
        max(overload.peak_queued.values()) <= _MAX_QUEUE
        and starts[-1] <= _MAX_START_S
        and index >= _MIN_FAIRNESS
        and max(throughput, by_cpu) >= _MIN_THROUGHPUT
        and recovery_s <= _MAX_RECOVERY_S
    )


def main() -> None:
    """Print the load of the machine and the table; exit with 1 if a promise was not kept."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    minutes, with_device = float(os.environ.get("MINUTES", "1")), os.environ.get("DEVICE") == "1"
    if not trio.run(partial(measure, minutes, with_device=with_device)):
        sys.exit("expected all limits to hold")


if __name__ == "__main__":
    main()
