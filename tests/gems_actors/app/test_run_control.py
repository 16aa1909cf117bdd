"""A name given to `gems pause`, `resume` and `cancel` is resolved to one run or trajectory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.memory import Memory
from gems_actors.app.bulk.folder_files import run_of
from gems_actors.app.run_control import ControlTarget, address_of, find_target
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.config import NO_KEYS, MeshConfig
from gems_actors.errors import UsageError
from gems_actors.testing import open_test_mesh
from protocol.messages import AppendRecord, DrawPicture, RunBegun, TrajectoryBegun

BULK = RegistryEntry(address="a", run=run_of(Path("out")), folder=str(Path("out").absolute()))
DRAWS = [RegistryEntry(address=at, run=run) for at, run in (("c", "draw-12"), ("d", "draw-2"))]
TASK = DrawPicture(run="draw-1", prompt="x", seed=1)


async def find(name: str, tmp_path: Path) -> ControlTarget:
    """Return what a name means while four runs are in progress, one of them in a mesh whose memory can be asked."""
    async with open_test_mesh(Memory, config=MeshConfig(data_dir=str(tmp_path))) as mesh:
        for record in (
            RunBegun(run="draw-1"),
            RunBegun(run="old"),
            TrajectoryBegun(trajectory=TASK.trajectory, task=TASK),
        ):
            await mesh.ask(AppendRecord(record=record))
        here = RegistryEntry(address=mesh.address, run="draw-1")
        entries = [BULK, here, *DRAWS, RegistryEntry(address=mesh.address)]
        return await find_target(name, entries, [mesh.address], NO_KEYS)


@pytest.mark.slow
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
async def test_a_name_is_a_run_a_folder_a_trajectory_or_the_beginning_of_one(
    tmp_path: Path, name: str, run: str, trajectory: str | None
) -> None:
    target = await find(name, tmp_path)
    assert (target.run, target.trajectory) == (run, trajectory)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("draw-", "NAME: expected one of draw-1, draw-12, draw-2, got 'draw-'"),
        ("d", "NAME: expected one of draw-1, draw-12, draw-2, got 'd'"),
        ("nonsense", "NAME: expected a run, a trajectory or the DIR of a bulk"),
        ("0" * 32, "NAME: expected a run, a trajectory or the DIR of a bulk"),
    ],
)
async def test_an_unknown_or_ambiguous_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        await find(name, tmp_path)


def test_the_mesh_of_a_running_bulk_is_found_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    with registered(RegistryEntry(address="a", run=run_of(out))), registered(DRAWS[0]), registered(DRAWS[1]):
        names = ("out", str(out), run_of(out), "bulk-", "draw-12")
        assert [address_of(name) for name in names] == ["a", "a", "a", "a", "c"]
        with pytest.raises(UsageError, match="NAME: expected one of draw-12, draw-2, got 'draw-'"):
            address_of("draw-")
    hint = "got 'out'; `gems bulk status DIR` shows one that has ended"
    with pytest.raises(UsageError, match=re.escape(hint)):
        address_of("out")
