"""How busy a mesh keeps a device that draws up to 16 pictures at once in half a second, with 64 tasks in flight.

The device takes those that wait when the last batch is done. Every chat call takes 200 ms at a server without a limit,
and no requirement is ever met, so that each task is drawn, verified with four questions and refined for five rounds.
The baseline of the same run is the device alone, which as many callers ask without a pause. Counted are the pictures
between the first and the last 5 % of the tasks. `TASKS`, 640 by default, sets how many there are.

For comparison the published loop (`published_way.py`) does the same with one process for each of the 64 tasks and a
server that draws one picture at a time.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

import structlog
import trio

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.client import Mesh, open_client
from gems_actors.config import ImageConfig, MeshConfig, load_config
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from protocol.envelope import Lane
from protocol.messages import DrawPicture, ReadStatus
from tests.actors.fakes import png
from tests.benchmarks.bench_bulk import cpu_of
from tests.benchmarks.bench_chat import open_server
from tests.benchmarks.bench_published import measure_published
from tests.processes import descendants, memory_kib

TASKS, IN_FLIGHT, NO_LIMIT = 640, 64, 100_000
BATCH, BATCH_S = 16, 0.5
_ALONE_S: Final = 10.0
_EDGE: Final = 0.05
"""Share of the tasks at either end that does not count."""
BATCHES: Final = "GEMS_BENCHBATCHES"
"""Environment variable with the file in which the device notes the time and the size of each batch."""


class Device:
    """Image model that draws batches, always the same picture, and notes each."""

    capacity = 2 * BATCH  # one batch that is drawn, and one that waits for it

    def __init__(self, notes: Path) -> None:
        self._picture = png()
        self._notes = notes
        self._waiting: list[trio.Event] = []
        self._arrived = trio.Event()

    def figures(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture."""
        drawn = trio.Event()
        self._waiting.append(drawn)
        self._arrived.set()
        await drawn.wait()
        return GeneratedImage(self._picture, "image/png", 32, 16)

    async def run(self) -> None:
        """Draw batch after batch until cancelled."""
        with self._notes.open("a", buffering=1) as notes:
            while True:
                await self._arrived.wait()
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await trio.sleep(BATCH_S)
                for drawn in batch:
                    drawn.set()
                notes.write(f"{time.monotonic()} {len(batch)}\n")
                if not self._waiting:
                    self._arrived = trio.Event()


@asynccontextmanager
async def open_device(config: ImageConfig) -> AsyncIterator[Device]:
    """Run the device, as the image model of a mesh."""
    device = Device(Path(os.environ[BATCHES]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run)
        yield device
        nursery.cancel_scope.cancel()


async def measure_alone(folder: Path) -> float:
    """Return the pictures per second of the device with callers that never pause."""
    device = Device(folder / "alone.txt")
    drawn = 0

    async def ask() -> None:
        nonlocal drawn
        while True:
            await device.generate(ImageRequest("picture", 1, 1024, 1024))
            drawn += 1

    with trio.move_on_after(_ALONE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.run)
            for _ in range(IN_FLIGHT):
                nursery.start_soon(ask)
    return drawn / _ALONE_S


class Run(NamedTuple):
    """What was seen of one run of the mesh."""

    ends: list[float]
    """When each task ended, in order."""
    batches: list[tuple[float, int]]
    """When each batch was drawn, and its size."""
    cpu_s: float
    processes: int
    memory_mib: float
    """Proportional set size of all processes together at the end."""
    figures: dict[str, dict[str, float]]
    """Means of the figures of each role's chat model in that time."""

    def pictures_per_s(self) -> tuple[float, float]:
        """Return the pictures per second that count, and the mean size of their batches."""
        edge = max(1, round(_EDGE * len(self.ends)))
        begin, end = self.ends[edge - 1], self.ends[-edge]
        sizes = [size for when, size in self.batches if begin < when <= end]
        return sum(sizes) / (end - begin), mean(sizes)


async def measure_mesh(folder: Path, url: str, tasks: int) -> Run:
    """Draw all tasks by a mesh."""
    os.environ[BATCHES] = str(notes := folder / "batches.txt")
    config = load_config(
        environment={},
        settings=[
            f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", "log.level=error", "verify.mode=words",
            f"image.backend={__name__}:open_device", f'import_path=["{Path(__file__).parents[2]}"]',
            "chat.backend=openai", f"chat.url={url}/v1",
        ],
    )  # fmt: skip
    ends: list[float] = []
    async with open_supervisor(config) as supervisor:
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh, trio.open_nursery() as background:
            seen = _Seen(supervisor, mesh)
            background.start_soon(seen.watch)
            await _draw_all(mesh, config, tasks, ends)
            background.cancel_scope.cancel()
            pids = (os.getpid(), *descendants(os.getpid()))
            sizes = [memory_kib(pid)[1] / 1024 for pid in pids]
            cpu_s = sum(map(cpu_of, pids))
    batches = [(float(when), int(size)) for when, size in map(str.split, notes.read_text().splitlines())]
    return Run(sorted(ends), batches, cpu_s, len(pids), sum(sizes), seen.means())


async def _draw_all(mesh: Mesh, config: MeshConfig, tasks: int, ends: list[float]) -> None:
    limiter = trio.CapacityLimiter(IN_FLIGHT)

    async def draw(line: int) -> None:
        async with limiter:
            task = DrawPicture(run="bench", line=line, prompt=f"picture {line}", seed=line, settings=config.draw)
            await mesh.ask(task, lane=Lane.BULK)
        ends.append(time.monotonic())

    async with trio.open_nursery() as nursery:
        for line in range(tasks):
            nursery.start_soon(draw, line)


class _Seen:
    """The figures of all roles, once a second."""

    def __init__(self, supervisor: Supervisor, mesh: Mesh) -> None:
        self._supervisor, self._mesh = supervisor, mesh
        self._found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(1.0)
            for role in (await self._mesh.ask(ReadStatus())).roles:
                for actor in role.actors:
                    for name, value in actor.figures.items():
                        self._found[role.role][name].append(value)

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean of each figure by role."""
        return {role: {name: mean(values) for name, values in found.items()} for role, found in self._found.items()}


def main() -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    tasks = int(os.environ.get("TASKS", TASKS))
    with tempfile.TemporaryDirectory() as name, open_server(NO_LIMIT) as url:
        folder = Path(name)
        alone = trio.run(measure_alone, folder)
        run = trio.run(measure_mesh, folder, url, tasks)
        rate, batch = run.pictures_per_s()
        pictures = sum(size for _, size in run.batches)
        print(f"{tasks} tasks, {pictures} pictures in {run.ends[-1] - run.batches[0][0] + BATCH_S:.1f} s")
        print(f"pictures per second: {rate:.1f}, {rate / alone:.2f} of the device alone ({alone:.1f})")
        print(f"pictures in a batch: {batch:.1f} of {BATCH}")
        print(f"CPU {1000 * run.cpu_s / pictures:.1f} ms a picture in all processes")
        for role, found in run.figures.items():
            if "window" in found:
                print(f"{role}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        if os.environ.get("MESH_ONLY"):
            return
        published = measure_published(folder, "--chat-s=0.2", f"--picture-s={BATCH_S}")
    print(f"the published way  {published}")
    print(f"pictures per second: {rate / published.images_per_s:.1f} times the published loop")
    share = published.memory_mib / run.memory_mib
    print(f"memory: {run.memory_mib:.0f} MiB in {run.processes} processes, 1/{share:.1f} where no worker imports torch")
