"""What an earlier version wrote is opened and continued: tests/fixtures/README.md says how it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import run_gems, summary_in

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[1] / "fixtures" / "009a0cc"
RUNS = {
    "data": {"bulk-74b1b9a1f9ae3dc5": 2, "bulk-0bfd5a5532f82d8d": 2},
    "sharded": {"bulk-6896015479fccac2": 6},
}
"""Ended trajectories by run, of each data_dir."""


def ask_memory(folder: Path, *arguments: str) -> str:
    done = run_gems(folder, "memory", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_the_memory_of_an_earlier_version_is_listed_shown_checked_and_rebuilt(tmp_path: Path, name: str) -> None:
    shutil.copytree(FIXTURES / name, tmp_path / name)
    data = ("--data", name)
    runs = json.loads(ask_memory(tmp_path, "runs", *data, "--json"))
    assert {run["run"]: run["ended"] for run in runs} == RUNS[name]
    stories = {}
    for run in runs:
        trajectories = json.loads(ask_memory(tmp_path, "runs", run["run"], *data, "--json"))
        assert len(trajectories) == run["ended"]
        first = trajectories[0]
        stories[first["trajectory"]] = ask_memory(tmp_path, "show", first["trajectory"], *data)
        assert first["prompt"] in stories[first["trajectory"]]
    assert "whole" in ask_memory(tmp_path, "check", *data)
    for index in (tmp_path / name).glob("memory*/index.db"):
        index.unlink()
    ask_memory(tmp_path, "rebuild", *data)
    assert json.loads(ask_memory(tmp_path, "runs", *data, "--json")) == runs
    for trajectory, story in stories.items():
        assert ask_memory(tmp_path, "show", trajectory, *data) == story


def test_a_bulk_of_an_earlier_version_is_continued_and_no_finished_picture_is_drawn_again(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    run_file = tmp_path / "bulk" / "run.json"
    run_file.write_text(run_file.read_text().replace("/tmp/fx/tasks.jsonl", str(tmp_path / "tasks.jsonl")))
    metadata = tmp_path / "bulk" / "dataset" / "metadata.jsonl"
    rows = metadata.read_text().splitlines()
    pictures = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in metadata.parent.rglob("*.png")}
    assert len(pictures) == len(rows) == 5

    command = ["bulk", "tasks.jsonl", "--out", "bulk", "--rounds", "2", "--attempts", "--seed", "1", "--json"]
    for done_before in (3, 5):
        done = run_gems(tmp_path, *command)
        assert done.returncode == 1, done.stderr
        summary = summary_in(done.stdout)
        counts = summary["done_before"], summary["pictures"], summary["failures"], summary["images"]
        assert counts == (done_before, 5, 1, 9)
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in pictures} == pictures
        assert set(rows) <= set(metadata.read_text().splitlines())
    newest, _ = json.loads(ask_memory(tmp_path, "runs", "--data", "bulk/.mesh", "--json"))
    assert newest["ended"] == 2, "only what was missing is drawn"
