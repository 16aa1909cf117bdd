"""One simulated mesh: routers, actors and clients, the faults that a seed chooses, and what must hold at the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from unittest.mock import patch

import trio
import trio.testing
from trio._core import _run as trio_scheduler

from gems_actors import errors
from gems_actors.actor import Actor, answers, current_call, serve_by
from gems_actors.call_context import Call, answering
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, RouterConfig
from gems_actors.tasks import open_background
from gems_actors.transport.links import Message
from protocol.envelope import Header, Kind
from protocol.messages import DrawPicture, Plan, PlanPrompt
from tests.simulation.ledger import BrokenInvariantError, Ledger
from tests.simulation.loops import Loop, open_loop
from tests.simulation.network import Link, Network, Process
from tests.simulation.routers import SimulatedRouter
from tests.simulation.scenarios import Scenario

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Outcome:
    """What a run was like."""

    simulated_s: float
    messages: int
    digest: int
    begun_twice: int


class World:
    """A mesh that is running."""

    def __init__(self, scenario: Scenario, seed: int, nursery: trio.Nursery, loop: Loop | None) -> None:
        self.scenario, self.seed = scenario, seed
        self.dice = random.Random(f"{scenario.name} {seed}")
        self.network = Network(self.dice, scenario.weather)
        self.settings = RouterConfig(
            heartbeat_s=scenario.heartbeat_s, silence_s=scenario.silence_s, max_deliveries=scenario.max_deliveries
        )
        patience_s = scenario.silence_s - 1.5 * scenario.heartbeat_s
        reports_s = scenario.heartbeat_s + max(scenario.heartbeat_s, 0.5)
        self.ledger = Ledger(self.network, patience_s, reports_s)
        self.addresses = [f"router{number}" for number in range(1, scenario.routers + 1)]
        self.nursery = nursery
        self.processes: dict[str, Process] = {}
        self.scopes: dict[str, trio.CancelScope] = {}
        self.answered: dict[int, str] = {}
        self.poisoned = Counter[int]()
        """Actors that each poisonous request has killed."""
        self.patient_until = scenario.spread_s + 20 * scenario.silence_s + 10 * scenario.longest_s
        """Time at which everything must be over."""
        self.loop = loop
        self._again: dict[str, Callable[[], None]] = {}
        """Starts a new process in place of one that died, by its name."""
        self._epochs = 0

    # ----------------------------------------------------------------------------------------- processes

    def start_router(self, address: str) -> None:
        self._epochs += 1
        router = SimulatedRouter(self.network, f"{address}-{self._epochs}", self.settings)
        self.network.routers[address] = router
        self.network.note("starts", router.name)
        self.ledger.router_starts.append(trio.current_time())
        router.tick()
        for process in self.processes.values():
            if (link := process.links.get(address)) is not None:
                self.network.reconnect(link)

    def kill_router(self, address: str, downtime_s: float) -> None:
        """Kill a router, which is replaced after a while."""
        router = self.network.routers.pop(address, None)
        if router is None:
            return
        router.is_alive = False
        self.network.note("dies", router.name)
        for process in self.processes.values():
            if (link := process.links.get(address)) is not None and link.router is router:
                self.network.break_up(link, is_death=True)
        self.network.at(trio.current_time() + downtime_s, lambda: self.start_router(address))

    def new_process(self, name: str) -> Process:
        process = self.processes[name] = Process(name)
        self.scopes[name] = trio.CancelScope()
        return process

    @asynccontextmanager
    async def open_mesh(self, process: Process) -> AsyncIterator[Mesh]:
        """Open the process's client of the mesh, as `open_client` does over sockets."""
        links = {at: partial(self._open_link, process, at) for at in self.addresses}
        mesh = Mesh(links, process.name, randomness=random.Random(f"{self.scenario.name} {self.seed} {process.name}"))
        async with open_background() as nursery:
            await nursery.start(mesh.run)
            yield mesh

    def _open_link(self, process: Process, address: str, take: Callable[[list[Message]], None]) -> Link:
        return Link(self.network, process, address, take)

    def start_actors(self) -> None:
        if self.loop is None:
            for _ in range(self.scenario.actors):
                self._start_actor(partial(Worker, self), self.scenario.capacity)
        else:
            for kind in self.loop.kinds:
                self._start_actor(partial(self._make, self.loop, kind), kind.default_capacity)

    def _make(self, loop: Loop, kind: type[Actor], process: Process, mesh: Mesh) -> Actor:
        return loop.make(kind, mesh)

    def _start_actor(self, make: Callable[[Process, Mesh], Actor], capacity: int) -> None:
        process = self.new_process(f"actor{len(self._again) + 1}")
        process.capacity = capacity
        self._again[process.name] = partial(self._start_actor, make, capacity)
        self.nursery.start_soon(self._run_actor, process, make)

    async def _run_actor(self, process: Process, make: Callable[[Process, Mesh], Actor]) -> None:
        with self.scopes[process.name]:
            async with self.open_mesh(process) as mesh:
                await serve_by(mesh, partial(make, process))

    def kill(self, process: Process, *, is_seen: bool) -> None:
        """Kill a process other than a router; the supervisor may see it end and report it."""
        if process.is_dead:
            return
        self.network.note("dies", process.name)
        process.is_dead = True
        for link in process.links.values():
            link.disconnect()
        self.scopes[process.name].cancel()
        for router in self.network.routers.values() if is_seen else ():
            assert isinstance(router, SimulatedRouter)
            router.report_dead(process)

    # ----------------------------------------------------------------------------------------- clients

    async def run_client(self, name: str, numbers: range, done: trio.Event) -> None:
        process = self.new_process(name)
        async with self.open_mesh(process) as mesh:
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    nursery.start_soon(self._ask, mesh, number)
            done.set()
            await trio.sleep_forever()

    async def _ask(self, mesh: Mesh, number: int) -> None:
        dice = random.Random(f"{self.scenario.name} {self.seed} request {number}")
        await trio.sleep(dice.uniform(0.0, self.scenario.spread_s))
        if self.loop is not None:
            await self._draw(mesh, self.loop, number)
            return
        trajectory = bytes(12) + dice.randbytes(4)
        patience_s = (
            dice.uniform(0.0, self.scenario.longest_s) if dice.random() < self.scenario.impatient else float("inf")
        )
        seconds = dice.choice((0.0, 0.01, 0.3, 1.0)) * dice.uniform(0.0, self.scenario.longest_s)
        with trio.move_on_after(patience_s) as patience, answering(Call(Header(Kind.REQUEST, trajectory=trajectory))):
            try:
                reply = await mesh.ask(PlanPrompt(prompt=f"{number} {seconds}"))
            except errors.RequestError as error:
                self._record(number, type(error).__name__)
            else:
                if reply.prompt.split()[0] != str(number):
                    self.ledger.broken.append(f"request {number} got the answer {reply.prompt!r}")
                self._record(number, "answered")
        if patience.cancelled_caught:
            self._record(number, "given up")

    async def _draw(self, mesh: Mesh, loop: Loop, number: int) -> None:
        task = self.task(number)
        try:
            picture = await mesh.ask(task)
        except errors.RequestError as error:
            self._record(number, f"{type(error).__name__}: {error}")
        else:
            self.ledger.broken += loop.complaints_about(task, picture)
            self._record(number, "answered")

    def task(self, number: int) -> DrawPicture:
        """Return the task of a request for a picture."""
        return DrawPicture(run="simulated", line=number, prompt="a red cat", seed=number)

    def _record(self, number: int, what: str) -> None:
        if number in self.answered:
            self.ledger.broken.append(f"request {number}: {self.answered[number]}, and then {what}")
        self.answered[number] = what

    # ----------------------------------------------------------------------------------------- faults

    def plan_faults(self) -> None:
        """Choose from the seed what happens when."""
        it, dice = self.scenario, self.dice
        for _ in range(it.router_deaths):
            self._sometime(lambda: self.kill_router(dice.choice(self.addresses), dice.uniform(*it.downtime_s)))
        for _ in range(it.router_stalls):
            self._sometime(lambda: self._stall_router(dice.choice(self.addresses)))
        for _ in range(it.actor_deaths):
            self._sometime(self._kill_an_actor)
        for kind, times in (("actor", it.actor_stalls), ("client", it.client_stalls)):
            for _ in range(times):
                self._sometime(partial(self._stall_one, kind))
        for _ in range(it.breaks):
            self._sometime(lambda: self._with_a_link(self.network.break_up))
        for _ in range(it.partitions):
            self._sometime(lambda: self._with_a_link(self._part))
        self.network.on_arrival = self._count_arrival

    def _sometime(self, act: Callable[[], None]) -> None:
        self.network.at(trio.current_time() + self.dice.uniform(0.0, self.scenario.spread_s), act)

    def _count_arrival(self, number: int) -> None:
        if number in self.scenario.deaths_at_messages:
            self.kill_router(self.addresses[0], self.dice.uniform(*self.scenario.downtime_s))

    def _living(self, kind: str) -> list[Process]:
        return [process for process in self.processes.values() if process.name.startswith(kind) and not process.is_dead]

    def _kill_an_actor(self) -> None:
        if living := self._living("actor"):
            self._kill_and_replace(self.dice.choice(living), is_seen=self.dice.random() < 0.5)

    def _kill_and_replace(self, process: Process, *, is_seen: bool) -> None:
        self.kill(process, is_seen=is_seen)
        self.network.at(trio.current_time() + self.dice.uniform(0.05, 2.0), self._again[process.name])

    def poison(self, process: Process, number: int) -> None:
        """Kill a process that works on a request, if that is poisonous."""
        if number < self.scenario.poisonous:
            self.poisoned[number] += 1
            self._kill_and_replace(process, is_seen=True)

    def _stall_one(self, kind: str) -> None:
        if living := self._living(kind):
            self.network.stall(self.dice.choice(living), self.dice.uniform(0.05, self.scenario.longest_stall_s))

    def _stall_router(self, address: str) -> None:
        router = self.network.routers.get(address)
        if isinstance(router, SimulatedRouter):
            router.stall(self.dice.uniform(0.05, self.scenario.longest_stall_s))

    def _with_a_link(self, act: Callable[[Link], None]) -> None:
        links = [
            link for kind in ("actor", "client") for process in self._living(kind) for link in process.links.values()
        ]
        if links:
            act(self.dice.choice(links))

    def _part(self, link: Link) -> None:
        seconds = self.dice.uniform(0.1, 2 * self.scenario.silence_s)
        self.network.note("parted", f"{link} for {seconds:.3f} s")
        link.is_cut = True
        self.network.break_up(link)

        def heal() -> None:
            link.is_cut = False
            self.network.reconnect(link)
            link.process.lost_at.append(trio.current_time())

        self.network.at(trio.current_time() + seconds, heal)

    # ----------------------------------------------------------------------------------------- the end

    def check_end(self) -> None:
        """Check that every request was answered and nothing is left of any."""
        broken = self.ledger.broken
        broken += self.left()
        if self.loop is not None:
            tasks = [self.task(number) for number in range(self.scenario.requests)]
            is_lossless = not any(process.is_dead or process.lost_at for process in self.processes.values())
            broken += self.loop.complaints(tasks, is_lossless=is_lossless and not self.network.lost_answers)
        for number in range(self.scenario.requests):
            got = self.answered.get(number, "none")
            if number < self.scenario.poisonous:
                if (got, self.poisoned[number]) != ("PoisonedError", self.settings.max_deliveries):
                    broken.append(
                        f"request {number}: expected it to be poisoned, got {got}, {self.poisoned[number]} dead"
                    )
            elif got not in ("answered", "given up"):
                broken.append(f"request {number}: expected an answer, got {got}")

    def left(self) -> list[str]:
        """Return what is left of requests in the routers, and which actors cannot be given any."""
        found = []
        for router in self.network.routers.values():
            assert isinstance(router, SimulatedRouter)
            sizes, status = router.dispatcher.sizes(), router.dispatcher.status(trio.current_time())
            left = {"requested": sizes.requested, "reclaimable": sizes.reclaimable}
            left |= {f"queued for {role.role}": role.queued + role.paused for role in status.roles}
            left |= {f"held by {actor.name}": actor.busy for role in status.roles for actor in role.actors}
            found += [f"{router.name}: {count} {what} at the end" for what, count in left.items() if count]
            offered = {actor.name: actor.capacity for role in status.roles for actor in role.actors}
            for actor in self._living("actor"):
                share = -(-actor.capacity // self.scenario.routers)
                if (capacity := offered.get(actor.name)) != share:
                    found.append(f"{router.name}: expected {share} places of {actor.name} at the end, got {capacity}")
        return found


class Worker(Actor):
    """A planner that works on each request for the seconds in its prompt."""

    role = "planner"

    def __init__(self, world: World, process: Process, mesh: Mesh) -> None:
        super().__init__(MeshConfig(), mesh)
        self._world, self._ledger, self._process = world, world.ledger, process
        self.default_capacity = world.scenario.capacity

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        header = current_call().header
        begun = self._ledger.begin(self._process, header.id, header.attempt, self.default_capacity)
        try:
            number, seconds = request.prompt.split()
            await trio.sleep(float(seconds))
            self._world.poison(self._process, int(number))
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self._ledger.end(begun, "was told to stop")
            raise
        self._ledger.end(begun, "answered it")
        return Plan(prompt=f"{request.prompt} {self._process.name}")


class JumpingClock(trio.abc.Clock):
    """A clock that jumps to the next deadline or event of the network when no task can run.

    trio's `MockClock` jumps too, but needs several times the CPU. Events happen in the clock, until one lets a task
    run: a pass of the scheduler, and a task that waits for events, would be most of what they cost.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.network: Network | None = None

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        runnable = trio_scheduler.GLOBAL_RUN_CONTEXT.runner.runq
        while self.network is not None and (event := self.network.next_event()) <= deadline:
            self._now = max(self._now, event)
            self.network.act()
            if runnable:
                return 0.0
        if deadline < float("inf"):
            self._now = max(self._now, deadline)
        return 0.0


def simulate(scenario: Scenario, seed: int) -> Outcome:
    """Run a scenario.

    Raises:
        BrokenInvariantError: an invariant does not hold; its text ends with the last messages.
    """
    # trio shuffles tasks that are ready at the same time; this is how pytest-trio and Hypothesis make it repeatable.
    vars(trio_scheduler)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    trio_scheduler._r.seed(f"{scenario.name} {seed}")
    clock = JumpingClock()
    try:
        with patch.object(trio.to_thread, "run_sync", _run_here):
            return trio.run(_simulate, scenario, seed, clock, clock=clock)
    finally:
        vars(trio_scheduler)["_ALLOW_DETERMINISTIC_SCHEDULING"] = False
        trio_scheduler._r.seed()


async def _run_here(work: Callable[..., ResultT], *arguments: Any, **_: Any) -> ResultT:
    """Do the work of a thread at once: the clock would pass while a real one works, and differently in each run."""
    await trio.lowlevel.checkpoint()
    return work(*arguments)


async def _simulate(scenario: Scenario, seed: int, clock: JumpingClock) -> Outcome:
    with open_loop() if scenario.draws_pictures else nullcontext() as loop:
        return await _simulate_mesh(scenario, seed, clock, loop)


async def _simulate_mesh(scenario: Scenario, seed: int, clock: JumpingClock, loop: Loop | None) -> Outcome:
    async with open_background() as nursery:
        world = World(scenario, seed, nursery, loop)
        clock.network = world.network
        for address in world.addresses:
            world.start_router(address)
        world.start_actors()
        world.plan_faults()
        each = -(-scenario.requests // scenario.clients)
        done = [trio.Event() for _ in range(scenario.clients)]
        for number, event in enumerate(done):
            numbers = range(number * each, min(scenario.requests, (number + 1) * each))
            nursery.start_soon(world.run_client, f"client{number}", numbers, event)
        with trio.move_on_at(world.patient_until):
            for event in done:
                await event.wait()
            await trio.sleep_until(scenario.spread_s + max(scenario.longest_stall_s, *scenario.downtime_s))
            while world.left():  # noqa: ASYNC110
                await trio.sleep(scenario.heartbeat_s)
        world.check_end()
        clock.network = None  # from here on only deadlines pass: events never end
        if world.ledger.broken:
            lines = "\n".join(map(str, world.network.trace))
            raise BrokenInvariantError("\n".join([lines, "", *world.ledger.broken]))
        return Outcome(trio.current_time(), world.network.messages, world.network.digest, world.ledger.begun_twice)
