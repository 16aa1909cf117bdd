"""Whole meshes of real processes: restarted, scaled, drained, given up, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

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
ROLES = MeshConfig().start_order
ENTRIES = "tests.gems_actors.child_entries"


@pytest.fixture(autouse=True)
def _children_can_import_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@asynccontextmanager
async def open_mesh(*settings: str, entry: str = RUN_ROLE) -> AsyncIterator[Supervisor]:
    """Start a mesh, and check afterwards that none of its processes is left."""
    family: dict[int, str] = {}
    with open_private_folder(load_config(environment={}, settings=["log.level=error", *settings])) as config:
        try:
            async with open_supervisor(config, entry=entry) as supervisor:
                try:
                    yield supervisor
                finally:
                    family = descendants(os.getpid())
        finally:
            assert not await_gone({*family})
            assert not descendants(os.getpid())


def child_of(supervisor: Supervisor, role: str) -> Child:
    return next(child for child in supervisor.children() if child.role == role)


def count_of(supervisor: Supervisor, role: str) -> int:
    return sum(child.role == role for child in supervisor.children())


async def until(condition: Callable[[], bool]) -> None:
    """Return once a condition on other processes holds, which send no event to wait for."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.005)


async def test_nine_processes_are_registered_under_the_names_of_their_roles() -> None:
    async with open_mesh() as supervisor:
        await supervisor.ready()
        children = supervisor.children()
        assert [child.role for child in children] == ["router", *ROLES]
        assert [descendants(os.getpid())[child.pid] for child in children] == [
            f"gems-{role}" for role in ("router", *ROLES)
        ]
        async with open_client(supervisor.address) as mesh:
            status = await mesh.ask(ReadStatus())
        registered = {actor.name: actor.pid for role in status.roles for actor in role.actors}
        assert {child.name: child.pid for child in children[1:]}.items() <= registered.items()


@pytest.mark.parametrize("role", ["verifier", "memory", "router"])
async def test_a_killed_process_is_replaced_under_a_new_name(role: str) -> None:
    async with open_mesh() as supervisor:
        await supervisor.ready()
        old = child_of(supervisor, role)
        os.kill(old.pid, signal.SIGKILL)
        await until(lambda: old not in supervisor.children())
        await supervisor.ready()
        new = child_of(supervisor, role)
        assert new.name != old.name
        assert new.name.startswith(f"{role}-1.")
        assert new.restarts == 1


async def test_a_killed_zygote_is_replaced_with_all_of_its_children() -> None:
    async with open_mesh() as supervisor:
        await supervisor.ready()
        old = supervisor.children()
        (zygote,) = (pid for pid, name in descendants(os.getpid()).items() if name == "gems-zygote")
        os.kill(zygote, signal.SIGKILL)
        assert not await trio.to_thread.run_sync(await_gone, {child.pid for child in old})
        await supervisor.ready()
        new = supervisor.children()
        assert sorted(child.role for child in new) == sorted(child.role for child in old)
        assert not {child.name for child in old} & {child.name for child in new}


QUICK = ("router.heartbeat_s=0.1", "router.silence_s=0.5", "supervisor.unresponsive_s=1")
"""Settings with which a mesh notices within a second that a process does not respond."""


async def test_a_stopped_router_is_replaced() -> None:
    async with open_mesh(*QUICK) as supervisor:
        await supervisor.ready()
        old = child_of(supervisor, "router")
        os.kill(old.pid, signal.SIGSTOP)
        await until(lambda: old not in supervisor.children())
        await supervisor.ready()
        assert child_of(supervisor, "router").restarts >= 1


async def test_a_stopped_zygote_is_replaced_with_all_of_its_children() -> None:
    async with open_mesh(*QUICK) as supervisor:
        await supervisor.ready()
        old = supervisor.children()
        (zygote,) = (pid for pid, name in descendants(os.getpid()).items() if name == "gems-zygote")
        os.kill(zygote, signal.SIGSTOP)
        await until(lambda: not {*old} & {*supervisor.children()})
        await supervisor.ready()


