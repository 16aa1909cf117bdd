"""Several routers of one mesh share the work and fail over to each other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

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
from tests.gems_actors.meshes import Echo, LocalMesh, open_local_mesh
from tests.processes import descendants, started

QUICK = RouterConfig(heartbeat_s=0.25, silence_s=1.5)
PATIENT = RouterConfig(heartbeat_s=0.5, silence_s=3.0)
"""For counts that hold only while no router looks silent: three heartbeats longer than a busy machine's pauses."""


class Remembering(Actor):
    """An empty memory that notes through which router each trajectory's requests arrive."""

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


async def open_local_meshes(
    stack: AsyncExitStack, folder: Path, names: Sequence[str], settings: RouterConfig = QUICK
) -> list[LocalMesh]:
    """Start several routers; an actor added at one connects to all."""
    meshes = []
    for name in names:
        (folder / name).mkdir()
        meshes.append(await stack.enter_async_context(open_local_mesh(str(folder / name), settings)))
    for local in meshes:
        local.everywhere = join_addresses(mesh.address for mesh in meshes)
    return meshes


async def two_meshes(
    stack: AsyncExitStack, folder: Path, settings: RouterConfig = QUICK
) -> tuple[LocalMesh, LocalMesh]:
    one, two = await open_local_meshes(stack, folder, ("one", "two"), settings)
    return one, two


