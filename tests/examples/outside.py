"""Examples in a folder outside the project, as a user has them, with a mesh and keys of that folder."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from gems_actors import MeshConfig, load_config
from gems_actors.config import SecurityConfig
from tests.processes import environment

GEMS = (sys.executable, "-P", "-m", "gems_actors.cli")


@contextmanager
def outside(example: str) -> Iterator[Path]:
    """Yield a copy of an example's folder."""
    with tempfile.TemporaryDirectory(prefix="gems-") as name:  # a socket's path must be short
        folder = Path(name)
        for file in (Path(__file__).parent / example).glob("*.*"):
            shutil.copy(file, folder)
        yield folder


def config_of(folder: Path, *settings: str) -> MeshConfig:
    own = (f"data_dir={folder}/data", f"router.runtime_dir={folder}/run")
    return load_config(folder / "mesh.toml", {}, (*own, *settings))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def keys_of(folder: Path, name: str) -> SecurityConfig:
    return SecurityConfig(key=f"{folder}/keys/{name}.key", router_key=f"{folder}/keys/router.pub")


async def run(folder: Path, *arguments: str) -> str:
    """Run a command in the folder of the example, and return what it prints."""
    variables = environment() | {"GEMS__ROUTER__RUNTIME_DIR": f"{folder}/run"}
    command = [*GEMS, *arguments]
    done = await trio.run_process(command, cwd=folder, env=variables, capture_stdout=True)
    return done.stdout.decode()