async def test_a_mesh_whose_sockets_and_lock_were_removed_can_be_joined_again() -> None:
    async with open_mesh(*QUICK) as supervisor:
        await supervisor.ready()
        folder = Path(supervisor.address.removeprefix("ipc://")).parent
        old = child_of(supervisor, "router")
        for path in folder.iterdir():
            if path.is_file() or path.is_socket():
                path.unlink()
        await until(lambda: old not in supervisor.children())
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh:
            await mesh.ask(ReadStatus())
        assert (folder / "mesh.lock").read_text().startswith(f"{os.getpid()}\n")


async def test_a_router_that_nobody_can_join_ends_the_mesh_after_the_limit_of_restarts() -> None:
    reason = r"^router-1: did not let the supervisor join, 2 processes in a row for 1 s each, expected at most 1$"
    settings = (*QUICK, "supervisor.max_restarts=1", "supervisor.grace_s=0.3")
    async with open_mesh(*settings, entry=f"{ENTRIES}:run_with_a_router_that_hangs") as supervisor:
        with pytest.raises(SupervisorError, match=reason):
            await supervisor.wait()


async def test_a_role_is_scaled_up_and_down_while_the_mesh_runs() -> None:
    async with open_mesh() as supervisor:
        await supervisor.ready()
        assert await supervisor.resize("verifier", 3) == (1, 3)
        await supervisor.ready()
        assert count_of(supervisor, "verifier") == 3
        first = child_of(supervisor, "verifier")
        async with open_client(supervisor.address) as mesh:
            assert await mesh.ask(ScaleRole(scaled_role="verifier", count=1)) == Scaled(before=3, after=1)
            await until(lambda: count_of(supervisor, "verifier") == 1)
            assert child_of(supervisor, "verifier") == first
            with pytest.raises(RefusedError, match=r"roles\.memory\.count: expected at most 1"):
                await mesh.ask(ScaleRole(scaled_role="memory", count=2))


async def test_memory_has_a_process_per_shard_and_is_scaled_as_a_whole() -> None:
    def seats() -> list[str]:
        return sorted(child.name.partition(".")[0] for child in supervisor.children() if child.role == "memory")

    async with open_mesh("memory.shards=3") as supervisor:
        await supervisor.ready()
        assert seats() == ["memory-1", "memory_1-1", "memory_2-1"]
        assert await supervisor.resize("memory", 0) == (1, 0)
        await until(lambda: not seats())
        assert await supervisor.resize("memory", 1) == (0, 1)
        await supervisor.ready()
        assert seats() == ["memory-1", "memory_1-1", "memory_2-1"]


async def test_an_unknown_role_cannot_be_scaled() -> None:
    async with open_mesh() as supervisor:
        for role in ("router", "supervisor", "painter"):
            with pytest.raises(ConfigError, match=f"expected one of .*, got '{role}'"):
                await supervisor.resize(role, 2)


def ended_in(folder: Path) -> list[set[str]]:
    """Return the roles that ended, by the groups that may stop at the same time, and the router."""
    ended = iter((folder / "ended").read_text().split())
    return [{next(ended) for _ in group} for group in MeshConfig().stop_order] + [{*ended}]


ENDED = [*map(set, MeshConfig().stop_order), {"router"}]


async def test_a_requested_stop_drains_the_roles_that_ask_others_first(tmp_path: Path) -> None:
    async with open_mesh(f"data_dir={tmp_path}", entry=f"{ENTRIES}:run_and_record_exit") as supervisor:
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh:
            await mesh.ask(StopMesh())
        await supervisor.wait()
        with pytest.raises(SupervisorError, match="about to end"):
            await supervisor.resize("verifier", 2)
    assert ended_in(tmp_path) == ENDED


