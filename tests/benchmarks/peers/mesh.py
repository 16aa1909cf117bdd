"""This mesh: router, client and two actors, with credits, deadlines, heartbeats, lanes, fencing and requeueing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator

import structlog
import trio

from gems_actors.actor import Actor, answers, serve_actor
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.os_process import collect_garbage_rarely
from gems_actors.supervision.child_main import run_role
from protocol.messages import Plan, PlanPrompt, ReadStatus
from tests.benchmarks.peers.load import ALONE, BODY, measurements, requests_for, tell

_TIME_LIMIT_S = 600
COMMANDS = (("router",), ("worker", "planner-1"), ("worker", "planner-2"))


class Echo(Actor):
    """A planner that returns the prompt."""

    role = "planner"
    default_capacity = 16_384

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        return Plan(prompt=request.prompt)


def _serve_router(folder: str) -> None:
    settings = [f"router.runtime_dir={folder}", "log.level=error", "router.max_queue=20000"]
    config = load_config(environment={}, settings=settings)
    sys.exit(run_role("router", config, config.local_address, "router-1"))


async def _serve_worker(folder: str, name: str) -> None:
    await serve_actor(lambda mesh: Echo(MeshConfig(), mesh), f"ipc://{folder}/router.ipc", name)


async def await_workers(mesh: Mesh, count: int = 2) -> None:
    """Return when the workers have joined."""
    async with mesh.events("mesh") as events:
        while sum(len(role.actors) for role in (await mesh.ask(ReadStatus())).roles) < count:
            await events.receive()


async def _measure(address: str) -> None:
    async with open_client(address, connect_within_s=20) as mesh:
        await await_workers(mesh)
        request = PlanPrompt(prompt=str(BODY["prompt"]))
        steps = iter(measurements())
        while (window := await trio.to_thread.run_sync(next, steps, math.nan)) == window:
            if not window:
                tell(await _time_alone(mesh, request))
                continue
            left = iter(range(requests_for(int(window))))

            async def ask(left: Iterator[int] = left) -> None:
                with trio.move_on_after(_TIME_LIMIT_S):  # every request travels with a deadline
                    for _ in left:
                        await mesh.ask(request)

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(int(window)):
                    nursery.start_soon(ask)
            tell(requests_for(int(window)) / (time.perf_counter() - began))


async def _time_alone(mesh: Mesh, request: PlanPrompt) -> list[float]:
    alone = []
    with trio.move_on_after(_TIME_LIMIT_S):
        for _ in range(ALONE):
            began = time.perf_counter()
            await mesh.ask(request)
            alone.append(time.perf_counter() - began)
    return alone


def main() -> None:
    """Be one of the processes."""
    collect_garbage_rarely()
    folder, *what = sys.argv[1:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    match what:
        case ["router"]:
            _serve_router(folder)
        case ["worker", name]:
            trio.run(_serve_worker, folder, name)
        case _:
            trio.run(_measure, f"ipc://{folder}/router.ipc")


if __name__ == "__main__":
    main()
