"""Routers and small roles as tasks with real sockets, for tests of the runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from gems_actors.actor import Actor, answers, current_call, serve_actor
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, RouterConfig
from gems_actors.errors import ModelOutputError
from gems_actors.router.server import serve_router
from gems_actors.tasks import open_background
from protocol.messages import DecomposePrompt, Plan, PlanPrompt, ReadStatus, Requirements

SECONDS = 20.0
"""Time limit of a test that uses `play`."""


def play(scene: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Run a scene under trio, within the limit."""

    async def main() -> None:
        with trio.fail_after(SECONDS):
            await scene(*arguments)

    trio.run(main)


class Echo(Actor):
    """A planner whose answer depends on the first word of the prompt; it counts what it began, answered, cancelled."""

    role = "planner"
    default_capacity = 64

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self.begun: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.go = trio.Event()
        self._changed = trio.Event()

    async def seen(self, *, begun: int = 0, answered: int = 0, cancelled: int = 0) -> None:
        """Return once at least as many requests have been begun, answered and cancelled."""
        wanted = ((self.begun, begun), (self.answered, answered), (self.cancelled, cancelled))
        while any(counter.total() < count for counter, count in wanted):
            await self._changed.wait()

    def _note(self, counter: Counter[str], prompt: str) -> None:
        counter[prompt] += 1
        self._changed.set()
        self._changed = trio.Event()

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        self._note(self.begun, request.prompt)
        try:
            plan = await self._plan(request.prompt)
            self._note(self.answered, request.prompt)
            return plan
        except trio.Cancelled:
            self._note(self.cancelled, request.prompt)
            raise

    async def _plan(self, prompt: str) -> Plan:
        match prompt.split()[0]:
            case "babble":
                raise ModelOutputError("expected a plan, got soup")
            case "crash":
                raise KeyError("internal")
            case "hang":
                await trio.sleep_forever()
            case "wait":
                await self.go.wait()
            case "wind":
                await current_call().stop_gracefully.wait()
            case "nested":
                found = await self.mesh.ask(DecomposePrompt(prompt="inner"))
                return Plan(prompt=found.requirements[0].question if found.requirements else "none")
            case "large":
                return Plan(prompt="x" * 32_000, skill="y" * 5_000_000)
            case _:
                await trio.lowlevel.checkpoint()
        return Plan(prompt=f"{prompt}!")


class Inner(Actor):
    """A decomposer that remembers the header of its last request."""

    role = "decomposer"
    default_capacity = 64

    @answers
    async def decompose(self, request: DecomposePrompt) -> Requirements:
        self.header = current_call().header
        return Requirements(requirements=())


class LocalMesh:
    """A router, and actors that join and leave, at one address."""

    def __init__(self, nursery: trio.Nursery, address: str, config: MeshConfig) -> None:
        self.address = address
        self.everywhere = address
        """Addresses of all routers that its actors connect to."""
        self._nursery, self._config = nursery, config
        self._router, self._ended = trio.CancelScope(), trio.Event()

    async def start_router(self) -> None:
        """Serve a router until it is killed; started once it listens."""

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            self._ended = trio.Event()
            with trio.CancelScope() as self._router:
                await serve_router([self.address], self._config.router, task_status=task_status)
            self._ended.set()

        await self._nursery.start(serve)

    async def kill_router(self) -> None:
        """End the router without notice, and return once its address is free."""
        self._router.cancel()
        await self._ended.wait()

    async def add(
        self, kind: type[Actor], name: str, *, capacity: int | None = None, grace_s: float = 10.0
    ) -> RunningActor:
        """Start an actor, and return once it has joined."""
        running = RunningActor()
        serve = partial(
            serve_actor,
            partial(running.make, kind, self._config),
            self.everywhere,
            name,
            capacity=capacity,
            grace_s=grace_s,
            draining=running.draining,
        )
        self._nursery.start_soon(running.run, serve)
        async with open_client(self.address) as mesh, mesh.events("mesh") as events:
            while not any(
                a.name == name and a.capacity for role in (await mesh.ask(ReadStatus())).roles for a in role.actors
            ):
                await events.receive()
        return running


class RunningActor:
    """An actor that was started."""

    def __init__(self) -> None:
        self.scope, self.draining, self.ended = trio.CancelScope(), trio.Event(), trio.Event()
        self.actors: list[Actor] = []

    def make(self, kind: type[Actor], config: MeshConfig, mesh: Mesh) -> Actor:
        self.actors.append(kind(config, mesh))
        return self.actors[-1]

    @property
    def echo(self) -> Echo:
        """The actor itself."""
        (actor,) = self.actors
        assert isinstance(actor, Echo)
        return actor

    async def run(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Serve until cancelled or shut down."""
        with self.scope:
            await serve()
        self.ended.set()


@asynccontextmanager
async def open_local_mesh(folder: str, router: RouterConfig | None = None) -> AsyncIterator[LocalMesh]:
    """Start a router in a folder; it and all actors end with the block."""
    config = MeshConfig(router=router or RouterConfig(heartbeat_s=0.2, silence_s=1.0))
    async with open_background() as nursery:
        local = LocalMesh(nursery, f"ipc://{folder}/router.ipc", config)
        await local.start_router()
        yield local
