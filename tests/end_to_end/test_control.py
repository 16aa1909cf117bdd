"""Drawing, pausing, resuming and cancelling while the bulk of another user fills every queue."""

from __future__ import annotations

import json
import subprocess
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
    TrajectoryRecord,
)
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.cli.test_draw import HARD, processes_below
from tests.processes import started

pytestmark = pytest.mark.slow

TASKS = 220


async def await_queue(address: str, role: str, length: int) -> None:
    """Return once more than `length` requests are queued for a role."""
    async with open_client(address) as mesh:
        while queued_at(await mesh.ask(ReadStatus()), role) <= length:  # noqa: ASYNC110 -- the router sends no event
            await trio.sleep(0.1)


async def read_log(address: str) -> list[LoggedRecord]:
    """Return all records of memory in their order."""
    found: list[LoggedRecord] = []
    async with open_client(address) as mesh:
        while True:
            page = await mesh.ask(ReadLog(since=len(found), limit=1000))
            found.extend(page.records)
            if page.last <= len(found):
                return found


def queued_at(status: MeshStatus, role: str) -> int:
    return sum(known.queued for known in status.roles if known.role == role)


def test_an_interactive_draw_overtakes_a_bulk_which_is_then_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    surroundings = environment(tmp_path)
    address = f"ipc://{tmp_path}/gems-actors/router.ipc"
    (tmp_path / "prompts.txt").write_text("".join(f"{number} red dogs\n" for number in range(TASKS)))
    bulk = ("bulk", "prompts.txt", "--out", "out", "--router", address)
    up = ["up", "--set", "roles.generator.capacity=1", "--set", "roles.verifier.capacity=1"]  # the rest stays queued
    with started(
        [*COMMAND, *up], cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as mesh:
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready")
        with started(
            [*COMMAND, *bulk, "--concurrency", str(TASKS)], cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE
        ) as busy:
            trio.run(await_queue, address, "generator", int(0.9 * TASKS))
            drawn = run_gems(tmp_path, "draw", "a red dog", "--rounds", "1", "-o", "dog.png", "--router", address)
            assert drawn.returncode == 0
            log = [logged.record for logged in trio.run(read_log, address)]
            tasks = {record.trajectory: record.task for record in log if isinstance(record, TrajectoryBegun)}
            (draw,) = [id_ for id_, task in tasks.items() if task.run.startswith("draw-")]
            steps = [(type(record), record.trajectory) for record in log if isinstance(record, TrajectoryRecord)]
            begun, ended = steps.index((TrajectoryBegun, draw)), steps.index((TrajectoryEnded, draw))
            before, while_drawn = (
                {id_ for type_, id_ in part if type_ is TrajectoryEnded} for part in (steps[:begun], steps[begun:ended])
            )
            waiting = [id_ for id_ in tasks if id_ != draw and id_ not in before | while_drawn]
            assert len(while_drawn) < len(waiting) / 4, "the draw waited for requests that were queued before its own"

            paused = run_gems(tmp_path, "pause", "out")
            run = paused.stdout.partition(":")[0]
            assert paused.stdout.startswith(f"{run}: paused; ")
            (row, *others) = json.loads(run_gems(tmp_path, "runs", "--json").stdout)
            assert (row["run"], row["state"], row["total"], row["where"]) == (run, "paused", TASKS, f"{tmp_path}/out")
            assert [(other["done"], other["state"]) for other in others] == [(1, "ended")]
            assert run_gems(tmp_path, "resume", run[:8]).stdout.startswith(f"{run}: resumed (it was paused); ")

            lost = waiting[-1]
            output = run_gems(tmp_path, "cancel", lost[:16]).stdout
            assert output.startswith(f"trajectory {lost[:12]} of {run}: cancelled; ")
            assert run_gems(tmp_path, "cancel", run).stdout.startswith(f"{run}: cancelled; ")
            assert busy.stderr is not None
            output = busy.stderr.read()
            assert busy.wait(120) == 130
        assert "paused by " in output
        assert output.splitlines()[-1].startswith("gems: cancelled by ")
        assert output.endswith("left; the same command continues\n")
        (failed,) = map(json.loads, (tmp_path / "out/failed.jsonl").read_text().splitlines())
        assert (failed["prompt"], failed["class"]) == (tasks[lost].prompt, "cancelled")
        again = run_gems(tmp_path, *bulk, "--limit", "1", "--json")
        assert again.returncode == 0, again.stderr
        failures = [
            logged.record for logged in trio.run(read_log, address) if isinstance(logged.record, TrajectoryFailed)
        ]
        assert {record.failure.code for record in failures} == {"cancelled"}
        assert lost in {record.trajectory for record in failures}


def test_a_draw_is_cancelled_by_the_beginning_of_its_name_and_reports_who_did_it(tmp_path: Path) -> None:
    command = [*COMMAND, "draw", HARD, "--rounds", "64", "--set", "draw.stop_when_all_met=false"]
    with started(command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE) as draw:
        assert draw.stderr is not None
        while not draw.stderr.readline().startswith("round 1: "):
            assert draw.poll() is None
        cancelled = run_gems(tmp_path, "cancel", "draw-")
        assert (cancelled.returncode, cancelled.stdout.partition("-")[0]) == (0, "draw")
        output = draw.stderr.read()
        assert draw.wait(120) == 130
    assert output.splitlines()[-1].startswith("gems: the run was cancelled by ")
    assert processes_below(tmp_path) == []
    unknown = run_gems(tmp_path, "resume", "draw-")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert unknown.stderr.startswith("gems: NAME: expected a run, ")
