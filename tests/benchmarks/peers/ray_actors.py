"""Ray actors: two asynchronous actors of one process each, called in turn by the driver."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from itertools import cycle
from typing import Any

from tests.benchmarks.peers.load import BODY, measure_asyncio

COMMANDS: tuple[tuple[str, ...], ...] = ()  # the driver starts its cluster
REQUIRES = ("ray",)


class Echo:
    """A planner that returns the prompt."""

    async def plan(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the prompt."""
        return {"type": "Plan", "prompt": request["prompt"]}


async def run_client(folder: str) -> None:
    """Measure."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    ray = import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", _temp_dir=folder, log_to_driver=False)

    remote = ray.remote(num_cpus=0, max_concurrency=20_000)(Echo)
    workers = [remote.remote() for _ in range(2)]
    await asyncio.gather(*(worker.plan.remote(BODY) for worker in workers))
    turn = cycle(workers)

    async def ask() -> None:
        assert (await next(turn).plan.remote(BODY))["prompt"] == BODY["prompt"]

    await measure_asyncio(ask)
    ray.shutdown()


if __name__ == "__main__":
    asyncio.run(run_client(sys.argv[1]))
