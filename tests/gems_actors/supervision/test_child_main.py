"""One process of the mesh, from its start to its exit code."""

from __future__ import annotations

import signal
import socket as network
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from gems_actors.client import open_client
from gems_actors.config import MeshConfig, RouterConfig
from protocol.messages import ReadStatus
from tests.gems_actors.meshes import play
from tests.processes import environment

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


def start(folder: Path, role: str, *settings: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-P", "-c", PLAY, role, str(folder), *settings)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())


def test_sigterm_drains_a_role_and_the_router_and_ends_them_with_0(tmp_path: Path) -> None:
    address = MeshConfig(router=RouterConfig(runtime_dir=str(tmp_path))).local_address

    async def await_memory() -> None:
        async with open_client(address) as mesh, mesh.events("mesh") as events:
            while not (await mesh.ask(ReadStatus())).roles:
                with trio.move_on_after(1.0):
                    await events.receive()

    router, memory = start(tmp_path, "router"), start(tmp_path, "memory")
    play(await_memory)
    for process in (memory, router):
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=15)
        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr


@pytest.mark.parametrize("role", ["router", "nobody"])
def test_what_can_never_run_ends_with_78_and_one_line(tmp_path: Path, role: str) -> None:
    with network.create_server(("127.0.0.1", 0)) as taken:
        process = start(tmp_path, role, f"router.address=tcp://127.0.0.1:{taken.getsockname()[1]}")
        _, stderr = process.communicate(timeout=15)
    assert process.returncode == 78
    (line,) = stderr.splitlines()
    assert line.startswith(f"gems: {role}: ")
    assert "expected" in line
