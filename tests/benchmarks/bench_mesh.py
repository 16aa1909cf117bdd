"""Round trips a second through the mesh, against the same hops over raw blocking sockets in the same run.

One client with 256 requests in flight, a router, two workers of a trivial role, four processes, ipc; and the time of a
request alone. The baseline is the obvious first version: a ROUTER-ROUTER broker and blocking workers, multipart
messages, no types, no credits, no deadlines, no supervision.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import trio
import zmq

from gems_actors.client import Mesh, open_client
from gems_actors.config import NO_KEYS, MeshConfig, RouterConfig, SecurityConfig
from protocol.messages import PlanPrompt, ReadStatus

_WINDOW, _REQUESTS, _PINGS, _TURNS = 256, 20_000, 400, 3

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
_RAW_BROKER = """
import sys, zmq
context = zmq.Context()
front, back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
front.bind(f"ipc://{sys.argv[1]}/front.ipc")
back.bind(f"ipc://{sys.argv[1]}/back.ipc")
workers, turn, poller = [], 0, zmq.Poller()
poller.register(front, zmq.POLLIN)
poller.register(back, zmq.POLLIN)
while True:
    for socket, _ in poller.poll():
        frames = socket.recv_multipart()
        if socket is front:
            turn += 1
            back.send_multipart([workers[turn % len(workers)], *frames])
        elif frames[1] == b"hello":
            workers.append(frames[0])
        else:
            front.send_multipart(frames[1:])
"""
_RAW_WORKER = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(f"ipc://{sys.argv[1]}/back.ipc")
socket.send(b"hello")
while True:
    socket.send_multipart(socket.recv_multipart())
"""


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


def _time_raw(address: str) -> tuple[float, list[float]]:
    """Return the same figures for the raw sockets."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(address)
        body = b"x" * 250
        pings = []
        time.sleep(1)  # until both workers have registered: this broker cannot be queried
        for _ in range(_PINGS):
            began = time.perf_counter()
            socket.send_multipart([b"id", body])
            socket.recv_multipart()
            pings.append(time.perf_counter() - began)
        began = time.perf_counter()
        for number in range(_REQUESTS):
            if number >= _WINDOW:
                socket.recv_multipart()
            socket.send_multipart([b"id", body])
        for _ in range(_WINDOW):
            socket.recv_multipart()
        return _REQUESTS / (time.perf_counter() - began), pings


def describe(name: str, rates: list[float], pings: list[float]) -> str:
    p50, p99 = (1e3 * cut for cut in (median(pings), quantiles(pings, n=100)[98]))
    return f"{name:<14} {median(rates):8,.0f} round trips/s, alone p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def main() -> None:
    """Print the table."""
    mesh_rates: list[float] = []
    raw_rates: list[float] = []
    mesh_pings: list[float] = []
    raw_pings: list[float] = []
    for _ in range(_TURNS):  # interleaved, because a virtual machine's speed changes by the minute
        with tempfile.TemporaryDirectory(prefix="gems-") as folder:
            config = MeshConfig(router=RouterConfig(runtime_dir=folder))
            with open_processes(folder, ROUTER, ECHO_WORKER, ECHO_WORKER):
                rate, pings = trio.run(time_mesh, config.local_address)
            mesh_rates.append(rate)
            mesh_pings += pings
            with open_processes(folder, _RAW_BROKER, _RAW_WORKER, _RAW_WORKER):
                while not (Path(folder) / "front.ipc").exists():
                    time.sleep(0.01)
                rate, pings = _time_raw(f"ipc://{folder}/front.ipc")
            raw_rates.append(rate)
            raw_pings += pings
    print(describe("mesh", mesh_rates, mesh_pings))
    print(describe("raw multipart", raw_rates, raw_pings))
    print(f"mesh / raw: {median(mesh_rates) / median(raw_rates):.2f}")


if __name__ == "__main__":
    main()