async def test_cancellation_drains_the_mesh_too(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_mesh(f"data_dir={tmp_path}", entry=f"{ENTRIES}:run_and_record_exit") as supervisor:
            await supervisor.ready()
            scope.cancel()
            await supervisor.wait()
    assert ended_in(tmp_path) == ENDED


async def test_roles_that_ask_none_of_each_other_drain_at_the_same_time(tmp_path: Path) -> None:
    entry = f"{ENTRIES}:run_until_all_of_the_group_have_drained"
    with capture_logs() as lines:
        async with open_mesh(f"data_dir={tmp_path}", "supervisor.grace_s=20", entry=entry) as supervisor:
            await supervisor.ready()
    assert not [line for line in lines if line["event"] == "actor_killed"], (
        "each waited for the others, which had ended"
    )
    assert ended_in(tmp_path) == ENDED


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    with capture_logs() as lines:
        async with open_mesh("supervisor.grace_s=0.3", entry=f"{ENTRIES}:run_with_a_verifier_that_ignores_sigterm"):
            left_at = trio.current_time()
        assert trio.current_time() - left_at >= 0.3
    assert any(line["event"] == "actor_killed" and line["actor"].startswith("verifier-1.") for line in lines)


async def test_stopping_now_kills_without_a_grace_period() -> None:
    # With the grace period the verifier, which ignores SIGTERM, would outlast the time limit of a test.
    async with open_mesh(
        "supervisor.grace_s=3600", entry=f"{ENTRIES}:run_with_a_verifier_that_ignores_sigterm"
    ) as supervisor:
        supervisor.stop_now()
        await supervisor.wait()


async def test_a_role_that_ends_too_often_makes_the_supervisor_give_up() -> None:
    entry = f"{ENTRIES}:run_with_a_verifier_that_exits"
    reason = "^verifier: ended 4 times within 600 s, expected at most 3; the last time with exit code 3$"
    async with open_mesh("supervisor.max_restarts=3", "supervisor.period_s=600", entry=entry) as supervisor:
        with pytest.raises(SupervisorError, match=reason):
            await supervisor.ready()
        with pytest.raises(SupervisorError, match=reason):
            await supervisor.wait()


async def test_a_final_exit_code_is_not_restarted() -> None:
    reason = r"^generator: ended with exit code 78 \(bad configuration\); a restart would end the same way$"
    with pytest.raises(ConfigError, match=reason):
        async with open_mesh(entry=f"{ENTRIES}:run_with_a_misconfigured_generator") as supervisor:
            await supervisor.wait()


async def test_a_mesh_continues_without_an_added_actor_that_cannot_run() -> None:
    async with open_mesh(entry=f"{ENTRIES}:run_with_room_for_one_generator") as supervisor:
        await supervisor.ready()
        assert await supervisor.resize("generator", 2) == (1, 2)
        while await supervisor.resize("generator", 2) == (2, 2):  # until the supervisor has noticed its end
            await trio.lowlevel.checkpoint()
        async with open_client(supervisor.address) as mesh:
            assert (await mesh.ask(ScaleRole(scaled_role="generator", count=1))).after == 1
        assert not supervisor.stopped.is_set()


async def test_a_directory_that_another_mesh_uses_is_refused_with_the_pid_of_its_supervisor() -> None:
    async with open_mesh() as supervisor:
        folder = Path(supervisor.address.removeprefix("ipc://")).parent
        other = load_config(environment={}, settings=[f"router.runtime_dir={folder}"])
        with pytest.raises(AddressInUseError, match=f"mesh.lock: expected .* held by process {os.getpid()}$"):
            async with open_supervisor(other):
                pass


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
    command = [sys.executable, "-c", source, f"{ENTRIES}:run_with_a_verifier_that_ignores_sigterm"]
    with started(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        family = descendants(process.pid)
        process.kill()
        assert len(family) == 10, family
        assert not await_gone({*family})
    shutil.rmtree(folder, ignore_errors=True)  # the next command of another test may have removed it
