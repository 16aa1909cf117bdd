"""Routers and roles of a few lines, as tasks with real sockets, for tests of what carries the messages."""

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
"""No test of a mesh takes longer, whatever hangs."""


def play(scene: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Run a scene under trio, within the limit."""

    async def main() -> None:
        with trio.fail_after(SECONDS):
            await scene(*arguments)

    trio.run(main)


class Echo(Actor):
    """A planner whose answer depends on the words of the prompt; it counts what it has begun and ended."""

    role = "planner"
    default_capacity = 64

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self.begun: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.go = trio.Event()
        self._changed = trio.Event()

    async def seen(self, *, begun: int = 0, cancelled: int = 0) -> None:
        """Return once so many requests have been begun, and so many cancelled."""
        while self.begun.total() < begun or self.cancelled.total() < cancelled:
            await self._changed.wait()

    def _note(self, counter: Counter[str], prompt: str) -> None:
        counter[prompt] += 1
        self._changed.set()
        self._changed = trio.Event()

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        self._note(self.begun, request.prompt)
        try:
            return await self._plan(request.prompt)
        except trio.Cancelled:
            self._note(self.cancelled, request.prompt)
            raise

    async def _plan(self, prompt: str) -> Plan:
        match prompt.split()[0]:
            case "babble":
                raise ModelOutputError("expected a plan, got soup")
            case "crash":
                raise KeyError("a fault of ours")
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
    """A decomposer that remembers the header of what it was asked."""

    role = "decomposer"
    default_capacity = 64

    @answers
    async def decompose(self, request: DecomposePrompt) -> Requirements:
        self.header = current_call().header
        return Requirements(requirements=())


class Place:
    """A router and actors that come and go, at one address."""

    def __init__(self, nursery: trio.Nursery, address: str, config: MeshConfig) -> None:
        self.address = address
        self.everywhere = address
        """Where its actors look for routers: here, and wherever else the test says."""
        self._nursery, self._config = nursery, config
        self._router = trio.CancelScope()

    async def start_router(self) -> None:
        """Serve a router until it is killed; started once it listens."""

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            with trio.CancelScope() as self._router:
                await serve_router([self.address], self._config.router, task_status=task_status)

        await self._nursery.start(serve)

    def kill_router(self) -> None:
        """End the router without a word to anybody."""
        self._router.cancel()

    async def add(self, kind: type[Actor], name: str, *, capacity: int | None = None, grace_s: float = 10.0) -> Player:
        """Have an actor join, and return once it is registered."""
        player = Player()
        serve = partial(
            serve_actor,
            partial(player.make, kind, self._config),
            self.everywhere,
            name,
            capacity=capacity,
            grace_s=grace_s,
            draining=player.draining,
        )
        self._nursery.start_soon(player.run, serve)
        async with open_client(self.address) as mesh, mesh.events("mesh") as events:
            while not any(
                a.name == name and a.capacity for role in (await mesh.ask(ReadStatus())).roles for a in role.actors
            ):
                await events.receive()
        return player


class Player:
    """One actor on the stage."""

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
        """Play until cancelled or drained."""
        with self.scope:
            await serve()
        self.ended.set()


@asynccontextmanager
async def open_place(folder: str, router: RouterConfig | None = None) -> AsyncIterator[Place]:
    """Start a router in a folder; everything that joins ends with the block."""
    config = MeshConfig(router=router or RouterConfig(heartbeat_s=0.2, silence_s=1.0))
    async with open_background() as nursery:
        place = Place(nursery, f"ipc://{folder}/router.ipc", config)
        await place.start_router()
        yield place
