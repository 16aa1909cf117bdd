"""Routers and picture servers as processes of their own, whose memory can be told, with honest clients beside."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from subprocess import Popen

import trio

from gems_actors.actor import serve_actor
from gems_actors.blobs.mesh import MeshBlobs
from gems_actors.client import open_client
from gems_actors.config import NO_KEYS, MeshConfig, SecurityConfig
from gems_actors.security.keys import ConnectingKeys, add_key, keys_to_connect, make_mesh_keys
from gems_actors.tasks import open_background
from protocol.blobs import blob_address
from protocol.messages import Plan, PlanPrompt
from tests.gems_actors.blobs.pictures import free_router, put
from tests.gems_actors.meshes import Echo
from tests.processes import environment, started

_SERVER = """
import sys
import time
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
config = load_config(environment={}, settings=sys.argv[2:])
sys.exit(run_role(sys.argv[1], config, ",".join(config.router_addresses), f"{sys.argv[1]}-1"))
"""
MIB = 1024 * 1024


@dataclass(frozen=True)
class Server:
    """A router or a picture server in a process."""

    address: str
    """Address of the router or, for a picture server, of the router next to which it would be."""
    process: Popen[str]
    keys: Path | None
    log: Path

    def security(self, name: str) -> SecurityConfig:
        """Return the settings of a client with a key."""
        if self.keys is None:
            return NO_KEYS
        return SecurityConfig(key=str(self.keys / f"{name}.key"), router_key=str(self.keys / "router.pub"))

    @property
    def beside(self) -> Server:
        """The picture server, with the address that it listens at."""
        return replace(self, address=blob_address(self.address))

    def connecting(self, name: str) -> ConnectingKeys | None:
        """Return the keys of a client."""
        return keys_to_connect(self.security(name), self.address)

    def peak_bytes(self) -> int:
        """Return the most memory that the process had until now."""
        return self._size("VmHWM")

    def resident_bytes(self) -> int:
        """Return how much memory the process has."""
        return self._size("VmRSS")

    def _size(self, key: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


@contextmanager
def server_process(role: str, where: str, folder: Path) -> Iterator[Server]:
    """Start a `router` or `blobs` that listens at `ipc`, at `tcp` without keys, or at `curve`: tcp with keys."""
    address = f"ipc://{folder}/router.ipc" if where == "ipc" else free_router()
    settings: dict[str, object] = {
        "router.runtime_dir": folder,
        "router.address": address,
        "data_dir": folder / "data",
        "blobs": "mesh:",
    }
    keys = folder / "keys" if where == "curve" else None
    if keys is not None:
        make_mesh_keys(keys)
        add_key(keys, "planner", ["planner"])
        add_key(keys, "conductor", ["conductor"])
        add_key(keys, "generator", ["generator"])
        settings |= {"security.key": keys / "router.key", "security.allowed": keys / "allowed.toml"}
    log = folder / f"{role}.log"
    command = [sys.executable, "-P", "-c", _SERVER, role, *(f"{key}={value}" for key, value in settings.items())]
    with log.open("w") as file, started(command, env=environment(), stderr=file) as process:
        while "_listening" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        yield Server(address, process, keys, log)
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@asynccontextmanager
async def honest_work(router: Server) -> AsyncIterator[None]:
    """Ask a planner through a router for as long as the block runs; no request may fail."""
    async with open_background() as nursery:
        serve = partial(serve_actor, security=router.security("planner"))
        nursery.start_soon(serve, partial(Echo, MeshConfig()), router.address, "planner-1")
        async with open_client(router.address, security=router.security("conductor")) as mesh:
            count = 0

            async def ask() -> None:
                nonlocal count
                while True:
                    assert await mesh.ask(PlanPrompt(prompt=f"{count}")) == Plan(prompt=f"{count}!")
                    count += 1
                    await trio.sleep(0.005)

            assert await mesh.ask(PlanPrompt(prompt="before")) == Plan(prompt="before!")
            nursery.start_soon(ask)
            yield
            seen = count
            with trio.fail_after(30):
                while count < seen + 2:  # noqa: ASYNC110 - another task counts
                    await trio.sleep(0.01)
                assert await mesh.ask(PlanPrompt(prompt="after")) == Plan(prompt="after!")


@asynccontextmanager
async def honest_pictures(server: Server, folder: Path) -> AsyncIterator[list[float]]:
    """Store and read pictures for as long as the block runs; no request may fail. Yields the seconds each pair took."""
    store = MeshBlobs(server.address, folder / "cache", 1, server.security("generator"))
    took_s: list[float] = []

    async def work() -> None:
        while True:
            data = b"%d" % len(took_s) * 50_000
            began_at = trio.current_time()
            ref = await put(store, data)
            assert await store.get(ref) == data
            took_s.append(trio.current_time() - began_at)
            await trio.sleep(0.01)  # as often as the processor is needed for the attack

    async with store.open(), open_background() as nursery:
        await put(store, b"before")
        nursery.start_soon(work)
        yield took_s
        seen = len(took_s)
        with trio.fail_after(30):
            while len(took_s) < seen + 2:  # noqa: ASYNC110 - another task counts
                await trio.sleep(0.01)
