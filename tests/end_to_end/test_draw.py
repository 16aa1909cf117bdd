"""`gems draw` with real processes, from the prompt to the picture."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_killed_processes import await_line, start_long_draw
from tests.processes import await_gone, descendants, environment, memory_kib

pytestmark = pytest.mark.slow

ROLES = ("conductor", "planner", "decomposer", "generator", "verifier", "compressor", "refiner", "memory", "router")


def draw(folder: Path, prompt: str, *options: str) -> dict[str, Any]:
    command = (sys.executable, "-P", "-m", "gems_actors.cli", "draw", prompt, "--json", *options)
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def test_each_role_is_a_small_process(tmp_path: Path) -> None:
    process = start_long_draw(tmp_path)
    await_line(process, "round 2")
    family = descendants(process.pid)
    sizes = {name: memory_kib(pid) for pid, name in family.items()}
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)
    assert {f"gems-{role}"[:15] for role in ROLES} <= set(sizes)
    for role in ROLES:
        resident_kib, proportional_kib = sizes[f"gems-{role}"[:15]]
        assert resident_kib < 70 * 1024, role
        assert proportional_kib < 40 * 1024, role


def test_the_same_seed_and_settings_give_the_same_pictures(tmp_path: Path) -> None:
    prompt = "three striped birds above a glass bicycle"
    first, second = (draw(tmp_path, prompt, "--seed", "11", "-o", f"{name}.png") for name in "ab")
    other = draw(tmp_path, prompt, "--seed", "12", "-o", "c.png")
    assert first["digest"] == second["digest"] != other["digest"]
    assert first["final_prompt"] == second["final_prompt"]


def test_ctrl_c_finishes_the_round_and_writes_the_best_picture_so_far(tmp_path: Path) -> None:
    process = start_long_draw(tmp_path)
    await_line(process, "round 2")
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 130, stderr
    outcome = json.loads(stdout)
    assert outcome["outcome"] == "wound_down"
    assert 2 <= outcome["rounds"] < 12
    assert (tmp_path / "picture.png").exists()
    assert not await_gone(set(family))


def test_a_second_ctrl_c_stops_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    process = start_long_draw(tmp_path)
    await_line(process, "round 2")
    family = descendants(process.pid)
    generator = next(pid for pid, name in family.items() if name == "gems-generator")
    subprocess.run(("kill", "-STOP", str(generator)), check=True)  # so that the round cannot end
    process.send_signal(signal.SIGINT)
    await_line(process, "Ctrl-C again")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=180)
    assert process.returncode == 130
    assert not await_gone(set(family))
