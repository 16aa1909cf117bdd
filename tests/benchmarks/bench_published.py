"""Pictures a second and memory of `gems bulk`, against the same work done the published way, in the same run.

Both have 64 trajectories in flight, of one round and two requirements, and the same models: chat takes 1 ms, a picture
10 ms on a device that draws up to 64 at once, which the published server gives one at a time. Pictures are counted over
a steady phase; memory is the proportional set size of all processes together, the command's and the generator's among
them. `published_way.py` says what the re-creation is. Its workers import no torch, as those of the published code do: a
few are weighed with it, to say what all would take.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog
import trio

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.client import open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.supervision.supervisor import open_supervisor
from protocol.messages import ReadStatus
from tests.actors.fakes import png
from tests.benchmarks import published_way
from tests.benchmarks.bench_bulk import cpu_of, run_role_with
from tests.benchmarks.published_way import PICTURE_S
from tests.processes import descendants, environment, memory_kib, started

IN_HAND: Final = 64
_WARM_UP_S, _STEADY_S = 6.0, 20.0
_WITH_TORCH: Final = 4


class BatchImages:
    """Draws up to 64 pictures at once, those that wait when the last batch is done, in ten milliseconds."""

    capacity = 64

    def __init__(self) -> None:
        self._picture = png()
        self._waiting: list[trio.Event] = []
        self._arrived = trio.Event()
        trio.lowlevel.spawn_system_task(self._run_device)

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

    async def _run_device(self) -> None:
        while True:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[: self.capacity], self._waiting[self.capacity :]
            await trio.sleep(PICTURE_S)
            for drawn in batch:
                drawn.set()
            if not self._waiting:
                self._arrived = trio.Event()


def run_null_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play a role with models that only wait."""
    return run_role_with(BatchImages, role, config, address, name)


class Figures(NamedTuple):
    """Of one side."""

    images_per_s: float
    cpu_s_per_image: float
    processes: int
    memory_mib: float
    """Proportional set size."""

    def __str__(self) -> str:
        """Return them in one line."""
        return (
            f"{self.images_per_s:6.1f} images/s, {1000 * self.cpu_s_per_image:5.1f} ms CPU an image, "
            f"{self.processes} processes of {self.memory_mib:.0f} MiB in all"
        )


def watch(pids: Iterable[int], drawn: Callable[[], int]) -> Figures:
    """Look at processes that draw, over a steady phase."""
    time.sleep(_WARM_UP_S)
    there = list(pids)
    before, cpu_before_s, began = drawn(), sum(map(cpu_of, there)), time.monotonic()
    time.sleep(_STEADY_S)
    images, cpu_s, seconds = drawn() - before, sum(map(cpu_of, there)) - cpu_before_s, time.monotonic() - began
    return Figures(images / seconds, cpu_s / images, len(there), sum(memory_kib(pid)[1] for pid in there) / 1024)


@contextmanager
def open_published(folder: Path, *options: str) -> Iterator[tuple[int, str]]:
    """Start the published program in its own process group, and yield its pid and the address of its server."""
    picture, out = folder / "picture.png", folder / "published"
    picture.write_bytes(png())
    out.mkdir(exist_ok=True)
    command = (sys.executable, "-P", "-m", published_way.__name__, str(picture), str(out), *options)
    environment_ = environment() | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment_, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def measure_published(folder: Path, *options: str) -> Figures:
    """Return what the published way comes to with 64 workers."""
    with open_published(folder, f"--workers={IN_HAND}", *options) as (pid, url):

        def drawn() -> int:
            with urllib.request.urlopen(url) as response:
                return int(json.load(response)["drawn"])

        return watch((pid, *descendants(pid)), drawn)


def weigh_torch(folder: Path) -> float:
    """Return the MiB that one worker takes which imports torch, as a share of a few."""
    with open_published(folder, f"--workers={_WITH_TORCH}", "--import=torch") as (pid, _):
        time.sleep(_WARM_UP_S)
        sizes = sorted((memory_kib(child)[1] for child in descendants(pid)), reverse=True)
    return sum(sizes[:_WITH_TORCH]) / _WITH_TORCH / 1024


async def measure_mesh(folder: Path) -> Figures:
    """Return the figures of `gems bulk` with 64 trajectories in flight."""
    source = folder / "prompts.txt"
    source.write_text("".join(f"picture {number}\n" for number in range(1_000_000)))
    flags = [f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", "log.level=error"]
    config = load_config(environment={}, settings=flags)
    async with open_supervisor(config, entry=f"{__name__}:run_null_role") as supervisor:
        await supervisor.ready()
        options = [word for flag in flags for word in ("--set", flag)]
        command = (sys.executable, "-P", "-m", "gems_actors.cli", "bulk", str(source), "--out", str(folder / "out"))
        more = ("--concurrency", str(IN_HAND), "--router", supervisor.address, *options)
        with started((*command, *more), stderr=subprocess.DEVNULL, env=environment()):
            async with open_client(supervisor.address) as mesh:

                async def ask() -> int:
                    roles = {role.role: role.actors for role in (await mesh.ask(ReadStatus())).roles}
                    return sum(actor.handled for actor in roles["generator"])

                pids = (os.getpid(), *descendants(os.getpid()))  # the supervisor is in this process
                return await trio.to_thread.run_sync(watch, pids, partial(trio.from_thread.run, ask))


def main() -> None:
    """Print both sides, and how many times the one is the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        published = measure_published(folder)
        print(f"the published way  {published}", flush=True)
        mesh = trio.run(measure_mesh, folder)
        print(f"gems bulk          {mesh}", flush=True)
        torch_mib = weigh_torch(folder)
    print(f"images/s: {mesh.images_per_s / published.images_per_s:.1f} times")
    print(f"CPU an image: 1/{published.cpu_s_per_image / mesh.cpu_s_per_image:.1f}")
    print(f"memory: 1/{published.memory_mib / mesh.memory_mib:.1f}, where no worker imports torch")
    with_torch_mib = torch_mib * IN_HAND
    print(
        f"memory: 1/{with_torch_mib / mesh.memory_mib:.0f}, where each imports torch: {torch_mib:.0f} MiB a worker "
        f"({_WITH_TORCH} were weighed), {with_torch_mib / 1024:.1f} GiB for {IN_HAND}"
    )
