"""Several routers of one mesh: work is spread over them, and moves to the others when one is gone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

from gems_actors import __version__, client
from gems_actors.actor import Actor, answers, current_call, serve_actor
from gems_actors.addresses import join_addresses, next_address, split_addresses
from gems_actors.call_context import Call, answering
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, RouterConfig, load_config
from gems_actors.errors import MeshRefusedError
from gems_actors.supervision.supervisor import open_agent
from gems_actors.tasks import open_background
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes, trajectory_id
from protocol.messages import ControlRun, MeshStatus, Plan, PlanPrompt, ReadStatus, ReadTrajectory, TrajectoryState
from tests.gems_actors.cli.commands import COMMAND, environment
from tests.gems_actors.meshes import Echo, Place, open_place
from tests.processes import descendants, started

QUICK = RouterConfig(heartbeat_s=0.1, silence_s=0.6)


class Remembering(Actor):
    """A memory that knows nothing, and notes for each trajectory which router it was asked through."""

    role = "memory"
    default_capacity = 64

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self.used: dict[str, set[str]] = {}

    @answers
    async def read(self, request: ReadTrajectory) -> TrajectoryState:
        connection = current_call().connection
        assert connection is not None
        self.used.setdefault(request.trajectory, set()).add(connection.address)
        return TrajectoryState(task=None)


async def open_places(stack: AsyncExitStack, folder: Path, names: Sequence[str]) -> list[Place]:
    """Start several routers, with an actor's place at all of them."""
    places = []
    for name in names:
        (folder / name).mkdir()
        places.append(await stack.enter_async_context(open_place(str(folder / name), QUICK)))
    for place in places:
        place.everywhere = join_addresses(place.address for place in places)
    return places


async def two_places(stack: AsyncExitStack, folder: Path) -> tuple[Place, Place]:
    one, two = await open_places(stack, folder, ("one", "two"))
    return one, two


