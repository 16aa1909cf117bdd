"""One process of the mesh, from its start to its exit code."""

from __future__ import annotations

import errno
import os
import signal
import socket as network
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gems_actors.client import open_client
from gems_actors.config import MeshConfig, RoleConfig, RouterConfig
from gems_actors.errors import ConfigError
from gems_actors.supervision import child_main
from gems_actors.supervision.child_main import load_actor, run_role
from protocol.messages import ReadStatus
from tests.processes import environment, started

pytestmark = pytest.mark.slow

PLAY = """
import sys
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
role, folder, *settings = sys.argv[1:]
config = load_config(environment={}, settings=[f"router.runtime_dir={folder}", f"data_dir={folder}", *settings])
address = config.router_addresses[0] if role == "router" else config.local_address
sys.exit(run_role(role, config, address, f"{role}-1"))
"""

STUCK = """
import sys
import trio
from gems_actors.config import MeshConfig
from gems_actors.supervision import child_main, stall_watch

async def never_end():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def fail(*, draining):
    trio.lowlevel.spawn_system_task(never_end)
    await trio.lowlevel.checkpoint()
    raise MemoryError

stall_watch._END_S = 1
child_main._main_of = lambda *arguments: fail
sys.exit(child_main.run_role("planner", MeshConfig(), "ipc:///tmp/none", "planner-1"))
"""

WITHOUT_MEMORY = """
import sys
import trio
from gems_actors.config import MeshConfig
from gems_actors.supervision import child_main

def fail():
    if sys.argv[1] == "trio and what follows":
        raise ExceptionGroup("", [ExceptionGroup("", [MemoryError()]), AssertionError()])
    raise MemoryError

async def run_out(*, draining):
    if sys.argv[1].startswith("trio"):
        trio.lowlevel.current_trio_token().run_sync_soon(fail)
        await trio.sleep_forever()
    fail()

child_main._main_of = lambda *arguments: run_out
sys.exit(child_main.run_role("planner", MeshConfig(), "ipc:///tmp/none", "planner-1"))
"""


def start(folder: Path, role: str, *settings: str) -> AbstractContextManager[subprocess.Popen[str]]:
    command = (sys.executable, "-P", "-c", PLAY, role, str(folder), *settings)
    return started(command, stderr=subprocess.PIPE, env=environment())


async def test_sigterm_drains_a_role_and_the_router_with_exit_code_0(tmp_path: Path) -> None:
    address = MeshConfig(router=RouterConfig(runtime_dir=str(tmp_path))).local_address
    with start(tmp_path, "router") as router, start(tmp_path, "memory") as memory:
        async with open_client(address, connect_within_s=60.0) as mesh, mesh.events("mesh") as events:
            while not (await mesh.ask(ReadStatus())).roles:
                await events.receive()
        for process in (memory, router):
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=180)
            assert process.returncode == 0, stderr
            assert "Traceback" not in stderr


def test_a_process_whose_event_loop_does_not_end_is_killed_so_that_it_is_replaced() -> None:
    """Without memory for its last tasks, trio waits for ever after the role has failed."""
    with started((sys.executable, "-P", "-c", STUCK), stderr=subprocess.DEVNULL, env=environment()) as process:
        assert process.wait(180) == -signal.SIGALRM


@pytest.mark.parametrize("where", ["role", "trio", "trio and what follows"])
def test_a_process_that_runs_out_of_memory_says_so_in_one_line(where: str) -> None:
    command = (sys.executable, "-P", "-c", WITHOUT_MEMORY, where)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=180, check=False)
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "process_ran_out_of_resources" in line
    assert "MemoryError()" in line


@pytest.mark.parametrize("role", ["router", "painter"])
def test_a_process_that_can_never_run_exits_with_78_and_one_line(tmp_path: Path, role: str) -> None:
    with network.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with start(tmp_path, role, f"router.address={address}") as process:
            _, stderr = process.communicate(timeout=180)
    assert process.returncode == 78
    (line,) = stderr.splitlines()
    assert line.startswith(f"gems: {role}: ")
    assert "expected" in line


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("json:loads", "expected a subclass of Actor, got json:loads"),
        ("gems_actors:Actor", "expected methods marked @answers, got none in gems_actors:Actor"),
    ],
)
def test_a_class_that_plays_no_role_is_refused(code: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^roles.poet.actor: {message}"):
        load_actor("poet", MeshConfig(roles={"poet": RoleConfig(actor=code)}))


def test_a_process_is_refused_on_other_systems_than_linux(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert run_role("planner", MeshConfig(), "ipc:///nowhere", "planner-1") == 78
    assert capsys.readouterr().err == (
        "gems: planner: expected Linux to run processes of a mesh, got darwin; use a container or a VM\n"
    )


@pytest.mark.parametrize(("reason", "code"), [(errno.EMFILE, 1), (errno.ENOMEM, 1), (errno.EACCES, 78)])
def test_what_a_role_cannot_open_for_want_of_descriptors_or_memory_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: int, code: int
) -> None:
    """1 has the supervisor start another process, 78 ends the mesh."""

    def refuse() -> None:
        raise ConfigError("data: expected a folder") from OSError(reason, os.strerror(reason))

    monkeypatch.setattr(child_main, "check_platform", refuse)
    assert run_role("memory", MeshConfig(), "ipc:///nowhere", "memory-1") == code
    assert capsys.readouterr().err == "gems: memory: data: expected a folder\n"
