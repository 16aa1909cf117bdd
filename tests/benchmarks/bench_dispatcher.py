"""Cost of a request in the dispatcher by the number of actors, and the throughput of one router on one core.

The first table is a simulation without sockets: actors of seven roles, four requests each at once, half a second to
one and a half for each; a heartbeat a second of every process and a tick each tenth, as the router gives them; a
deadline on every fourth request, and now and then an actor that dies, half of them seen by their supervisor, half
silent. Load goes with the number of actors. Counted is the CPU time within the dispatcher alone, all of it shared out
over the requests. The second table is a router process with true sockets that never waits, and the CPU seconds that
the kernel says it used; what it carries is derived from them.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
import zmq
from msgspec import structs

from gems_actors.client import open_client
from gems_actors.config import MeshConfig, RouterConfig
from gems_actors.router.dispatcher import Dispatcher
from gems_actors.transport.sockets import open_dealer
from protocol.codec import encode_body, encode_message, frame_of
from protocol.envelope import NO_DEADLINE_MS, Header, Kind, Lane, unpack_header
from protocol.identity import run_bytes
from protocol.messages import Heartbeat, Held, Hello, Plan, PlanPrompt
from tests.benchmarks.bench_bulk import cpu_of
from tests.benchmarks.echo import ECHO_WORKER, ROUTER, await_workers, open_processes

ACTORS: Final = (10, 100, 1_000, 10_000)
REQUESTS: Final = 1_000_000
ROLES: Final = ("planner", "decomposer", "generator", "verifier", "verifier", "memory", "compressor", "refiner")
CAPACITY: Final = 4
_IN_FLIGHT: Final = 0.9
"""Requests in flight per unit of capacity, so that none waits for long and most actors work."""
_SLOT_S: Final = 0.01
_SLOTS_A_TICK, _SLOTS_A_BEAT = 10, 100
_DEADLINE_S: Final = 60.0
_REQUESTS_A_LOSS: Final = 50_000
_PAYLOAD: Final = encode_body(Plan(prompt="x" * 150))
_RUNS: Final = tuple(run_bytes(f"run-{number}") for number in range(8))

_CROWD, _BEATS_OF_EACH = 500, 60
_WINDOW, _ROUND_TRIPS = 256, 30_000
FIRST_ROUND_REQUESTS: Final = 9
"""Of a trajectory of one round: itself, the four roles that work, and memory's: begun, planned, decomposed, ended."""
FURTHER_ROUND_REQUESTS: Final = 9
"""Compressor and refiner, the state that each of them reads, generator and verifier, three records."""
MEAN_ROUNDS: Final = 2.8
"""What the paper's benchmarks take, on average."""


