"""`gems up`, and the commands that control a running mesh."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.cli.test_draw import processes_below
from tests.processes import started

pytestmark = pytest.mark.slow


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A mesh that is ready, in the foreground of another process."""
    surroundings = environment(tmp_path)
    with started(
        [*COMMAND, "up"], cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"mesh ready at ipc://{tmp_path}/gems-actors/router.ipc: 9 processes;")
        yield process


def test_a_running_mesh_is_scaled_used_shown_and_stopped(tmp_path: Path, mesh: subprocess.Popen[str]) -> None:
    scaled = run_gems(tmp_path, "scale", "verifier=2", "planner=2")
    assert (scaled.returncode, scaled.stdout) == (0, "verifier: 1 -> 2\nplanner: 1 -> 2\n")
    address = f"ipc://{tmp_path}/gems-actors/router.ipc"
    drawn = run_gems(tmp_path, "draw", "a red dog", "--seed", "1", "-o", "dog.png", "--router", address)
    assert (drawn.returncode, (tmp_path / "dog.png").exists()) == (0, True)
    shown = run_gems(tmp_path, "status", "--json", more={"GEMS_ROUTER": address})
    assert {role["role"] for role in json.loads(shown.stdout)["roles"]} >= {"conductor", "memory", "verifier"}
    table = run_gems(tmp_path, "status").stdout.splitlines()
    assert table[0].split() == ["role", "actors", "busy", "queued", "oldest", "handled", "where"]
    checked = run_gems(tmp_path, "status", "--check", "verifier,memory")
    assert (checked.returncode, checked.stdout) == (0, "")
    assert 'gems_role_workers{role="verifier"} 2\n' in run_gems(tmp_path, "status", "--prometheus").stdout
    both = run_gems(tmp_path, "status", "--json", "--prometheus")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    second = run_gems(tmp_path, "up")
    assert (second.returncode, second.stderr.count("\n")) == (78, 1)
    refused = run_gems(tmp_path, "scale", "memory=2")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert run_gems(tmp_path, "down").returncode == 0
    assert mesh.wait(30) == 0
    assert processes_below(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_drains_the_mesh(tmp_path: Path, mesh: subprocess.Popen[str], number: signal.Signals) -> None:
    mesh.send_signal(number)
    assert mesh.wait(30) == 0
    assert processes_below(tmp_path) == []
