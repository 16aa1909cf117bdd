"""HTTP against `gems bulk` of the same mesh: 100 clients draw 20 pictures each, with ten times the places of the mesh.

The mesh has 10 places. Over HTTP 100 clients ask at once, and those that get 429 come back after its `Retry-After`. No
answer may be a 5xx. The image model takes its time without CPU. Throughput is that of the mesh while there is work for
all of its places: between the first and the last twentieth of the pictures, because the last clients are fewer than it
could draw for.
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
from pathlib import Path

import httpx
import structlog
import trio

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.client import open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from protocol.messages import ReadStatus
from tests.actors.fakes import png
from tests.benchmarks.bench_bulk import run_role_with
from tests.gems_actors.cli.commands import summary_in
from tests.gems_actors.gateway.doors import free_port
from tests.processes import memory_kib

_CLIENTS, _DRAWS, _PLACES = 100, 20, 10
_IN_FLIGHT = 3 * _PLACES
"""Pictures that the gateway draws at once, so that the mesh never waits for the next request."""
_PICTURE_S = 0.4
_MIN_THROUGHPUT, _MAX_ANSWER_S = 0.95, 60.0
_LOOK_S, _ENDS = 0.2, 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class SlowImages:
    """An image model that waits for each picture, which is always the same."""

    capacity = _PLACES
    picture_s = _PICTURE_S

    def __init__(self) -> None:
        self._picture = png()

    def figures(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture."""
        await trio.sleep(self.picture_s)
        return GeneratedImage(self._picture, "image/png", 32, 16)


def run_slow_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run a role with models that only wait."""
    return run_role_with(SlowImages, role, config, address, name)


def cpu_s(supervisor: Supervisor, *, of_gateway: bool = False) -> float:
    """Return the CPU time of the mesh's processes, or of its gateway alone."""
    seconds = 0.0
    for child in supervisor.children():
        if of_gateway and child.role != "gateway":
            continue
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return seconds


class Progress:
    """What the conductor has done and does, by time."""

    def __init__(self) -> None:
        self.looks: list[tuple[float, int, int]] = []
        """Time, pictures drawn since the first look, places that are taken."""

    def _steady(self) -> list[tuple[float, int, int]]:
        first, last = (share * self.looks[-1][1] for share in (_ENDS, 1 - _ENDS))
        return [look for look in self.looks if first <= look[1] <= last]

    @property
    def rate(self) -> float:
        """Pictures per second, without the first and the last of them."""
        (began, before, _), *_, (ended, after, _) = self._steady()
        return (after - before) / (ended - began)

    @property
    def places_taken(self) -> float:
        """Mean of the places that were taken meanwhile."""
        taken = [look[2] for look in self._steady()]
        return sum(taken) / len(taken)


@asynccontextmanager
async def watched(address: str) -> AsyncIterator[Progress]:
    """Watch the conductor while the block runs."""
    progress = Progress()

    async def look() -> None:
        before = None
        while True:
            roles = (await mesh.ask(ReadStatus())).roles
            actors = next(role.actors for role in roles if role.role == "conductor")
            handled = sum(actor.handled for actor in actors)
            before = handled if before is None else before
            progress.looks.append((time.perf_counter(), handled - before, sum(actor.busy for actor in actors)))
            await trio.sleep(_LOOK_S)

    async with open_client(address) as mesh, trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield progress
        nursery.cancel_scope.cancel()


async def draw_as_bulk(folder: Path, address: str) -> float:
    """Draw all pictures by `gems bulk`, and return the seconds that it needed, without those of its start."""
    source = folder / "prompts.txt"
    source.write_text("".join(f"{number} red cats\n" for number in range(_CLIENTS * _DRAWS)))
    options = ("--out", f"{folder}/out", "--router", address, "--rounds", "2", "--size", "64x64", "--json")
    command = [sys.executable, "-P", "-m", "gems_actors.cli", "bulk", str(source), *options]
    done = await trio.run_process(
        [*command, "--set", f"data_dir={folder}", "--set", "log.level=error"], capture_stdout=True, stderr=None
    )
    seconds: float = summary_in(done.stdout)["seconds"]
    return seconds


