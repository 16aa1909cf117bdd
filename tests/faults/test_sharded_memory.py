"""A bulk with sharded memory: one shard killed, everything killed, and resumed with another number of shards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from actors.memory_store.maintenance import check_log, export_records
from actors.memory_store.sharding import shard_folder
from gems_actors.shards import homes_of
from protocol.messages import AttemptVerified, LoggedRecord, TrajectoryBegun, TrajectoryEnded, TrajectoryRecord
from tests.processes import await_gone, descendants, environment

pytestmark = pytest.mark.slow

GEMS = (sys.executable, "-P", "-m", "gems_actors.cli")


class Job(NamedTuple):
    """Size of the bulk."""

    lines: int
    rounds: int


def start(folder: Path, job: Job, shards: int) -> subprocess.Popen[str]:
    (folder / "prompts.txt").write_text(
        "".join(f"{number + 2} red cats left of a dog\n" for number in range(job.lines))
    )
    settings = (f"memory.shards={shards}", "draw.stop_when_all_met=false", "draw.width_px=128", "draw.height_px=128")
    return subprocess.Popen(
        (
            *(*GEMS, "bulk", "prompts.txt", "--out", "out", "--rounds", str(job.rounds), "--json"),
            *(item for setting in settings for item in ("--set", setting)),
        ),
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def records(data: Path, shards: int) -> list[tuple[int, TrajectoryRecord]]:
    """Return the records of trajectories with their shards."""
    found: list[tuple[int, TrajectoryRecord]] = []
    for shard in range(shards):
        if (shard_folder(data, shard) / "log").exists():
            for item in export_records(shard_folder(data, shard)):
                if isinstance(item, LoggedRecord) and isinstance(item.record, TrajectoryRecord):
                    found.append((shard, item.record))
    return found


def await_pictures(data: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Return once `count` pictures are judged, by reading the logs."""
    while process.poll() is None:
        if sum(isinstance(record, AttemptVerified) for _, record in records(data, 5)) >= count:
            return
        time.sleep(0.02)  # a pause between looks, so that the bulk gets the processor
    raise AssertionError(f"ended too early: {process.communicate()}")


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert not await_gone({*pids})


def finish(process: subprocess.Popen[str], job: Job) -> None:
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["pictures"] == job.lines


def shards_after_exactly_once(data: Path, job: Job, shards: int) -> dict[str, int]:
    """Check that each step was done once, and return the one shard that has the records of each trajectory."""
    assert [check_log(shard_folder(data, shard)).problems for shard in range(shards)] == [[]] * shards
    found = records(data, shards)
    pairs = {(record.trajectory, shard) for shard, record in found}
    assert len(pairs) == len(dict(pairs)) == job.lines
    for kind, count in ((TrajectoryBegun, 1), (AttemptVerified, job.rounds), (TrajectoryEnded, 1)):
        assert sum(isinstance(record, kind) for _, record in found) == count * job.lines
    return dict(pairs)


def test_a_bulk_completes_after_one_shard_is_killed(tmp_path: Path) -> None:
    job, data = Job(lines=30, rounds=1), tmp_path / "out" / ".mesh"
    bulk = start(tmp_path, job, 3)
    await_pictures(data, 8, bulk)
    (shard,) = (pid for pid, name in descendants(bulk.pid).items() if name == "gems-memory_1")
    kill(shard)
    finish(bulk, job)
    shard_of = shards_after_exactly_once(data, job, 3)
    assert shard_of == {id_: homes_of(id_, (3,))[0] for id_ in shard_of}
    assert {*shard_of.values()} == {0, 1, 2}


def test_a_bulk_resumes_with_fewer_and_with_more_shards_than_before(tmp_path: Path) -> None:
    job, data = Job(lines=14, rounds=2), tmp_path / "out" / ".mesh"
    before: dict[str, int] = {}
    for shards, pictures in ((3, 5), (2, 14)):
        bulk = start(tmp_path, job, shards)
        await_pictures(data, pictures, bulk)
        kill(bulk.pid, *descendants(bulk.pid))
        bulk.communicate()
        before |= {record.trajectory: shard for shard, record in records(data, 3)}
    finish(start(tmp_path, job, 5), job)
    shard_of = shards_after_exactly_once(data, job, 5)
    assert before.items() <= shard_of.items()
    assert any(shard != homes_of(id_, (5,))[0] for id_, shard in before.items())
    listed = subprocess.run(
        (*GEMS, "memory", "runs", "--data", "out", "--json"),
        cwd=tmp_path, capture_output=True, text=True, env=environment(), check=True,
    )  # fmt: skip
    (run,) = json.loads(listed.stdout)
    assert (run["ended"], run["total"], run["images"]) == (job.lines, job.lines, job.lines * job.rounds)