class Simulation:
    """A mesh of simulated actors around a real dispatcher."""

    def __init__(self, actors: int, seed: int = 0) -> None:
        self.requests = 0
        self.spent_s: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._chance = random.Random(seed)
        self._slot = 0
        self._dispatcher = Dispatcher(RouterConfig(max_queue=10 * CAPACITY * actors), "epoch", 0.0)
        self._at: dict[int, dict[str, list[Callable[[float], None]]]] = defaultdict(lambda: defaultdict(list))
        self._held: dict[bytes, dict[bytes, Held]] = {}
        self._awaited: dict[bytes, dict[bytes, None]] = {}
        self._roles: dict[bytes, str] = {}
        for number in range(max(1, actors // 10)):
            self._join(b"conductor-%d" % number, "conductor", 0)
        for number in range(actors):
            self._join(b"actor-%d" % number, ROLES[number % len(ROLES)], CAPACITY)
        clients = list(self._awaited)
        for number in range(int(_IN_FLIGHT * CAPACITY * actors)):
            self._ask(clients[number % len(clients)])

    def run(self, requests: int) -> None:
        """Run until `requests` requests are answered."""
        while self.requests < requests:
            self._slot += 1
            now = self._slot * _SLOT_S
            if self._slot % _SLOTS_A_TICK == 0:
                self._time("tick", [self._dispatcher.tick], now)
            for what, calls in self._at.pop(self._slot, {}).items():
                self._time(what, calls, now)
            for identity, frame in self._dispatcher.outbox.take():
                header = unpack_header(frame)
                if header.kind is Kind.REQUEST:
                    self._begin(identity, header)
                elif header.kind in (Kind.REPLY, Kind.FAILURE) and self._awaited[identity].pop(header.id, b"") is None:
                    self._end(identity, header)

    def _time(self, what: str, calls: list[Callable[[float], None]], now: float) -> None:
        began = time.thread_time()
        for call in calls:
            call(now)
        self.spent_s[what] += time.thread_time() - began - _TIMER_S
        self.calls[what] += len(calls)

    def _later(self, seconds: float, what: str, call: Callable[[float], None]) -> None:
        self._at[self._slot + max(1, round(seconds / _SLOT_S))][what].append(call)

    def _join(self, identity: bytes, role: str, capacity: int) -> None:
        self._roles[identity] = role
        self._held[identity] = {}
        if not capacity:
            self._awaited[identity] = {}
        self._dispatcher.hello(
            self._slot * _SLOT_S,
            identity,
            role,
            Hello(name=identity.decode(), accepts=("PlanPrompt",), capacity=capacity),
        )
        self._later(self._chance.random(), "heartbeat", partial(self._beat, identity))

    def _beat(self, identity: bytes, now: float) -> None:
        if identity in self._roles:
            holding, awaiting = tuple(self._held[identity].values()), tuple(self._awaited.get(identity, ()))
            self._dispatcher.heartbeat(now, identity, Heartbeat(holding=holding, awaiting=awaiting))
            self._at[self._slot + _SLOTS_A_BEAT]["heartbeat"].append(partial(self._beat, identity))

    def _ask(self, client: bytes) -> None:
        id_ = self._chance.randbytes(16)
        left_ms = int(_DEADLINE_S * 1000) if self._chance.random() < 0.25 else NO_DEADLINE_MS
        role, run = self._chance.choice(ROLES), self._chance.choice(_RUNS)
        header = Header(Kind.REQUEST, id_, role, Lane.BULK, time_left_ms=left_ms, run=run)
        self._awaited[client][id_] = None
        self._later(0, "request", partial(self._request, client, header))

    def _request(self, client: bytes, header: Header, now: float) -> None:
        self._dispatcher.request(now, client, header, frame_of(header, _PAYLOAD))

    def _begin(self, identity: bytes, header: Header) -> None:
        if identity not in self._roles:  # dead, and nobody has noticed yet
            return
        self._held[identity][header.id] = Held(id=header.id, attempt=header.attempt)
        self._later(self._chance.uniform(0.5, 1.5), "answer", partial(self._answer, identity, header))

    def _answer(self, identity: bytes, header: Header, now: float) -> None:
        if identity in self._roles:
            del self._held[identity][header.id]
            header = structs.replace(header, kind=Kind.REPLY)
            self._dispatcher.answer(now, identity, header, frame_of(header, _PAYLOAD))

    def _end(self, client: bytes, header: Header) -> None:
        self.requests += 1
        self._ask(client)
        if self.requests % _REQUESTS_A_LOSS == 0:
            self._lose(is_seen=self._chance.random() < 0.5)

    def _lose(self, *, is_seen: bool) -> None:
        identity = self._chance.choice([identity for identity in self._roles if identity not in self._awaited])
        role = self._roles.pop(identity)
        del self._held[identity]
        if is_seen:
            self._later(0, "loss", lambda now: self._dispatcher.report_dead(now, identity.decode()))
        self._join(identity + b"'", role, CAPACITY)


def _timer_s() -> float:
    """Return what it costs to look at the clock twice."""
    began = time.thread_time()
    for _ in range(10_000):
        time.thread_time()
    return (time.thread_time() - began) / 10_000


_TIMER_S: Final = _timer_s()


def simulate(requests: int) -> None:
    """Print the first table."""
    print(f"{requests:,} requests through the dispatcher, CPU microseconds")
    parts = f"{'asked':>7} {'answered':>9} {'heartbeat':>10} {'tick':>8} {'loss':>7}"
    print(f"{'actors':>8} {'a request, all in':>18} {parts}")
    found = []
    for actors in ACTORS:
        simulation = Simulation(actors)
        simulation.run(requests)
        us = {what: 1e6 * spent_s / simulation.calls[what] for what, spent_s in simulation.spent_s.items()}
        all_us = 1e6 * sum(simulation.spent_s.values()) / simulation.requests
        found.append(all_us)
        widths = {"request": 7, "answer": 9, "heartbeat": 10, "tick": 8, "loss": 7}
        parts = " ".join(f"{us.get(what, math.nan):{width}.2f}" for what, width in widths.items())
        print(f"{actors:8,} {all_us:18.2f} {parts}", flush=True)
    grown, bound = found[-1] / found[0], math.log(ACTORS[-1]) / math.log(ACTORS[0])
    print(f"from {ACTORS[0]} actors to {ACTORS[-1]:,}: {grown:.2f} times; their logarithm grows {bound:.2f} times")


async def _ask_many(address: str) -> None:
    async with open_client(address, connect_within_s=20) as mesh:
        await await_workers(mesh)
        left = iter(range(_ROUND_TRIPS))

        async def ask() -> None:
            for _ in left:
                await mesh.ask(PlanPrompt(prompt="x" * 150))

        async with trio.open_nursery() as nursery:
            for _ in range(_WINDOW):
                nursery.start_soon(ask)


def _beat_many(address: str) -> None:
    """Have a crowd say hello and then beat, each as soon as the last of its beats is answered."""
    beat = encode_message(
        Header(Kind.HEARTBEAT, role="verifier"),
        Heartbeat(holding=tuple(Held(id=os.urandom(16), attempt=1) for _ in range(CAPACITY)), figures={"busy": 1.0}),
    )
    with zmq.Context() as context:
        crowd = [open_dealer(context, address, b"crowd-%d" % number) for number in range(_CROWD)]
        for number, socket in enumerate(crowd):
            hello = Hello(name=f"crowd-{number}", accepts=("VerifyImage",), host="host", pid=number)
            socket.setsockopt(zmq.IMMEDIATE, 0)
            socket.send(encode_message(Header(Kind.HELLO, role="verifier"), hello))
        for socket in crowd:
            socket.recv()
        for _ in range(_BEATS_OF_EACH):
            for socket in crowd:
                socket.send(beat)
            for socket in crowd:
                socket.recv()
        for socket in crowd:
            socket.close()


def carry() -> None:
    """Print the second table."""
    with tempfile.TemporaryDirectory(prefix="gems-") as folder:
        address = MeshConfig(router=RouterConfig(runtime_dir=folder)).local_address
        with (
            subprocess.Popen((sys.executable, "-P", "-c", ROUTER, folder)) as router,
            open_processes(folder, ECHO_WORKER, ECHO_WORKER),
        ):
            try:
                trio.run(_ask_many, address)
                before = cpu_of(router.pid)
                trio.run(_ask_many, address)
                request_s = (cpu_of(router.pid) - before) / _ROUND_TRIPS
                before = cpu_of(router.pid)
                _beat_many(address)
                beat_s = (cpu_of(router.pid) - before) / (_CROWD * _BEATS_OF_EACH)
            finally:
                router.kill()
    print(
        f"a router process: {1e6 * request_s:.0f} us CPU a round trip, {1e6 * beat_s:.0f} us a heartbeat and its answer"
    )
    of_full = FIRST_ROUND_REQUESTS + (MEAN_ROUNDS - 1) * FURTHER_ROUND_REQUESTS
    print(f"{'actors':>8} {'beats take':>11} {'round trips/s':>14} {'trajectories/s of 1 round':>26} {'of 2.8':>7}")
    for actors in ACTORS:
        left = 1 - actors * beat_s
        rate = max(0.0, left / request_s)
        print(f"{actors:8,} {1 - left:11.1%} {rate:14,.0f} {rate / FIRST_ROUND_REQUESTS:26,.0f} {rate / of_full:7,.0f}")


def main() -> None:
    """Print both tables."""
    simulate(int(os.environ.get("REQUESTS", REQUESTS)))
    carry()