async def draw_over_http(url: str) -> tuple[Counter[int], float]:
    """Draw all pictures; return the answers by status, and the longest time to any."""
    statuses: Counter[int] = Counter()
    longest_s = 0.0
    numbers = itertools.count()

    async def draw() -> None:
        nonlocal longest_s
        for _ in range(_DRAWS):
            number = next(numbers)
            body = {"prompt": f"{number} red cats", "seed": number, "size": "64x64", "gems": {"rounds": 2}}
            while True:
                began = time.perf_counter()
                answer = await http.post("/v1/images/generations", json=body)
                statuses[answer.status_code] += 1
                longest_s = max(longest_s, time.perf_counter() - began)
                if answer.status_code != 429:
                    break
                await trio.sleep(float(answer.headers["retry-after"]))

    limits = httpx.Limits(max_connections=_CLIENTS, max_keepalive_connections=_CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as http, trio.open_nursery() as nursery:
        for _ in range(_CLIENTS):
            nursery.start_soon(draw)
    return statuses, longest_s


async def measure() -> bool:
    """Print the table, and return whether all that is promised was kept."""
    port, pictures = free_port(), _CLIENTS * _DRAWS
    settings = [
        "log.level=error", "supervisor.grace_s=2", f"roles.conductor.capacity={_PLACES}",
        f"gateway.address=127.0.0.1:{port}", f"gateway.max_draws={_IN_FLIGHT}",
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="gems-") as folder,
        open_private_folder(load_config(environment={}, settings=[*settings, f"data_dir={folder}"])) as config,
    ):
        async with open_supervisor(config, entry=f"{__name__}:run_slow_role") as supervisor:
            await supervisor.ready()
            before = cpu_s(supervisor)
            async with watched(supervisor.address) as bulk:
                bulk_s = await draw_as_bulk(Path(folder), supervisor.address)
            bulk_cpu_s = cpu_s(supervisor) - before
            before, gateway, began = cpu_s(supervisor), cpu_s(supervisor, of_gateway=True), time.perf_counter()
            clients = time.process_time()
            async with watched(supervisor.address) as http:
                statuses, longest_s = await draw_over_http(f"http://127.0.0.1:{port}")
            http_s, http_cpu_s = time.perf_counter() - began, cpu_s(supervisor) - before
            gateway_s, clients_s = cpu_s(supervisor, of_gateway=True) - gateway, time.process_time() - clients
            (pid,) = (child.pid for child in supervisor.children() if child.role == "gateway")
            resident_mib = memory_kib(pid)[0] / 1024
    throughput = http.rate / bulk.rate
    for name, found, seconds, cpu in (("gems bulk", bulk, bulk_s, bulk_cpu_s), ("over HTTP", http, http_s, http_cpu_s)):
        print(
            f"{name} {found.rate:6.1f} pictures/s, {found.places_taken:.1f} places taken, "
            f"{1000 * cpu / pictures:5.1f} ms CPU each; {pictures / seconds:.1f} with start and end"
        )
    print(f"throughput {throughput:.2f} of that of gems bulk; {bulk_s / http_s:.2f} with start and end")
    print(f"gateway: {1000 * gateway_s / pictures:.2f} ms CPU a picture, {resident_mib:.0f} MiB resident")
    print(f"the clients: {1000 * clients_s / pictures:.2f} ms CPU a picture")
    print(f"answers by status: {dict(sorted(statuses.items()))}; the longest after {longest_s:.1f} s")
    is_clean = statuses[200] == pictures and set(statuses) <= {200, 429}
    return is_clean and longest_s <= _MAX_ANSWER_S and throughput >= _MIN_THROUGHPUT


def main() -> None:
    """Print the load of the machine and the table; exit with 1 if a promise was not kept."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if not trio.run(measure):
        sys.exit("expected all limits to hold")


if __name__ == "__main__":
    main()
