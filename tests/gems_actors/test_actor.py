"""The loop that every role runs in: handlers, capacity, graceful shutdown, limits."""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
import trio.testing

from gems_actors.actor import Actor, answers, serve_actor
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig
from gems_actors.errors import DeadlineError, InternalError
from protocol.limits import MAX_FIGURES, MAX_REMARK_CHARS
from protocol.messages import ActorStatus, Plan, PlanPrompt, ReadStatus, Request
from tests.gems_actors.meshes import Echo, open_local_mesh


def test_handlers_are_found_by_their_annotated_request_type() -> None:
    class Louder(Echo):
        @answers
        async def shout(self, request: PlanPrompt) -> Plan:
            return Plan(prompt=request.prompt.upper())

    assert Echo.handlers == {PlanPrompt: Echo.plan}
    assert Louder.handlers == {PlanPrompt: Louder.shout}
    assert Actor.handlers == {}


def other_plan_prompt() -> type[Request[Plan]]:
    class PlanPrompt(Request[Plan], frozen=True, kw_only=True):
        role: ClassVar[str] = "planner"

    return PlanPrompt


def test_an_actor_whose_request_type_has_the_name_of_another_is_refused_when_defined() -> None:
    async def plan(self: Actor, request: Request[Plan]) -> Plan:
        raise NotImplementedError

    plan.__annotations__["request"] = other_plan_prompt()
    with pytest.raises(
        TypeError, match="PlanPrompt: expected a message type with a new name, got the name of protocol"
    ):
        type("Other", (Actor,), {"plan": answers(plan)})


async def without_annotation(self: Actor, request) -> Plan: ...  # type: ignore[empty-body, no-untyped-def]


async def of_text(self: Actor, request: str) -> Plan: ...  # type: ignore[empty-body]


def not_async(self: Actor, request: PlanPrompt) -> Plan: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("handler", [without_annotation, of_text, not_async])
def test_a_handler_that_cannot_answer_requests_is_refused_when_defined(handler: Any) -> None:
    with pytest.raises(TypeError, match=f"{handler.__name__}: expected `async def` with one parameter annotated"):
        type("Other", (Actor,), {"plan": answers(handler)})


class Careless(Actor):
    """Makes a mistake of user code in its one handler, and has no name."""

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        match request.prompt:
            case "none":
                return None  # type: ignore[return-value]
            case "object":
                return Plan(prompt="x", reasoning=object())  # type: ignore[arg-type]
            case "int":
                return Plan(prompt="x", reasoning=2**70)  # type: ignore[arg-type]
            case "exit":
                sys.exit("usage:\nscript")
            case "empty":
                return Plan(prompt="")
            case "shortage":
                raise MemoryError
        return Plan(prompt="fine")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("none", "plan: expected Plan, got NoneType"),
        ("object", "Plan: expected values that fit msgpack, got: Encoding objects of type object is unsupported"),
        ("int", "Plan: expected values that fit msgpack, got: can't serialize ints"),
        ("exit", "SystemExit: usage: script"),
        ("shortage", "MemoryError"),
        ("empty", "the answer does not fit the wire: Plan: Expected `str` of length >= 1"),
    ],
)
async def test_a_mistake_in_a_handler_fails_its_request_and_not_the_actor(
    tmp_path: Path, prompt: str, message: str
) -> None:
    async with (
        open_local_mesh(str(tmp_path)) as local,
        open_client(local.address) as mesh,
        trio.open_nursery() as nursery,
    ):
        play = partial(serve_actor, partial(Careless, MeshConfig()), local.address, "a", role="planner")
        nursery.start_soon(play)
        with pytest.raises(InternalError, match=message) as failure:
            await mesh.ask(PlanPrompt(prompt=prompt))
        assert failure.value.is_outage == (prompt == "shortage"), "so that a bulk asks again, and fails no task"
        assert await mesh.ask(PlanPrompt(prompt="again")) == Plan(prompt="fine")
        nursery.cancel_scope.cancel()


class Odd(Careless):
    """Says more of itself than a heartbeat takes."""

    role = "planner"

    def figures(self) -> dict[str, float]:
        odd = {"nan": math.nan, "infinite": -math.inf, "n" * 201: 1.0, "\udc80": 1.0}
        return odd | {f"f{number}": 1.0 for number in range(2_000)}

    def note(self) -> str:
        return "\udc80" * 2_000


