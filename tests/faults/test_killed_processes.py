"""kill -9 of any process of a mesh in the middle of a draw: the draw still succeeds and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import await_gone, descendants, environment

pytestmark = pytest.mark.slow

ROLES = ("conductor", "planner", "decomposer", "generator", "verifier", "compressor", "refiner", "memory")
ROUNDS = 12
"""Enough rounds that the kill comes in the middle of them."""


def start_long_draw(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "gems_actors.cli", "draw", "two red cats left of a stone dog"),
            *("--seed", "7", "--rounds", str(ROUNDS), "--size", "384x384", "--set", "draw.stop_when_all_met=false"),
            *("--json", "-o", str(folder / "picture.png")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=folder,
    )


def await_line(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read standard error up to the first line that contains `words`."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"expected {words!r} on standard error, got {''.join(lines)}")


def draw_and_kill(folder: Path, name: str) -> float:
    """Return the seconds from the kill to the end of the draw."""
    process = start_long_draw(folder)
    await_line(process, "round 2")
    family = descendants(process.pid)
    victims = [pid for pid, called in family.items() if called == name]
    assert len(victims) == 1, family
    os.kill(victims[0], signal.SIGKILL)
    killed_at = time.monotonic()
    stdout, stderr = process.communicate(timeout=240)
    seconds = time.monotonic() - killed_at
    assert process.returncode == 0, stderr
    outcome = json.loads(stdout)
    assert Path(outcome["picture"]).read_bytes().startswith(b"\x89PNG")
    assert outcome["images"] == ROUNDS
    assert not await_gone(set(family))
    return seconds


@pytest.mark.parametrize("role", ROLES)
def test_a_role_killed_in_the_middle_of_a_draw_is_replaced_and_the_draw_succeeds(tmp_path: Path, role: str) -> None:
    draw_and_kill(tmp_path, f"gems-{role}"[:15])


def test_the_router_killed_in_the_middle_of_a_draw_is_replaced_within_ten_seconds(tmp_path: Path) -> None:
    assert draw_and_kill(tmp_path, "gems-router") < 10.0


def test_the_parent_of_all_roles_killed_in_the_middle_of_a_draw_is_replaced_with_them(tmp_path: Path) -> None:
    draw_and_kill(tmp_path, "gems-zygote")


def test_the_draw_itself_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    process = start_long_draw(tmp_path)
    await_line(process, "round 2")
    family = descendants(process.pid)
    assert len(family) == 10, family
    process.kill()
    process.communicate()
    assert not await_gone(set(family))
