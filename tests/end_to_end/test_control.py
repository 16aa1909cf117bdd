"""What one user does while another's bulk fills every queue: draw, look, pause, resume, cancel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from gems_actors.client import open_client
from protocol.messages import (
    LoggedRecord,
    MeshStatus,
    ReadLog,
    ReadStatus,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
)
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.cli.test_draw import HARD, processes_below
from tests.processes import started

pytestmark = pytest.mark.slow

TASKS = 220


def await_status(address: str, is_wanted: Callable[[MeshStatus], bool]) -> None:
    """Return once a mesh is as it is wanted."""

    async def look() -> None:
        async with open_client(address) as mesh:
            with trio.fail_after(30):
                while not is_wanted(await mesh.ask(ReadStatus())):  # noqa: ASYNC110  nobody is told of queues
                    await trio.sleep(0.1)

    trio.run(look)


def read_log(address: str) -> list[LoggedRecord]:
    """Return all that memory holds, in order."""
    found: list[LoggedRecord] = []

    async def read() -> None:
        async with open_client(address) as mesh:
            while True:
                page = await mesh.ask(ReadLog(since=len(found), limit=1000))
                found.extend(page.records)
                if page.last <= len(found):
                    return

    trio.run(read)
    return found


def queued_at(status: MeshStatus, role: str) -> int:
    return sum(known.queued for known in status.roles if known.role == role)


def test_an_interactive_draw_overtakes_a_bulk_that_is_looked_at_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    surroundings = environment(tmp_path)
    address = f"ipc://{tmp_path}/gems-actors/router.ipc"
    (tmp_path / "prompts.txt").write_text("".join(f"{number} red dogs\n" for number in range(TASKS)))
    bulk = ("bulk", "prompts.txt", "--out", "out", "--router", address)
    up = ["up", "--set", "roles.generator.capacity=1", "--set", "roles.verifier.capacity=1"]  # all else waits in queues
    with started(
        [*COMMAND, *up], cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as mesh:
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready")
        with started(
            [*COMMAND, *bulk, "--concurrency", str(TASKS)], cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE
        ) as busy:
            await_status(address, lambda status: queued_at(status, "generator") > 0.9 * TASKS)
            drawn = run_gems(tmp_path, "draw", "a red dog", "--rounds", "1", "-o", "dog.png", "--router", address)
            assert drawn.returncode == 0
            log = [logged.record for logged in read_log(address)]
            tasks = {record.trajectory: record.task for record in log if isinstance(record, TrajectoryBegun)}
            ended = [record.trajectory for record in log if isinstance(record, TrajectoryEnded)]
            (place,) = [place for place, id_ in enumerate(ended) if tasks[id_].run.startswith("draw-")]
            waiting = [id_ for id_, task in tasks.items() if task.run.startswith("bulk-") and id_ not in ended[:place]]
            assert len(waiting) >= 200, "those that had begun before the draw was asked for end after it"

            paused = run_gems(tmp_path, "pause", "out")
            run = paused.stdout.partition(":")[0]
            assert paused.stdout.startswith(f"{run}: paused; ")
            (row, *others) = json.loads(run_gems(tmp_path, "runs", "--json").stdout)
            assert (row["run"], row["state"], row["total"], row["where"]) == (run, "paused", TASKS, f"{tmp_path}/out")
            assert [(other["done"], other["state"]) for other in others] == [(1, "ended")]
            assert run_gems(tmp_path, "resume", run[:8]).stdout.startswith(f"{run}: resumed (it was paused); ")

            lost = waiting[-1]
            said = run_gems(tmp_path, "cancel", lost[:16]).stdout
            assert said.startswith(f"trajectory {lost[:12]} of {run}: cancelled; ")
            assert run_gems(tmp_path, "cancel", run).stdout.startswith(f"{run}: cancelled; ")
            assert busy.stderr is not None
            said = busy.stderr.read()
            assert busy.wait(30) == 130
        assert "paused by " in said
        assert said.splitlines()[-1].startswith("gems: cancelled by ")
        assert said.endswith("left; the same command continues\n")
        (failed,) = map(json.loads, (tmp_path / "out/failed.jsonl").read_text().splitlines())
        assert (failed["prompt"], failed["class"]) == (tasks[lost].prompt, "cancelled")
        again = run_gems(tmp_path, *bulk, "--limit", "1", "--json")
        assert again.returncode == 0, again.stderr
        failures = [logged.record for logged in read_log(address) if isinstance(logged.record, TrajectoryFailed)]
        assert {record.failure.code for record in failures} == {"cancelled"}
        assert lost in {record.trajectory for record in failures}


def test_a_draw_is_found_by_the_beginning_of_its_name_and_says_in_one_line_who_cancelled_it(tmp_path: Path) -> None:
    command = [*COMMAND, "draw", HARD, "--rounds", "64", "--set", "draw.stop_when_all_met=false"]
    with started(command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE) as draw:
        assert draw.stderr is not None
        while not draw.stderr.readline().startswith("round 1: "):
            assert draw.poll() is None
        cancelled = run_gems(tmp_path, "cancel", "draw-")
        assert (cancelled.returncode, cancelled.stdout.partition("-")[0]) == (0, "draw")
        said = draw.stderr.read()
        assert draw.wait(30) == 130
    assert said.splitlines()[-1].startswith("gems: the run was cancelled by ")
    assert processes_below(tmp_path) == []
    unknown = run_gems(tmp_path, "resume", "draw-")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert unknown.stderr.startswith("gems: NAME: expected a run, ")
