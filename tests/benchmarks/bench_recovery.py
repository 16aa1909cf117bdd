"""How soon a mesh works again after SIGKILL: a role, the router, and memory with 100,000 records.

The mesh has the default settings, all on this host. Back in rotation means that the router lists a process with
another pid and room for requests; the router itself is back when it has answered and lists every role.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

import structlog
import trio

from actors.memory_store.sharding import shard_folder
from actors.memory_store.store import open_memory_store
from gems_actors.config import load_config
from gems_actors.errors import RequestError
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from tests.benchmarks.bench_memory import batches_of, records_of

_KILLS = 20
_RECORDS = 100_000
_LOOK_S = 0.005
_ROLES = ("planner", "decomposer", "generator", "verifier", "compressor", "refiner", "conductor")


def fill(folder: Path, count: int) -> None:
    """Write a log of a number of records."""
    records = (record for line in range(count) for record in records_of(line))
    with open_memory_store(folder) as store:
        for batch in batches_of(islice(records, count), 256):
            store.append(batch)


async def seconds_to_recover(supervisor: Supervisor, role: str) -> float:
    """Kill the process of a role, and return the seconds until the mesh is whole again."""
    killed = next(child for child in supervisor.children() if child.role == role)
    began = time.perf_counter()
    os.kill(killed.pid, signal.SIGKILL)
    while True:
        await trio.sleep(_LOOK_S)
        running = {child.name for child in supervisor.children()}
        if killed.name in running:
            continue
        with trio.move_on_after(0.25):  # a request to a router that is gone waits for its successor
            try:
                status = await supervisor.read_status()
            except RequestError:
                continue
            listed = {actor.name for part in status.roles for actor in part.actors if actor.capacity}
            expected = {child.name for child in supervisor.children() if child.role != "router"}
            if len(expected) >= len(_ROLES) + 1 and expected <= listed:
                return time.perf_counter() - began


def show(what: str, seconds: list[float], limit_s: float) -> None:
    """Print one row."""
    print(
        f"{what:<28} median {median(seconds):5.2f} s, longest {max(seconds):5.2f} s of {len(seconds)}, "
        f"expected a median under {limit_s:g} s",
        flush=True,
    )


async def measure() -> None:
    """Print the three rows."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="gems-") as folder:
        data = Path(folder) / "data"
        fill(shard_folder(data, 0), _RECORDS)
        # Many kills in a row are no reason to end here, and each has the back-off of a first one, 0.05 s.
        supervisor_settings = ["supervisor.max_restarts=500", "supervisor.max_backoff_s=0.05"]
        settings = ["log.level=error", f"data_dir={data}", *supervisor_settings]
        with open_private_folder(load_config(environment={}, settings=settings)) as config:
            async with open_supervisor(config) as supervisor:
                await supervisor.ready()
                for what, roles, limit_s in (
                    ("a role", _ROLES, 1.0),
                    ("the router", ("router",), 2.0),
                    (f"memory, {_RECORDS:,} records", ("memory",), 3.0),
                ):
                    seconds = [await seconds_to_recover(supervisor, chance.choice(roles)) for _ in range(_KILLS)]
                    show(what, seconds, limit_s)


def main() -> None:
    """Print the load of the machine and the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    trio.run(measure)


if __name__ == "__main__":
    main()
