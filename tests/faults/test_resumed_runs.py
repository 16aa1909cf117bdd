"""kill -9 of everything in the middle of a run: started again, the run resumes, and no step is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from actors.memory_store.maintenance import check_images, check_log, export_records
from gems_actors.blobs import BlobFolder
from protocol.messages import AttemptVerified, LoggedRecord, TrajectoryBegun, TrajectoryEnded, TrajectoryRecord
from tests.gems_actors.cli.commands import summary_in
from tests.processes import await_gone, descendants, environment

pytestmark = pytest.mark.slow

GEMS = (sys.executable, "-P", "-m", "gems_actors.cli")
LINES, ROUNDS = 12, 6
SMALL = ("--size", "256x256")


def write_prompts(folder: Path) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"{number + 2} red cats left of a stone dog\n" for number in range(LINES)))
    return path


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (*GEMS, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def records(memory: Path) -> list[TrajectoryRecord]:
    found = [item for item in export_records(memory) if isinstance(item, LoggedRecord)]
    return [item.record for item in found if isinstance(item.record, TrajectoryRecord)]


def await_rounds(memory: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Return once `count` pictures are judged, by reading the log."""
    while process.poll() is None:
        if (memory / "log").exists() and sum(isinstance(item, AttemptVerified) for item in records(memory)) >= count:
            return
        time.sleep(0.02)  # a pause between looks, so that the bulk gets the processor
    raise AssertionError(f"ended too early: {process.communicate()}")


def kill_family(process: subprocess.Popen[str]) -> None:
    """Kill a process and all of its descendants."""
    family = {process.pid, *descendants(process.pid)}
    for pid in family:
        with suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not await_gone(family)


def assert_done_once(data: Path, before: set[str]) -> None:
    """Check that every line is drawn, no step is recorded twice, and what was begun before the kill was resumed."""
    found = check_log(data / "memory")
    assert (found.problems, trio.run(check_images, data / "memory", BlobFolder(data / "blobs"))) == ([], [])
    after = records(data / "memory")
    begun = [item.trajectory for item in after if isinstance(item, TrajectoryBegun)]
    ended = [item.trajectory for item in after if isinstance(item, TrajectoryEnded)]
    assert len(begun) == len(set(begun)) == len(ended) == LINES
    assert before
    assert before <= set(begun)
    assert sum(isinstance(item, AttemptVerified) for item in after) == LINES * ROUNDS


def test_a_bulk_that_is_killed_with_its_mesh_resumes_when_the_same_command_runs_again(tmp_path: Path) -> None:
    data = tmp_path / "out" / ".mesh"
    command = (
        "bulk",
        str(write_prompts(tmp_path)),
        "--out",
        str(tmp_path / "out"),
        "--rounds",
        str(ROUNDS),
        *SMALL,
        "--json",
    )
    endless = ("--set", "draw.stop_when_all_met=false")
    before: set[str] = set()
    for count in (6, 30):
        bulk = start(*command, *endless)
        await_rounds(data / "memory", count, bulk)
        kill_family(bulk)
        before |= {item.trajectory for item in records(data / "memory")}
    bulk = start(*command, *endless)
    stdout, stderr = bulk.communicate(timeout=300)
    assert bulk.returncode == 0, stderr
    assert summary_in(stdout)["pictures"] == LINES
    assert_done_once(data, before)


def test_a_mesh_that_is_killed_and_started_again_resumes_the_runs_that_wait_for_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    up = ("up", "--set", f"data_dir={data}", "--set", f"router.runtime_dir={tmp_path}/run")
    mesh = start(*up)
    assert mesh.stdout is not None
    assert "mesh ready" in mesh.stdout.readline()
    bulk = start(
        *(
            "bulk",
            str(write_prompts(tmp_path)),
            "--out",
            str(tmp_path / "out"),
            "--rounds",
            str(ROUNDS),
            *SMALL,
            "--json",
        ),
        *("--set", "draw.stop_when_all_met=false", "--set", f"data_dir={data}"),
        *("--router", f"ipc://{tmp_path}/run/router.ipc"),
    )
    await_rounds(data / "memory", 20, bulk)
    kill_family(mesh)
    before = {item.trajectory for item in records(data / "memory")}
    mesh = start(*up)
    stdout, stderr = bulk.communicate(timeout=300)
    mesh.terminate()
    mesh.communicate()
    assert bulk.returncode == 0, stderr
    assert summary_in(stdout)["pictures"] == LINES
    assert_done_once(data, before)