async def test_figures_and_notes_that_do_not_fit_the_wire_are_cut_and_cost_an_actor_nothing(tmp_path: Path) -> None:
    async with (
        open_local_mesh(str(tmp_path)) as local,
        open_client(local.address) as mesh,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(serve_actor, partial(Odd, MeshConfig()), local.address, "odd"))
        actors: tuple[ActorStatus, ...] = ()
        while not any(actor.figures for actor in actors):
            actors = tuple(actor for role in (await mesh.ask(ReadStatus())).roles for actor in role.actors)
            await trio.sleep(0.01)  # until a heartbeat has told
        assert [(actor.figures, actor.note) for actor in actors] == [
            ({"?": 1.0} | {f"f{number}": 1.0 for number in range(MAX_FIGURES - 1)}, "?" * MAX_REMARK_CHARS)
        ]
        nursery.cancel_scope.cancel()


async def test_an_actor_that_shuts_down_finishes_its_requests_and_takes_no_new_ones(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        first = await local.add(Echo, "first", capacity=1)
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait one"))
            await first.echo.seen(begun=1)
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait two"))
            first.draining.set()
            second = await local.add(Echo, "second")
            second.echo.go.set()
            await second.echo.seen(begun=1)
            first.echo.go.set()
            await first.ended.wait()
        assert first.echo.begun == {"wait one": 1}
        assert second.echo.begun == {"wait two": 1}


async def test_what_a_role_finishes_while_it_drains_may_ask_the_mesh(tmp_path: Path) -> None:
    finished: list[str] = []

    class Inviting(Echo):
        role = "refiner"

        async def drain(self) -> None:
            finished.append((await self.mesh.ask(PlanPrompt(prompt="last"))).prompt)

    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Echo, "planner")
        inviting = await local.add(Inviting, "inviting")
        inviting.draining.set()
        await inviting.ended.wait()
    assert finished == ["last!"]


async def test_requests_unfinished_after_the_grace_go_to_another_actor(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        first = await local.add(Echo, "first", grace_s=0.1)
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait"))
            await first.echo.seen(begun=1)
            first.draining.set()
            await first.ended.wait()
            assert first.echo.cancelled == {"wait": 1}
            second = await local.add(Echo, "second")
            second.echo.go.set()
        assert second.echo.begun == {"wait": 1}


class Counting(Echo):
    """An echo that notes how many tasks answer its requests."""

    default_capacity = 300

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self.tasks: set[trio.lowlevel.Task] = set()

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        self.tasks.add(trio.lowlevel.current_task())
        return Plan(prompt=request.prompt) if request.prompt == "now" else await super().plan(request)


async def test_handlers_that_wait_are_concurrent_and_those_that_do_not_share_a_task(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local, open_client(local.address) as mesh:
        actor = (await local.add(Counting, "counting")).echo
        assert isinstance(actor, Counting)
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt="now"))
        assert len(actor.tasks) < 20
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait"))
            await actor.seen(begun=200)
            assert (await mesh.ask(PlanPrompt(prompt="now"))).prompt == "now"
            actor.go.set()
        assert len(actor.tasks) >= 200
        actor.tasks.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt="now"))
        assert len(actor.tasks) < 20


async def test_actors_share_the_work_by_their_capacity(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        small = await local.add(Echo, "small", capacity=2)
        large = await local.add(Echo, "large", capacity=6)
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt=f"wait {number}"))
            await large.echo.seen(begun=6)
            await small.echo.seen(begun=2)
            assert (len(small.echo.begun), len(large.echo.begun)) == (2, 6)
            small.echo.go.set()
            large.echo.go.set()


async def test_a_handler_that_hangs_is_cancelled_at_the_limit_of_its_role(tmp_path: Path) -> None:
    class Impatient(Echo):
        time_limit_s = 0.1

    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Impatient, "a")
        async with open_client(local.address) as mesh:
            with pytest.raises(DeadlineError, match=r"not answered within 0\.1 s"):
                await mesh.ask(PlanPrompt(prompt="hang"))
            assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")
        assert running.echo.cancelled == {"hang": 1}


async def test_an_actor_that_waits_for_a_router_can_be_stopped(tmp_path: Path) -> None:
    draining = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(serve_actor, draining=draining, connect_within_s=60.0),
            partial(Echo, MeshConfig()),
            f"ipc://{tmp_path}/router.ipc",
            "planner-1",
        )
        await trio.testing.wait_all_tasks_blocked()
        draining.set()