async def test_each_trajectory_uses_one_router_and_all_together_use_both(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_meshes(stack, tmp_path)
        running = await one.add(Remembering, "memory-1")
        async with open_client(one.everywhere) as mesh:
            await see(mesh, 2)
            ids = [trajectory_id("run", line, 0) for line in range(64)]
            for _ in range(2):
                for id_ in ids:
                    await mesh.ask(ReadTrajectory(trajectory=id_))
        (memory,) = running.actors
        assert isinstance(memory, Remembering)
        assert {len(routers) for routers in memory.used.values()} == {1}
        used = Counter(address for (address,) in memory.used.values())
        assert set(used) == {one.address, two.address}
        assert min(used.values()) > 16


@pytest.mark.slow
@pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")])
async def test_requests_at_a_dead_router_are_answered_through_the_others_and_run_once(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with AsyncExitStack() as stack:
        _, two, *_ = await open_local_meshes(stack, tmp_path, names, PATIENT)
        running = await two.add(Echo, "planner-1", capacity=200)  # one router's share holds all requests
        async with open_client(two.everywhere) as mesh, trio.open_nursery() as nursery:
            await see(mesh, len(names))
            answered: list[str] = []

            async def ask(number: int) -> None:
                answered.append((await mesh.ask(PlanPrompt(prompt=f"wait {number}"))).prompt)

            for number in range(40):
                nursery.start_soon(ask, number)
            await running.echo.seen(begun=40)
            await two.kill_router()
            assert isinstance(await mesh.ask(PlanPrompt(prompt="meanwhile")), Plan)
            await see(mesh, len(names) - 1, busy=range(40, 1000))  # they know what it holds
            running.echo.go.set()
        assert sorted(answered) == sorted(f"wait {number}!" for number in range(40))
        assert running.echo.begun == Counter({f"wait {number}": 1 for number in range(40)} | {"meanwhile": 1})


@pytest.mark.slow
async def test_answers_given_before_a_failover_are_not_lost(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, _ = await two_meshes(stack, tmp_path, PATIENT)
        running = await one.add(Echo, "planner-1", capacity=64)
        async with open_client(one.everywhere) as mesh:
            await see(mesh, 2)
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(mesh.ask, PlanPrompt(prompt=f"wait {number}"))
                await running.echo.seen(begun=40)
                await one.kill_router()
                running.echo.go.set()
        assert running.echo.begun == Counter(f"wait {number}" for number in range(40))


@pytest.mark.slow
async def test_a_router_that_was_down_learns_what_was_paused_and_resumed_meanwhile(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_meshes(stack, tmp_path)
        running = await one.add(Echo, "planner-1", capacity=64)
        async with open_client(one.everywhere) as mesh:
            await see(mesh, 2)
            for run in ("mine", "yours"):
                assert (await mesh.ask(ControlRun(run=run, action="pause"))).before == "running"
            await one.kill_router()
            async with open_client(two.address) as other:
                await other.ask(ControlRun(run="yours", action="resume"))
            await see(mesh, 1)
            await one.start_router()
            await see(mesh, 2)
            async with open_client(one.address) as other, trio.open_nursery() as nursery:

                async def ask(run: str) -> None:
                    with answering(Call(Header(Kind.REQUEST, run=run_bytes(run)))):
                        await other.ask(PlanPrompt(prompt=run))

                await ask("yours")
                nursery.start_soon(ask, "mine")
                while not any(role.paused for role in (await other.ask(ReadStatus())).roles):
                    assert "mine" not in running.echo.begun
                assert (await mesh.ask(ControlRun(run="mine", action="resume"))).before == "paused"
        assert running.echo.begun == Counter(["yours", "mine"])


@pytest.mark.slow
async def test_a_router_that_comes_back_is_used_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_meshes(stack, tmp_path)
        await one.add(Remembering, "memory-1")
        async with open_client(one.everywhere) as mesh:
            await see(mesh, 2)
            await two.kill_router()
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
trio.run(serve_router, [sys.argv[1]], RouterConfig(heartbeat_s=0.5, silence_s=60.0))
"""


@pytest.mark.slow
async def test_a_stalled_router_repeats_no_work_and_learns_what_was_paused(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_meshes(stack, tmp_path, PATIENT)
        await one.kill_router()
        stalled = stack.enter_context(started([sys.executable, "-c", STALLING, one.address]))
        actors = [await two.add(Echo, f"planner-{number}", capacity=64) for number in (1, 2)]
        begun = [running.echo.begun for running in actors]
        mesh = await stack.enter_async_context(open_client(one.everywhere))
        nursery = await stack.enter_async_context(open_background())
        await see(mesh, 2)
        answered: list[str] = []

        async def ask(prompt: str) -> None:
            answered.append((await mesh.ask(PlanPrompt(prompt=prompt))).prompt)

        prompts = [f"{word} {number}" for number in range(20) for word in ("wait", "hang")]
        for prompt in prompts:
            nursery.start_soon(ask, prompt)
        await until(lambda: sum(map(Counter.total, begun)) == 40)
        stalled.send_signal(signal.SIGSTOP)
        await see(mesh, 1)
        for running in actors:
            running.echo.go.set()
        await until(lambda: len(answered) == 20)
        await mesh.ask(ControlRun(run="mine", action="pause"))
        stalled.send_signal(signal.SIGCONT)
        await see(mesh, 2)
        async with open_client(one.address) as other:
            await see(other, 1)
            assert (await other.ask(ControlRun(run="mine", action="pause"))).before == "paused"
        assert sum(begun, Counter()) == Counter(prompts)


async def test_an_actor_with_several_routers_keeps_to_its_capacity(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, _ = await two_meshes(stack, tmp_path)
        running = await one.add(Echo, "planner-1", capacity=1)
        async with open_client(one.everywhere) as mesh, trio.open_nursery() as nursery:
            await see(mesh, 2)
            for number in range(8):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt=f"wait {number}"))
            await see(mesh, 2, busy={2})  # each router has given it a request
            await trio.testing.wait_all_tasks_blocked(0.005)
            assert running.echo.begun.total() == 1
            running.echo.go.set()


async def until(is_true: Callable[[], bool]) -> None:
    """Poll a condition that sends no event until it is true."""
    while not is_true():  # noqa: ASYNC110
        await trio.sleep(0.02)


async def see(mesh: Mesh, routers: int, *, busy: Container[int] = range(1000)) -> None:
    """Return once that number of routers answers and knows actors, with `busy` requests at actors in all."""
    while True:
        status: MeshStatus = await mesh.ask(ReadStatus())
        actors = [actor for role in status.roles for actor in role.actors]
        if status.epoch.count("+") == routers - 1 and actors and sum(actor.busy for actor in actors) in busy:
            return
        await trio.sleep(0.02)


def test_addresses_are_split_at_commas_before_an_address() -> None:
    assert split_addresses("tcp://a:1,tcp://[::1]:2,ipc:///x,y/z.ipc") == [
        "tcp://a:1",
        "tcp://[::1]:2",
        "ipc:///x,y/z.ipc",
    ]
    assert next_address("tcp://*:7100", 2) == "tcp://*:7102"
    assert next_address("ipc:///run/router.ipc", 1) == "ipc:///run/router-2.ipc"


def test_routers_of_a_host_have_consecutive_addresses_and_actors_serve_other_hosts_too() -> None:
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


@pytest.mark.slow
async def test_a_process_of_another_version_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def visit(local: LocalMesh) -> None:
        async with open_client(local.address):
            pass

    refusal = rf"expected gems-actors {__version__}, got 9\.8\.7"
    async with open_local_mesh(str(tmp_path), QUICK) as local:
        with monkeypatch.context() as other:
            other.setattr(client, "__version__", "9.8.7")
            with pytest.raises(MeshRefusedError, match=refusal):
                await visit(local)
            with pytest.raises(MeshRefusedError, match=refusal):
                await serve_actor(partial(Echo, MeshConfig()), local.address, "planner-1")
            with pytest.raises(MeshRefusedError, match=refusal):
                async with open_agent(MeshConfig(), local.address, "far"):
                    pass
            other.setattr(client, "__version__", f"{__version__}.post1")  # of the same series
            await visit(local)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_bulk_completes_although_one_of_two_routers_is_killed(tmp_path: Path, victim: int) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{number} red cats left of a stone dog\n" for number in range(2, 42)))
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
            *("--rounds", "2", "--size", "128x128", "--json"),
        ]
        with started(
            bulk, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as drawing:
            rows = tmp_path / "out/dataset/metadata.jsonl"
            while not rows.exists() or rows.read_bytes().count(b"\n") < 5:
                assert drawing.poll() is None
                time.sleep(0.02)  # there is no event for another process's file
            routers = sorted(pid for pid, name in descendants(mesh.pid).items() if name == "gems-router")
            os.kill(routers[victim], signal.SIGKILL)
            assert drawing.wait(240) == 0
        found = [json.loads(line)["index"] for line in rows.read_text().splitlines()]
        assert found == list(range(40))
