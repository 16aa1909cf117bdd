"""kill -9 of a bulk, of its mesh and of both at random moments: the dataset equals that of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import await_gone, descendants, environment

pytestmark = pytest.mark.slow

LINES, MOMENTS = 120, 20


def start(folder: Path, out: str) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-P", "-m", "gems_actors.cli", "bulk", "prompts.txt", "--out", out, "--rounds", "2")
    return subprocess.Popen(
        (*command, "--set", "draw.width_px=128", "--set", "draw.height_px=128"),
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a dataset, without the ids of trajectories, which contain the name of the folder's run."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    files["metadata.jsonl"] = re.sub(rb'"trajectory":"[0-9a-f]{32}"', b'"trajectory":""', files["metadata.jsonl"])
    return files


def kill(process: subprocess.Popen[bytes], what: str) -> None:
    """Kill the command, its mesh, or both; the command restarts a mesh killed alone, then both are killed."""
    family = {*descendants(process.pid)}
    for pid in ({process.pid} if what != "mesh" else set()) | (family if what != "bulk" else set()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if what == "mesh":
        assert not await_gone(family)
        while process.poll() is None and not descendants(process.pid):
            time.sleep(0.01)  # until the command has begun to start the next mesh
        kill(process, "bulk")
    else:
        process.wait()
        assert not await_gone(family)


def test_a_bulk_killed_twenty_times_ends_with_the_dataset_of_an_undisturbed_one(tmp_path: Path) -> None:
    chance = random.Random(7)
    things = ("red cats", "glass owls", "pigs", "metal toys")
    prompts = [f"{n % 7 + 2} {things[n % 4]} left of a stone dog" for n in range(LINES)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    assert start(tmp_path, "alone").wait(300) == 0
    killed_in_the_middle = 0
    for moment in range(MOMENTS):
        process = start(tmp_path, "killed")
        try:
            process.wait(chance.uniform(0.3, 1.3))
        except subprocess.TimeoutExpired:
            kill(process, ("bulk", "mesh", "both")[moment % 3])
            killed_in_the_middle += 1
    assert start(tmp_path, "killed").wait(300) == 0
    assert killed_in_the_middle >= 15
    alone, killed = contents(tmp_path / "alone/dataset"), contents(tmp_path / "killed/dataset")
    assert killed.keys() == alone.keys()
    assert [name for name in alone if alone[name] != killed[name]] == []
    rows = [json.loads(line) for line in alone["metadata.jsonl"].splitlines()]
    assert [row["index"] for row in rows] == list(range(LINES))
