"""A router and workers that echo, as processes, and the load that some benchmarks give them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles

import trio

from gems_actors.client import Mesh, open_client
from gems_actors.config import NO_KEYS, SecurityConfig
from protocol.messages import PlanPrompt, ReadStatus

_WINDOW, _REQUESTS, _PINGS = 256, 20_000, 400

ROUTER = """
import sys
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
config = load_config(environment={}, settings=[f"router.runtime_dir={sys.argv[1]}", "log.level=error"])
sys.exit(run_role("router", config, config.local_address, "router-1"))
"""
ECHO_WORKER = """
import logging, sys, structlog, trio
from functools import partial
from gems_actors.actor import Actor, answers, serve_actor
from gems_actors.config import MeshConfig, load_config
from protocol.messages import Plan, PlanPrompt
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
class Echo(Actor):
    role = "planner"
    default_capacity = 256
    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        return Plan(prompt=request.prompt)
where, name, *settings = sys.argv[1:]
address = where if "://" in where else f"ipc://{where}/router.ipc"
security = load_config(environment={}, settings=settings).security
trio.run(partial(serve_actor, partial(Echo, MeshConfig()), address, name, security=security))
"""
"""A planner that echoes the prompt. Arguments: a router's address or its folder, a name, and settings of keys."""


@contextmanager
def open_processes(folder: str, *scripts: str) -> Iterator[None]:
    running = [
        subprocess.Popen((sys.executable, "-P", "-c", script, folder, f"planner-{number}"))
        for number, script in enumerate(scripts)
    ]
    try:
        yield
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


async def time_mesh(address: str, security: SecurityConfig = NO_KEYS) -> tuple[float, list[float]]:
    """Return round trips a second, and the seconds of each request alone."""
    async with open_client(address, connect_within_s=20, security=security) as mesh:
        await await_workers(mesh)
        request = PlanPrompt(prompt="x" * 150)
        pings = []
        for _ in range(_PINGS):
            began = time.perf_counter()
            await mesh.ask(request)
            pings.append(time.perf_counter() - began)
        left = iter(range(_REQUESTS))

        async def ask() -> None:
            for _ in left:
                await mesh.ask(request)

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(_WINDOW):
                nursery.start_soon(ask)
        return _REQUESTS / (time.perf_counter() - began), pings


async def await_workers(mesh: Mesh) -> None:
    async with mesh.events("mesh") as events:
        while sum(len(role.actors) for role in (await mesh.ask(ReadStatus())).roles) < 2:
            await events.receive()


def describe(name: str, rates: list[float], pings: list[float]) -> str:
    p50, p99 = (1e3 * cut for cut in (median(pings), quantiles(pings, n=100)[98]))
    return f"{name:<14} {median(rates):8,.0f} round trips/s, alone p50 {p50:.2f} ms, p99 {p99:.2f} ms"
