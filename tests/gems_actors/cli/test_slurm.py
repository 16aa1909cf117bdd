"""`gems slurm` where no Slurm is needed: rendering, and the errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import run_gems

MESH = """\
blobs = "mesh:"
[slurm]
time = "24:00:00"
[[slurm.groups]]
name = "gpu"
roles = { generator = 1 }
"""


def test_edited_files_are_overwritten_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    render = ("slurm", "render", "mesh.toml", "--out", "mesh")
    first = run_gems(tmp_path, *render)
    head = tmp_path / "mesh" / "head.sbatch"
    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "mesh/head.sbatch")
    (tmp_path / "mesh.toml").write_text(MESH.replace("24:00:00", "12:00:00"))
    assert run_gems(tmp_path, *render).returncode == 0
    head.write_text(head.read_text().replace("--time=12:00:00", "--time=06:00:00"))
    refused = run_gems(tmp_path, *render)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "expected unedited batch files, got edited ones: head.sbatch; --force" in refused.stderr
    assert "--time=06:00:00" in head.read_text()
    assert run_gems(tmp_path, *render, "--force").returncode == 0
    assert "--time=12:00:00" in head.read_text()


def test_files_of_other_groups_are_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "mine.sbatch").write_text("#!/bin/bash\n")
    done = run_gems(tmp_path, "slurm", "render", "mesh.toml", "--out", "mesh")
    assert done.stderr == "gems: mesh/mine.sbatch is not a group of mesh.toml; `gems slurm up` starts it, too\n"


def test_a_missing_slurm_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "head.sbatch").write_text("#!/bin/bash\n")
    (tmp_path / "jobs.json").write_text('{"submitted":{"head":[1]}}')
    for command in ("up", "status", "down"):
        done = run_gems(tmp_path, "slurm", command, str(tmp_path), more={"PATH": str(tmp_path)})
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "expected a command of Slurm on this host, got none" in done.stderr
    empty = run_gems(tmp_path, "slurm", "up", "nowhere")
    assert (empty.returncode, empty.stderr) == (
        2,
        "gems: DIR: expected head.sbatch of `gems slurm render` in nowhere, got none\n",
    )


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_folder_without_a_mesh_is_refused(tmp_path: Path, command: str) -> None:
    done = run_gems(tmp_path, "slurm", command, "nowhere")
    message = "gems: DIR: expected head.sbatch of `gems slurm render` in nowhere, got none\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    done = run_gems(tmp_path, "slurm", "render", "mesh.toml", "--out", "mesh.toml")
    message = "gems: --out: mesh.toml: expected a folder to write into, got: File exists\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
