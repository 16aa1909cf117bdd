"""The loop that every role runs in: capacity, draining, limits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from gems_actors.actor import Actor, answers, serve_actor
from gems_actors.client import open_client
from gems_actors.config import MeshConfig
from gems_actors.errors import DeadlineError
from protocol.messages import Plan, PlanPrompt
from tests.gems_actors.meshes import Echo, open_place


def test_handlers_are_found_by_the_request_that_they_are_annotated_with() -> None:
    class Louder(Echo):
        @answers
        async def shout(self, request: PlanPrompt) -> Plan:
            return Plan(prompt=request.prompt.upper())

    assert Echo.handlers == {PlanPrompt: Echo.plan}
    assert Louder.handlers == {PlanPrompt: Louder.shout}
    assert Actor.handlers == {}


async def test_a_draining_actor_finishes_what_it_has_in_hand_and_takes_nothing_new(tmp_path: Path) -> None:
    async with open_place(str(tmp_path)) as place:
        first = await place.add(Echo, "first", capacity=1)
        async with open_client(place.address) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait one"))
            await first.echo.seen(begun=1)
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait two"))
            first.draining.set()
            second = await place.add(Echo, "second")
            second.echo.go.set()
            await second.echo.seen(begun=1)
            first.echo.go.set()
            await first.ended.wait()
        assert first.echo.begun == {"wait one": 1}
        assert second.echo.begun == {"wait two": 1}


async def test_what_a_draining_actor_cannot_finish_in_time_goes_to_another(tmp_path: Path) -> None:
    async with open_place(str(tmp_path)) as place:
        first = await place.add(Echo, "first", grace_s=0.1)
        async with open_client(place.address) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait"))
            await first.echo.seen(begun=1)
            first.draining.set()
            await first.ended.wait()
            assert first.echo.cancelled == {"wait": 1}
            second = await place.add(Echo, "second")
            second.echo.go.set()
        assert second.echo.begun == {"wait": 1}


async def test_actors_share_the_work_by_their_capacity(tmp_path: Path) -> None:
    async with open_place(str(tmp_path)) as place:
        small = await place.add(Echo, "small", capacity=2)
        large = await place.add(Echo, "large", capacity=6)
        async with open_client(place.address) as mesh, trio.open_nursery() as nursery:
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

    async with open_place(str(tmp_path)) as place:
        player = await place.add(Impatient, "a")
        async with open_client(place.address) as mesh:
            with pytest.raises(DeadlineError, match=r"not answered within 0\.1 s"):
                await mesh.ask(PlanPrompt(prompt="hang"))
            assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")
        assert player.echo.cancelled == {"hang": 1}


async def test_an_actor_that_waits_for_a_router_leaves_as_soon_as_it_is_told_to(tmp_path: Path) -> None:
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
