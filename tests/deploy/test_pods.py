"""Runs what the Kubernetes pods run: the command lines and settings of the manifests, with one folder per pod."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from protocol.blobs import blob_address
from tests.deploy.test_kubernetes import BASE, FOLDER, base, documents
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import await_gone, descendants, started

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="gems-") as path:
        yield Path(path)


def free_ports(count: int) -> list[int]:
    """Return free ports; the port of the blob server that belongs to the first is free too."""
    while True:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
            ports = [int(one.getsockname()[1]) for one in sockets]
            blob_port = int(blob_address(f"tcp://127.0.0.1:{ports[0]}").rpartition(":")[2])
            with suppress(OSError, OverflowError):
                stack.enter_context(socket.create_server(("127.0.0.1", blob_port)))
                return ports


class FakeCluster:
    """A folder that stands in for a cluster: keys, an address for the router, and one folder per pod."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = run_gems(folder, "keys", "new", "keys")
        assert made.returncode == 0, made.stderr

    def localize(self, text: str, pod: str, router: int, metrics: int) -> str:
        """Return text of a manifest with addresses and paths of this host."""
        for there, ours in {
            "$(POD_NAME)": f"{pod}-0",
            "gems-router:27960": f"localhost:{router}",
            "0.0.0.0:27960": f"127.0.0.1:{router}",
            "0.0.0.0:9464": f"127.0.0.1:{metrics}",
            "/etc/gems-keys": f"{self.folder}/keys",
            "/etc/gems/": f"{self.folder}/{pod}/",
            '"/data"': f'"{self.folder}/{pod}/data"',
            "/run/gems/mesh": f"{self.folder}/{pod}/run",
        }.items():
            text = text.replace(there, ours)
        return text

    @contextmanager
    def running(self, controller: dict[str, Any], router: int, metrics: int) -> Iterator[subprocess.Popen[str]]:
        """Run a pod's container as a process, and check at the end that none of its processes is left."""
        pod = controller["metadata"]["name"]
        (self.folder / pod).mkdir()
        mesh = (BASE / "mesh.toml").read_text()
        (self.folder / pod / "mesh.toml").write_text(self.localize(mesh, pod, router, metrics))
        (container,) = controller["spec"]["template"]["spec"]["containers"]
        arguments = [self.localize(one, pod, router, metrics) for one in container["args"]]
        with started([*COMMAND, *arguments], env=environment(self.folder), stderr=subprocess.DEVNULL) as process:
            yield process
            family = descendants(process.pid)
        assert not await_gone({*family})


def await_ready(port: int, within_s: float = 240.0) -> bool:
    """Return whether a pod's startup probe succeeds in time."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=3).status_code == 200:
                return True
        time.sleep(0.1)
    return False


def test_the_pods_of_the_base_draw_with_keys_and_without_a_shared_disk(folder: Path) -> None:
    conductor, *others = base("Deployment")
    verifier = next(one for one in others if one["metadata"]["name"] == "gems-verifier")
    others.remove(verifier)
    for one in others:  # one process for all of these, which differ only in the role, saves five starts of Python
        counts = one["spec"]["template"]["spec"]["containers"][0]["args"][-1:]
        conductor["spec"]["template"]["spec"]["containers"][0]["args"] += counts
    controllers = [*base("StatefulSet"), conductor, verifier]
    cluster = FakeCluster(folder)
    router, *ports = free_ports(1 + len(controllers))
    watched = dict(zip((one["metadata"]["name"] for one in controllers), ports, strict=True))
    (job,) = documents(FOLDER / "bulk.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    how = [
        cluster.localize(one, "client", router, 0) for one in container["args"] if one.startswith(("--router", "--set"))
    ]
    with ExitStack() as pods:
        processes = {
            one["metadata"]["name"]: pods.enter_context(cluster.running(one, router, port))
            for one, port in zip(controllers, ports, strict=True)
        }
        assert all(map(await_ready, ports))
        drawn = run_gems(folder, "draw", "a red dog", "--seed", "1", "-o", "dog.png", *how)
        assert (drawn.returncode, (folder / "dog.png").exists()) == (0, True), drawn.stderr
        assert "gems_agents 3\n" in httpx.get(f"http://127.0.0.1:{watched['gems-router']}/metrics", timeout=120).text

        kept = {path.parent.parent.name: path.name for path in folder.glob("*/data/*")}
        assert (kept["gems-memory"], kept["gems-router"], kept["gems-verifier"]) == ("memory", "blobs", "blob-cache")
        head = processes.pop("gems-router")
        for leaving in [[*processes.values()], [head]]:
            for process in leaving:
                process.send_signal(signal.SIGTERM)
            assert {process.wait(120) for process in leaving} == {0}
