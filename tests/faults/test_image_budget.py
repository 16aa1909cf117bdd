"""The images of a run while its processes are killed: the same decisions, and no image beyond the budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.benchmarks.bench_loop import write_prompts
from tests.processes import await_gone, descendants, environment, started

pytestmark = pytest.mark.slow

TASKS, IMAGES = 30, 60


def command_for(source: Path, out: Path) -> list[str]:
    more = ("--run-images", str(IMAGES), "--rounds", "5", "--size", "256x256", "--concurrency", "8")
    settings = ("--set", "roles.conductor.count=2", "--set", "memory.shards=2", "--set", "verify.mode=batch")
    return [sys.executable, "-P", "-m", "gems_actors.cli", "bulk", str(source), "--out", str(out), *more, *settings]


def draw(source: Path, out: Path) -> None:
    done = subprocess.run(
        command_for(source, out), capture_output=True, text=True, env=environment(), timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def rows_in(out: Path) -> list[dict[str, Any]]:
    """Return the rows of a run, without the ids of trajectories, which depend on the folder."""
    lines = (out / "dataset/metadata.jsonl").read_text().splitlines()
    return [{**json.loads(line), "trajectory": ""} for line in lines]


def images_in(out: Path) -> int:
    """Return how many images the store of a run has."""
    return sum(1 for path in (out / ".mesh/blobs").rglob("*") if path.is_file() and len(path.stem) >= 32)


def await_images(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until a run has drawn so many images, or has ended."""
    while process.poll() is None and images_in(out) < count:
        time.sleep(0.02)  # the images come from another process, so there is nothing to wait on


def kill(process: subprocess.Popen[str], what: str) -> set[int]:
    """Kill the processes of a run whose names have this in them, or all, and return them."""
    family = {process.pid: "command"} | descendants(process.pid)
    victims = {pid for pid, name in family.items() if what in name}
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return victims


def test_a_run_whose_processes_are_killed_decides_as_one_that_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("\n".join(write_prompts(TASKS)) + "\n")
    whole, broken, random = tmp_path / "whole", tmp_path / "broken", Random(18)
    draw(source, whole)
    hit: set[str] = set()
    for what in (
        "everything",
        "conductor",
        "everything",
        "router",
        "memory",
        "everything",
        "conductor",
        "everything",
    ):
        with started(
            command_for(source, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        ) as process:
            await_images(process, broken, images_in(broken) + random.randint(3, 6))
            if what != "everything" and kill(process, what):  # the mesh starts it again, and the run goes on
                hit.add(what)
                await_images(process, broken, images_in(broken) + 2)
            victims = kill(process, "")
        assert not await_gone(victims)
    assert hit == {"conductor", "router", "memory"}
    draw(source, broken)
    assert rows_in(broken) == rows_in(whole)
    assert sum(row["images"] for row in rows_in(whole)) == IMAGES
    assert {row["outcome"] for row in rows_in(whole)} >= {"all_met", "budget_elsewhere"}
