"""Whole meshes of real processes: kept alive, resized, drained, given up, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from gems_actors.client import open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import AddressInUseError, ConfigError, RefusedError, SupervisorError
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.seats import Child
from gems_actors.supervision.supervisor import RUN_ROLE, Supervisor, open_supervisor
from protocol.messages import ReadStatus, Scaled, ScaleRole, StopMesh
from tests.processes import await_gone, descendants, started

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
PLAYING = "tests.gems_actors.child_entries"

Test = Callable[[Supervisor, MeshConfig], Awaitable[None]]


@pytest.fixture(autouse=True)
def _tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(test: Test, *settings: str, entry: str = RUN_ROLE) -> float:
    """Run a test with a mesh, see that nothing is left of it, and return how long leaving took."""
    left_at = 0.0

    async def main() -> float:
        nonlocal left_at
        with trio.fail_after(30):
            async with open_supervisor(config, entry=entry) as supervisor:
                try:
                    await test(supervisor, config)
                finally:
                    family.update(descendants(os.getpid()))
                    left_at = trio.current_time()
            return trio.current_time() - left_at

    family: dict[int, str] = {}
    with open_private_folder(load_config(environment={}, settings=["log.level=error", *settings])) as config:
        try:
            return trio.run(main)
        finally:
            assert not await_gone({*family})
            assert not descendants(os.getpid())


def child_of(supervisor: Supervisor, role: str) -> Child:
    return next(child for child in supervisor.children() if child.role == role)


async def until(is_so: Callable[[], bool]) -> None:
    """Return once something is true of other processes, which tell us nothing that could be waited for."""
    while not is_so():  # noqa: ASYNC110
        await trio.sleep(0.005)


async def replaced(supervisor: Supervisor, old: Child) -> Child:
    """Return the child that took the place of another, once it is registered."""
    await until(lambda: old not in supervisor.children())
    await supervisor.ready()
    return child_of(supervisor, old.role)


def test_nine_processes_are_registered_under_the_names_of_their_roles() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.ready()
        children = supervisor.children()
        assert [child.role for child in children] == ["router", *MeshConfig().start_order]
        assert [descendants(os.getpid())[child.pid] for child in children] == [
            f"gems-{role}" for role in ("router", *MeshConfig().start_order)
        ]
        async with open_client(supervisor.address) as mesh:
            status = await mesh.ask(ReadStatus())
        registered = {actor.name: actor.pid for role in status.roles for actor in role.actors}
        assert {child.name: child.pid for child in children[1:]}.items() <= registered.items()

    run(test)


@pytest.mark.parametrize("role", ["verifier", "memory", "router"])
def test_a_killed_process_is_replaced_under_a_new_name(role: str) -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.ready()
        old = child_of(supervisor, role)
        os.kill(old.pid, signal.SIGKILL)
        new = await replaced(supervisor, old)
        assert new.name != old.name
        assert new.name.startswith(f"{role}-1.")
        assert new.restarts == 1

    run(test)


def test_a_killed_zygote_is_replaced_with_all_that_it_forked() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.ready()
        old = supervisor.children()
        (zygote,) = (pid for pid, name in descendants(os.getpid()).items() if name == "gems-zygote")
        os.kill(zygote, signal.SIGKILL)
        assert not await trio.to_thread.run_sync(await_gone, {child.pid for child in old})
        await supervisor.ready()
        new = supervisor.children()
        assert sorted(child.role for child in new) == sorted(child.role for child in old)
        assert not {child.name for child in old} & {child.name for child in new}

    run(test)


def test_a_role_grows_and_shrinks_while_the_mesh_runs() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.ready()
        assert await supervisor.resize("verifier", 3) == (1, 3)
        await supervisor.ready()
        assert sum(child.role == "verifier" for child in supervisor.children()) == 3
        first = child_of(supervisor, "verifier")
        async with open_client(supervisor.address) as mesh:
            assert await mesh.ask(ScaleRole(scaled_role="verifier", count=1)) == Scaled(before=3, after=1)
            await until(lambda: sum(child.role == "verifier" for child in supervisor.children()) == 1)
            assert child_of(supervisor, "verifier") == first
            with pytest.raises(RefusedError, match=r"roles\.memory\.count: expected at most 1"):
                await mesh.ask(ScaleRole(scaled_role="memory", count=2))

    run(test)


def test_memory_is_a_process_a_shard_and_is_put_away_and_had_back_as_a_whole() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        def places() -> list[str]:
            return sorted(child.name.partition(".")[0] for child in supervisor.children() if child.role == "memory")

        await supervisor.ready()
        assert places() == ["memory-1", "memory_1-1", "memory_2-1"]
        assert await supervisor.resize("memory", 0) == (1, 0)
        await until(lambda: not places())
        assert await supervisor.resize("memory", 1) == (0, 1)
        await supervisor.ready()
        assert places() == ["memory-1", "memory_1-1", "memory_2-1"]

    run(test, "memory.shards=3")


@pytest.mark.parametrize("role", ["router", "supervisor", "painter"])
def test_what_is_no_role_cannot_be_resized(role: str) -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        with pytest.raises(ConfigError, match=f"expected one of .*, got '{role}'"):
            await supervisor.resize(role, 2)

    run(test)


def test_the_end_that_was_asked_for_drains_in_the_opposite_order_of_starting(tmp_path: Path) -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh:
            await mesh.ask(StopMesh())
        await supervisor.wait()
        with pytest.raises(SupervisorError, match="about to end"):
            await supervisor.resize("verifier", 2)

    run(test, f"data_dir={tmp_path}", entry=f"{PLAYING}:play_and_sign_off")
    assert (tmp_path / "ended").read_text().split() == [*reversed(MeshConfig().start_order), "router"]


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        pass

    took_s = run(test, "supervisor.grace_s=0.3", entry=f"{PLAYING}:play_with_a_deaf_verifier")
    assert 0.3 <= took_s < 2.0


def test_stopping_now_kills_without_any_grace() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        supervisor.stop_now()
        await supervisor.wait()

    assert run(test, "supervisor.grace_s=20", entry=f"{PLAYING}:play_with_a_deaf_verifier") < 2.0


def test_cancellation_drains_the_mesh_too() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        with trio.move_on_after(0.1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.wait)
        assert scope.cancelled_caught

    run(test)


def test_a_role_that_ends_too_often_is_given_up_and_nothing_is_left() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        with pytest.raises(SupervisorError):
            await supervisor.ready()
        await supervisor.wait()

    with pytest.raises(SupervisorError) as caught:
        run(test, "supervisor.max_restarts=3", entry=f"{PLAYING}:play_with_a_verifier_that_crashes")
    assert str(caught.value) == (
        "verifier: ended 4 times within 30 s, expected at most 3; the last time with exit code 3"
    )


def test_a_process_that_says_never_again_is_not_started_again() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.wait()

    with pytest.raises(ConfigError) as caught:
        run(test, entry=f"{PLAYING}:play_with_a_misconfigured_generator")
    assert str(caught.value) == (
        "generator: ended with exit code 78 (bad configuration); a restart would end the same way"
    )


def test_a_mesh_goes_on_without_a_further_actor_that_cannot_run_here() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        await supervisor.ready()
        assert await supervisor.resize("generator", 2) == (1, 2)
        while await supervisor.resize("generator", 2) == (2, 2):  # until its end has been seen
            await trio.lowlevel.checkpoint()
        async with open_client(config.local_address) as mesh:
            assert (await mesh.ask(ScaleRole(scaled_role="generator", count=1))).after == 1
        assert not supervisor.stopped.is_set()

    run(test, entry=f"{PLAYING}:play_with_room_for_one_generator")


def test_a_folder_that_another_mesh_uses_is_refused_with_the_pid_of_its_supervisor() -> None:
    async def test(supervisor: Supervisor, config: MeshConfig) -> None:
        with pytest.raises(AddressInUseError, match=f"mesh.lock: expected .* held by process {os.getpid()}$"):
            async with open_supervisor(config):
                pass

    run(test)


def test_a_killed_supervisor_takes_every_process_with_it() -> None:
    source = (
        "import sys, trio\n"
        "from gems_actors.config import load_config\n"
        "from gems_actors.supervision.runtime_dir import open_private_folder\n"
        "from gems_actors.supervision.supervisor import open_supervisor\n"
        "from gems_actors.ops.log_setup import configure_logging\n"
        "async def main(config):\n"
        "    async with open_supervisor(config, entry=sys.argv[1]) as supervisor:\n"
        "        print(config.runtime_path, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "with open_private_folder(load_config(environment={}, settings=['log.level=error'])) as config:\n"
        "    configure_logging(config.log)\n"
        "    trio.run(main, config)\n"
    )
    command = [sys.executable, "-c", source, f"{PLAYING}:play_with_a_deaf_verifier"]
    with started(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        named = descendants(process.pid)
        family = {*named}
        process.kill()
        assert len(family) == 10, named
        assert not await_gone(family, within_s=2.0)
    shutil.rmtree(folder)
