"""kill -9 of `gems skills learn`, of its mesh and of both: the same skill, and no image drawn twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import trio

from gems_actors.app.memory.access import MemoryLocation, open_memory
from gems_actors.config import MeshConfig
from protocol.messages import AttemptVerified, CountRecords, ReadLog
from tests.gems_actors.app.skills.laboratory import SETTING, prompts
from tests.gems_actors.cli.commands import environment
from tests.processes import await_gone, descendants

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("GEMS_TEST_KILLS", "4"))
"""Kills; ten take three minutes."""
COMMAND = (
    sys.executable, "-P", "-m", "gems_actors.cli", "skills", "learn", "--prompts", "prompts.txt", "--size", "256x256",
    "--rounds", "3", "--proposals", "2", "--confidence", "90", "--set", SETTING,
)  # fmt: skip


def start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """Start learning into a folder, with a state folder of its own: learnt skills must not meet."""
    own = folder / name
    own.mkdir(exist_ok=True)
    with (own / "log").open("ab") as log:
        return subprocess.Popen((*COMMAND, "--out", "learn"), cwd=own, stdout=log, stderr=log, env=environment(own))


def kill(process: subprocess.Popen[bytes], what: str) -> None:
    """Kill the command, a process of its mesh, or all of them."""
    family = {*descendants(process.pid)}
    pids = {"command": {process.pid}, "mesh": family, "both": {process.pid, *family}}[what]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if what == "mesh":  # the command may start another one, or give up: then it is killed, too
        time.sleep(random.Random(process.pid).uniform(0.0, 0.5))
        kill(process, "both")
    else:
        process.wait()
        assert not await_gone(family)


def pictures_in(folder: Path) -> int:
    """Return how many pictures are stored: how far learning is, however busy the machine."""
    return sum(1 for path in (folder / "learn/.mesh/blobs").rglob("*") if path.is_file())


def await_pictures(process: subprocess.Popen[bytes], folder: Path, count: float) -> None:
    """Wait until as many pictures are stored, or the process has ended."""
    while process.poll() is None and pictures_in(folder) < count:
        time.sleep(0.01)  # files of other processes send no event


async def attempts_in(folder: Path) -> Counter[tuple[str, int, int]]:
    """Return how often memory has each image: by trajectory, round and candidate."""
    found: Counter[tuple[str, int, int]] = Counter()
    location = MemoryLocation(MeshConfig(data_dir=str(folder / "learn/.mesh")), None)
    async with open_memory(location) as memory:
        last, since = (await memory.ask(CountRecords())).records, 0
        while since < last:
            page = (await memory.ask(ReadLog(since=since, limit=1_000))).records
            for item in page:
                if isinstance(item.record, AttemptVerified):
                    attempt = item.record.attempt
                    found[item.record.trajectory, attempt.round, attempt.candidate] += 1
            since = page[-1].sequence
    return found


async def test_learning_killed_at_random_moments_accepts_the_same_skill_and_draws_no_image_twice(
    tmp_path: Path,
) -> None:
    chance = random.Random(11)
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prompts.txt").write_text("\n".join(prompts(44)))
    assert start(tmp_path, "alone").wait(600) == 0, (tmp_path / "alone/log").read_text()
    whole, killed = pictures_in(tmp_path / "alone"), 0
    for moment in range(MOMENTS):
        process = start(tmp_path, "killed")
        await_pictures(process, tmp_path / "killed", whole * (moment + 0.9 * chance.random()) / MOMENTS)
        await trio.sleep(chance.uniform(0.0, 0.2))  # to be anywhere between two pictures
        if process.poll() is None:
            kill(process, ("command", "mesh", "both")[moment % 3])
            killed += 1
    assert start(tmp_path, "killed").wait(600) == 0, (tmp_path / "killed/log").read_text()
    assert killed >= MOMENTS // 2

    results = [json.loads((tmp_path / name / "learn/result.json").read_text()) for name in ("alone", "killed")]
    for result in results:
        assert (result["outcome"], result["skill"]) == ("accepted", "clear-counts")
    alone, after_kills = results
    assert after_kills["images"] == alone["images"]
    skills = [
        (tmp_path / name / "state/gems-actors/skills/clear-counts/SKILL.md").read_bytes()
        for name in ("alone", "killed")
    ]
    assert skills[0] == skills[1]
    drawn = [await attempts_in(tmp_path / name) for name in ("alone", "killed")]
    assert {*drawn[0].values()} == {*drawn[1].values()} == {1}
    assert sum(drawn[0].values()) == sum(drawn[1].values()) == alone["images"]