async def test_a_trajectory_is_asked_through_one_router_and_all_of_them_through_both(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_places(stack, tmp_path)
        player = await one.add(Remembering, "memory-1")
        async with open_client(one.everywhere) as mesh:
            await both_are_up(mesh)
            ids = [trajectory_id("run", line, 0) for line in range(64)]
            for _ in range(2):
                for id_ in ids:
                    await mesh.ask(ReadTrajectory(trajectory=id_))
        (memory,) = player.actors
        assert isinstance(memory, Remembering)
        assert {len(routers) for routers in memory.used.values()} == {1}
        used = Counter(address for (address,) in memory.used.values())
        assert set(used) == {one.address, two.address}
        assert min(used.values()) > 16


@pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")])
async def test_what_a_dead_router_had_is_answered_through_the_others_and_done_once(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with AsyncExitStack() as stack:
        _, two, *_ = await open_places(stack, tmp_path, names)
        player = await two.add(Echo, "planner-1", capacity=64)
        async with open_client(two.everywhere) as mesh, trio.open_nursery() as nursery:
            await see(mesh, len(names))
            answered: list[str] = []

            async def ask(number: int) -> None:
                answered.append((await mesh.ask(PlanPrompt(prompt=f"wait {number}"))).prompt)

            for number in range(40):
                nursery.start_soon(ask, number)
            await player.echo.seen(begun=40)
            two.kill_router()
            assert isinstance(await mesh.ask(PlanPrompt(prompt="meanwhile")), Plan)
            await trio.sleep(1.0)  # longer than it takes to give the router up, and to hand out anew what it had
            player.echo.go.set()
        assert sorted(answered) == sorted(f"wait {number}!" for number in range(40))
        assert player.echo.begun == Counter({f"wait {number}": 1 for number in range(40)} | {"meanwhile": 1})


async def test_what_is_answered_before_a_dead_router_is_missed_is_not_done_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, _ = await two_places(stack, tmp_path)
        player = await one.add(Echo, "planner-1", capacity=64)
        async with open_client(one.everywhere) as mesh:
            await both_are_up(mesh)
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(mesh.ask, PlanPrompt(prompt=f"wait {number}"))
                await player.echo.seen(begun=40)
                one.kill_router()
                player.echo.go.set()
        assert player.echo.begun == Counter(f"wait {number}" for number in range(40))


async def test_a_router_that_was_away_learns_what_was_paused_and_what_went_on_meanwhile(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_places(stack, tmp_path)
        player = await one.add(Echo, "planner-1", capacity=64)
        async with open_client(one.everywhere) as mesh:
            await both_are_up(mesh)
            for run in ("mine", "yours"):
                assert (await mesh.ask(ControlRun(run=run, action="pause"))).before == "running"
            one.kill_router()
            async with open_client(two.address) as other:
                await other.ask(ControlRun(run="yours", action="resume"))
            await trio.sleep(1.0)  # longer than it takes to give the router up
            await one.start_router()
            await both_are_up(mesh)
            async with open_client(one.address) as other, trio.open_nursery() as nursery:

                async def ask(run: str) -> None:
                    with answering(Call(Header(Kind.REQUEST, run=run_bytes(run)))):
                        await other.ask(PlanPrompt(prompt=run))

                await ask("yours")
                nursery.start_soon(ask, "mine")
                while not any(role.paused for role in (await other.ask(ReadStatus())).roles):
                    assert "mine" not in player.echo.begun
                assert (await mesh.ask(ControlRun(run="mine", action="resume"))).before == "paused"
        assert player.echo.begun == Counter(["yours", "mine"])


async def test_a_router_that_comes_back_is_used_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_places(stack, tmp_path)
        await one.add(Remembering, "memory-1")
        async with open_client(one.everywhere) as mesh:
            await both_are_up(mesh)
            two.kill_router()
            await see(mesh, 1)
            await two.start_router()
            await see(mesh, 2)
            status = await mesh.ask(ReadStatus())
            (memory,) = (actor for role in status.roles for actor in role.actors)
            assert (memory.name, memory.capacity) == ("memory-1", 64)


STALLING = """
import sys, trio
from gems_actors.config import RouterConfig
from gems_actors.router.server import serve_router
trio.run(serve_router, [sys.argv[1]], RouterConfig(heartbeat_s=0.1, silence_s=60.0))
"""


async def test_a_router_that_stood_still_has_nothing_done_again_and_learns_what_was_paused(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_places(stack, tmp_path)
        one.kill_router()
        still = stack.enter_context(started([sys.executable, "-c", STALLING, one.address]))
        players = [await two.add(Echo, f"planner-{number}", capacity=64) for number in (1, 2)]
        begun = [player.echo.begun for player in players]
        mesh = await stack.enter_async_context(open_client(one.everywhere))
        nursery = await stack.enter_async_context(open_background())
        await both_are_up(mesh)
        answered: list[str] = []

        async def ask(prompt: str) -> None:
            answered.append((await mesh.ask(PlanPrompt(prompt=prompt))).prompt)

        prompts = [f"{word} {number}" for number in range(20) for word in ("wait", "hang")]
        for prompt in prompts:
            nursery.start_soon(ask, prompt)
        await until(lambda: sum(map(Counter.total, begun)) == 40)
        still.send_signal(signal.SIGSTOP)
        await see(mesh, 1)
        for player in players:
            player.echo.go.set()
        await until(lambda: len(answered) == 20)
        await mesh.ask(ControlRun(run="mine", action="pause"))
        still.send_signal(signal.SIGCONT)
        await see(mesh, 2)
        await trio.sleep(0.5)  # longer than it takes to find that somebody does not hold what he was given
        async with open_client(one.address) as other:
            assert (await other.ask(ControlRun(run="mine", action="pause"))).before == "paused"
        assert sum(begun, Counter()) == Counter(prompts)


async def test_an_actor_keeps_to_its_capacity_whatever_the_routers_give(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, _ = await two_places(stack, tmp_path)
        player = await one.add(Echo, "planner-1", capacity=1)
        async with open_client(one.everywhere) as mesh, trio.open_nursery() as nursery:
            await both_are_up(mesh)
            for number in range(8):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt=f"wait {number}"))
            await player.echo.seen(begun=1)
            await trio.sleep(0.3)
            assert player.echo.begun.total() == 1
            player.echo.go.set()


async def until(is_so: Callable[[], bool]) -> None:
    """Return once something is so that nobody tells of."""
    while not is_so():  # noqa: ASYNC110
        await trio.sleep(0.02)


async def both_are_up(mesh: Mesh) -> None:
    """Return once both routers know of every actor."""
    await see(mesh, 2)


async def see(mesh: Mesh, routers: int) -> None:
    """Return once so many routers answer, with all of the capacity between them."""
    while True:
        status: MeshStatus = await mesh.ask(ReadStatus())
        if status.epoch.count("+") == routers - 1 and any(role.actors for role in status.roles):
            return
        await trio.sleep(0.02)


def test_a_text_of_addresses_is_taken_apart_where_another_address_begins() -> None:
    assert split_addresses("tcp://a:1,tcp://[::1]:2,ipc:///x,y/z.ipc") == [
        "tcp://a:1",
        "tcp://[::1]:2",
        "ipc:///x,y/z.ipc",
    ]
    assert next_address("tcp://*:7100", 2) == "tcp://*:7102"
    assert next_address("ipc:///run/router.ipc", 1) == "ipc:///run/router-2.ipc"


def test_the_routers_of_a_host_listen_side_by_side_and_its_actors_serve_those_of_others() -> None:
    settings = [
        "router.runtime_dir=/run/gems",
        "router.address=tcp://*:7100",
        "router.count=2",
        "router.others=['tcp://far:7100']",
    ]
    config = load_config(environment={}, settings=settings)
    assert config.router_addresses == (
        "ipc:///run/gems/router.ipc,tcp://*:7100",
        "ipc:///run/gems/router-2.ipc,tcp://*:7101",
    )
    assert config.local_address == "ipc:///run/gems/router.ipc,ipc:///run/gems/router-2.ipc,tcp://far:7100"


async def test_a_process_of_another_version_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def visit(place: Place) -> None:
        async with open_client(place.address):
            pass

    refusal = rf"expected gems-actors {__version__}, got 9\.8\.7"
    async with open_place(str(tmp_path), QUICK) as place:
        with monkeypatch.context() as other:
            other.setattr(client, "__version__", "9.8.7")
            with pytest.raises(MeshRefusedError, match=refusal):
                await visit(place)
            with pytest.raises(MeshRefusedError, match=refusal):
                await serve_actor(partial(Echo, MeshConfig()), place.address, "planner-1")
            with pytest.raises(MeshRefusedError, match=refusal):
                async with open_agent(MeshConfig(), place.address, "far"):
                    pass
            other.setattr(client, "__version__", f"{__version__}.post1")  # of the same series
            await visit(place)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_bulk_ends_whole_while_one_of_two_routers_is_killed(tmp_path: Path, victim: int) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{number} red cats left of a stone dog\n" for number in range(2, 62)))
    up = [*COMMAND, "up", "--set", "router.count=2"]
    with started(
        up, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as mesh:
        assert mesh.stdout is not None
        addresses = re.findall(r"ipc:[^ :]*", mesh.stdout.readline())
        assert len(addresses) == 2
        bulk = [
            *COMMAND,
            "bulk",
            str(prompts),
            "--out",
            "out",
            "--router",
            ",".join(addresses),
            "--rounds",
            "2",
            "--json",
        ]
        with started(
            bulk, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as drawing:
            rows = tmp_path / "out/dataset/metadata.jsonl"
            while not rows.exists() or rows.read_bytes().count(b"\n") < 5:
                assert drawing.poll() is None
                time.sleep(0.02)  # another process's file tells nobody when it grows
            routers = sorted(pid for pid, name in descendants(mesh.pid).items() if name == "gems-router")
            os.kill(routers[victim], signal.SIGKILL)
            assert drawing.wait(60) == 0
        found = [json.loads(line)["index"] for line in rows.read_text().splitlines()]
        assert found == list(range(60))
