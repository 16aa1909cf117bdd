"""What a name means to `gems pause`, `resume` and `cancel`, and how runs are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
import trio

from actors.memory import Memory
from gems_actors.app.bulk.folder import run_of
from gems_actors.app.run_registry import Entry
from gems_actors.cli import control, main
from gems_actors.cli.control import _find, _Target
from gems_actors.config import NO_KEYS, MeshConfig
from gems_actors.testing import open_test_mesh
from protocol.messages import AppendRecord, DrawPicture, RunBegun, TrajectoryBegun

BULK = Entry(address="a", run=run_of(Path("out")), folder=str(Path("out").absolute()))
DRAWS = [Entry(address=address, run=run) for address, run in (("b", "draw-1"), ("c", "draw-12"), ("d", "draw-2"))]
TASK = DrawPicture(run="draw-1", prompt="x", seed=1)


def found(name: str, tmp_path: Path) -> _Target:
    """Return what a name means where four runs go on, one of them in a mesh whose memory can be asked."""

    async def find() -> _Target:
        async with open_test_mesh(Memory, config=MeshConfig(data_dir=str(tmp_path))) as mesh:
            for record in (
                RunBegun(run="draw-1"),
                RunBegun(run="old"),
                TrajectoryBegun(trajectory=TASK.trajectory, task=TASK),
            ):
                await mesh.ask(AppendRecord(record=record))
            here = Entry(address=mesh.address, run="draw-1")
            entries = [BULK, here, *DRAWS[1:], Entry(address=mesh.address)]
            return await _find(name, entries, [mesh.address], NO_KEYS)

    return trio.run(find)


@pytest.mark.parametrize(
    ("name", "run", "trajectory"),
    [
        ("out", BULK.run, None),
        ("./out/", BULK.run, None),
        (f"{BULK.run}", BULK.run, None),
        ("bulk-", BULK.run, None),
        ("draw-1", "draw-1", None),
        ("draw-2", "draw-2", None),
        ("ol", "old", None),
        (TASK.trajectory, "draw-1", TASK.trajectory),
        (TASK.trajectory[:4], "draw-1", TASK.trajectory),
    ],
)
def test_a_name_is_a_run_a_folder_or_a_trajectory_or_the_beginning_of_one(
    tmp_path: Path, name: str, run: str, trajectory: str | None
) -> None:
    target = found(name, tmp_path)
    assert (target.run, target.trajectory) == (run, trajectory)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("draw-", "NAME: expected one of draw-1, draw-12, draw-2, got 'draw-'"),
        ("d", "NAME: expected one of draw-1, draw-12, draw-2, got 'd'"),
        ("nonsense", "NAME: expected a run, a trajectory or the DIR of a bulk"),
        ("0" * 32, "NAME: expected a run, a trajectory or the DIR of a bulk"),
    ],
)
def test_a_name_that_means_nothing_or_several_things_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(click.UsageError, match=re.escape(words)):
        found(name, tmp_path)


def test_where_no_mesh_runs_memory_tells_of_the_runs_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(control, "configure_logging", lambda config, role: None)  # of the whole process, tests and all
    data = tmp_path / "data"
    command = ["runs", "--set", f"data_dir={data}"]
    assert main(command) == 0
    assert capsys.readouterr().err == "none\n"

    async def keep() -> None:
        async with open_test_mesh(Memory, config=MeshConfig(data_dir=str(data))) as mesh:
            for record in (RunBegun(run="draw-1", what="a dog", total=1), RunBegun(run="empty", what="b.txt", total=0)):
                await mesh.ask(AppendRecord(record=record))

    trio.run(keep)
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["state"], row["done"], row["total"], row["where"]) for row in rows] == [
        ("empty", "ended", 0, 0, f"{data}/memory"),
        ("draw-1", "unfinished", 0, 1, f"{data}/memory"),
    ]
    assert main(command) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["run", "state", "done", "failed", "began", "where", "what"]
    assert table[1].split()[:5] == ["empty", "ended", "0", "of", "0"]
