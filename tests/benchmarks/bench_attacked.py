"""How soon a mesh draws after an attack, and after it was stopped and started again on the folder that was attacked.

Each attack has a mesh of its own: every type of message with extreme values, a flood of valid requests that stays
connected, and hostile connections that stay open. Before and after, `gems draw` asks that mesh for one picture.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.faults.test_extreme_values import send_everything
from tests.faults.test_greedy_clients import flood
from tests.gems_actors.cli.commands import COMMAND, environment, running_mesh
from tests.zmtp import connect

_PROMPT = "a red fox"
_DRAWS = 5
_CONNECTIONS = 400


@contextmanager
def _none(_: str) -> Iterator[None]:
    yield


@contextmanager
def _extreme_values(address: str) -> Iterator[None]:
    send_everything(address)
    yield


@contextmanager
def _flood(address: str) -> Iterator[None]:
    with flood(address):
        yield


@contextmanager
def _hostile_connections(address: str) -> Iterator[None]:
    """Open connections, of which every fourth sends garbage and the others nothing."""
    peers = [connect(address) for _ in range(_CONNECTIONS)]
    for peer in peers[::4]:
        with suppress(OSError):  # cut off already
            peer.sendall(os.urandom(4096))
    try:
        yield
    finally:
        for peer in peers:
            peer.close()


_ATTACKS: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "no attack": _none,
    "extreme values": _extreme_values,
    "flood of requests": _flood,
    "hostile connections": _hostile_connections,
}


def seconds_to_draw(folder: Path, address: str, number: int) -> float:
    """Return the seconds that `gems draw` takes in the mesh at an address."""
    command = (*COMMAND, "draw", _PROMPT, "--seed", str(number), "--router", address, "-o", f"{number}.png")
    settings = ("--set", f"data_dir={folder}/data")
    began = time.perf_counter()
    subprocess.run((*command, *settings), cwd=folder, env=environment(folder), check=True, capture_output=True)
    return time.perf_counter() - began


def measure(folder: Path, attack: Callable[[str], AbstractContextManager[None]]) -> tuple[list[float], list[float]]:
    """Return the seconds of the draws after an attack, and of those after the restart that followed."""
    address = f"ipc://{folder}/run/router.ipc"
    settings = ("--set", f"data_dir={folder}/data", "--set", f"router.runtime_dir={folder}/run")
    with running_mesh(folder, *settings) as mesh:
        with attack(address):
            before = [seconds_to_draw(folder, address, number) for number in range(_DRAWS)]
        mesh.terminate()
        assert mesh.wait() == 0
    began = time.perf_counter()
    with running_mesh(folder, *settings) as mesh:
        ready = time.perf_counter() - began
        after = [seconds_to_draw(folder, address, number) for number in range(_DRAWS, 2 * _DRAWS)]
        after[0] += ready
        mesh.terminate()
        assert mesh.wait() == 0
    return before, after


def main() -> None:
    """Print the first and the median draw of each."""
    for name, attack in _ATTACKS.items():
        with TemporaryDirectory() as folder:
            before, after = measure(Path(folder), attack)
        print(f"{name}: first draw {before[0]:.2f} s, median {median(before):.2f} s")
        print(f"  restarted: start and first draw {after[0]:.2f} s, median draw {median(after[1:]):.2f} s")
