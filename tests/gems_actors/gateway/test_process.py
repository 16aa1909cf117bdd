"""The gateway as a process of a real mesh: started, drained, killed and replaced; and absent where it is not wanted."""

from __future__ import annotations

import ast
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import ConfigError
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from protocol.messages import ReadStatus, ScaleRole
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.gateway.doors import PROMPT, free_port
from tests.processes import started

SMALL = {"prompt": PROMPT, "size": "64x64", "gems": {"rounds": 2}}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gems-") as name:  # a socket's path must be short
        yield Path(name)


def config_of(folder: Path, *settings: str) -> MeshConfig:
    return load_config(None, {}, [f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", *settings])


def pid_of(supervisor: Supervisor, role: str) -> int:
    return next(child.pid for child in supervisor.children() if child.role == role)


@pytest.mark.slow
async def test_a_gateway_that_is_killed_is_replaced_and_one_that_drains_finishes_its_requests(folder: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with open_supervisor(config_of(folder, f"gateway.address=127.0.0.1:{port}")) as supervisor:
        await supervisor.ready()
        async with httpx.AsyncClient(timeout=60.0) as http:
            drawn = await http.post(f"{url}/v1/images/generations", json=SMALL)
            assert drawn.status_code == 200
            pid = pid_of(supervisor, "gateway")
            os.kill(pid, signal.SIGKILL)
            while True:
                try:
                    if (await http.get(f"{url}/healthz")).status_code == 200:
                        break
                except httpx.TransportError:
                    await trio.sleep(0.05)
            assert pid_of(supervisor, "gateway") != pid
            restarted = 'gems_role_restarts_total{role="gateway"} 1\n'
            while restarted not in (await http.get(f"{url}/metrics")).text:  # noqa: ASYNC110
                await trio.sleep(0.05)  # a heartbeat of the supervisor brings it
            async with open_client(supervisor.address) as mesh, trio.open_nursery() as nursery:
                answers = []

                async def draw() -> None:
                    answers.append(await http.post(f"{url}/v1/images/generations", json={**SMALL, "n": 4}))

                nursery.start_soon(draw)
                while not await _is_drawing(mesh):  # noqa: ASYNC110
                    await trio.sleep(0.01)  # no event tells that an actor is busy
                await mesh.ask(ScaleRole(scaled_role="gateway", count=0))
            assert [answer.status_code for answer in answers] == [200]
            with pytest.raises(ConfigError, match="at most 1"):
                await supervisor.resize("gateway", 2)


@pytest.mark.slow
async def test_a_gateway_that_ends_again_and_again_does_not_end_its_mesh(folder: Path) -> None:
    limits = ("supervisor.max_restarts=1", "supervisor.max_backoff_s=0.2")
    config = config_of(folder, f"gateway.address=127.0.0.1:{free_port()}", *limits)
    async with open_supervisor(config) as supervisor:
        await supervisor.ready()
        for _ in range(4):
            killed = pid_of(supervisor, "gateway")
            os.kill(killed, signal.SIGKILL)
            while {child.pid for child in supervisor.children() if child.role == "gateway"} <= {killed}:  # noqa: ASYNC110
                await trio.sleep(0.02)  # a supervisor tells nobody of its children
        assert not supervisor.stopped.is_set()
        await supervisor.ready()


async def _is_drawing(mesh: Mesh) -> bool:
    roles = (await mesh.ask(ReadStatus())).roles
    return any(actor.busy for role in roles if role.role == "conductor" for actor in role.actors)


@pytest.mark.slow
def test_up_serves_http_and_says_where(folder: Path) -> None:
    port = free_port()
    up = [*COMMAND, "up", "--gateway", f"127.0.0.1:{port}", "--set", f"router.runtime_dir={folder}/run"]
    with started(up, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(folder)) as mesh:
        assert mesh.stdout is not None
        assert f"http://127.0.0.1:{port}" in mesh.stdout.readline()
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        mesh.send_signal(signal.SIGTERM)
        assert mesh.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("has_desktop", [True, False])
def test_up_opens_the_page_in_the_browser_or_prints_its_address(folder: Path, has_desktop: bool) -> None:
    port = free_port()
    (folder / "bin").mkdir()
    browser = folder / "bin" / "xdg-open"
    browser.write_text(f'#!/bin/sh\necho "$1" > {folder}/opened.new && mv {folder}/opened.new {folder}/opened\n')
    browser.chmod(0o700)
    desktop = {"DISPLAY": ":7"} if has_desktop else {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    env = environment(folder, PATH=f"{folder}/bin:{os.environ['PATH']}", **desktop)
    where = ("--set", f"gateway.address=0.0.0.0:{port}", "--set", "gateway.tokens_env=TOKENS")
    up = [*COMMAND, "up", "--open", *where, "--set", f"router.runtime_dir={folder}/run"]
    with started(
        up, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**env, "TOKENS": "a=0123456789abcdef"}
    ) as mesh:
        assert mesh.stdout is not None
        assert "mesh ready" in mesh.stdout.readline()
        url = f"http://127.0.0.1:{port}/"
        if has_desktop:
            while not (folder / "opened").exists():
                time.sleep(0.02)
            assert (folder / "opened").read_text() == f"{url}\n"
        else:
            assert mesh.stdout.readline() == f"open {url} in a browser\n"
        assert httpx.get(url).status_code == 200


@pytest.mark.slow
async def test_https_is_served_with_the_files_of_the_settings(folder: Path) -> None:
    authority = trustme.CA()
    issued, port = authority.issue_cert("localhost"), free_port()
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    files = (f"gateway.tls_certificate={folder}/cert.pem", f"gateway.tls_key={folder}/key.pem")
    config = config_of(folder, f"gateway.address=127.0.0.1:{port}", *files)
    async with open_supervisor(config) as supervisor:
        await supervisor.ready()
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=folder / "ca.pem")) as http:
            assert (await http.get(f"https://localhost:{port}/healthz")).status_code == 200


@pytest.mark.slow
async def test_a_taken_address_ends_the_mesh_with_a_line_that_names_it(folder: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ConfigError, match="gateway"):
            async with open_supervisor(config_of(folder, f"gateway.address=127.0.0.1:{port}")) as supervisor:
                await supervisor.wait()


@pytest.mark.slow
def test_a_mesh_without_a_gateway_imports_nothing_of_it() -> None:
    program = """
import sys, importlib
import gems_actors.supervision.zygote as zygote
for module in zygote._MODULES: importlib.import_module(module)
for spec in zygote.BUILT_IN_ROLES.values(): importlib.import_module(spec.actor.partition(":")[0])
import gems_actors.cli.mesh, gems_actors.cli.draw, gems_actors.supervision.supervisor, gems_actors.app.draw
print([name for name in sys.modules if name.partition(".")[0] in ("anycorn", "starlette") or "gateway" in name])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []


def test_a_draw_with_its_own_mesh_starts_no_gateway(folder: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        drawn = run_gems(
            folder, "draw", "one cat", "--rounds", "1", "--size", "64x64", "--set", f"gateway.address=127.0.0.1:{port}"
        )
        assert drawn.returncode == 0, drawn.stderr
