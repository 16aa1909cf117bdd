"""A mesh on a Slurm cluster whose commands are played by scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.slurm.jobs import JOBS_NAME, is_requeued
from gems_actors.app.slurm.mesh import stop_mesh


@pytest.mark.parametrize(
    ("setting", "is_so"),
    [("75", True), ("1-3,75", True), ("70-80", True), ("7", False), ("175", False), ("(null)", False), ("1-74", False)],
)
def test_the_exit_codes_that_a_cluster_requeues_are_parsed(setting: str, is_so: bool) -> None:
    assert is_requeued(75, f"PreemptMode = OFF\nRequeueExit             = {setting}\nResumeRate = 300") is is_so
    assert not is_requeued(75, f"RequeueExitHold = {setting}\n")


def test_stopping_does_not_wait_forever_for_a_job_whose_node_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm is played by scripts: the job stays completing, whatever it is told."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for command, output in (("squeue", "7|7|0|COMPLETING|n1|"), ("scancel", "")):
        (programs / command).write_text(f"#!/bin/sh\necho {command} >>{calls}\necho '{output}'\n")
        (programs / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    (tmp_path / JOBS_NAME).write_text('{"submitted": {"head": [7]}}')
    assert stop_mesh(tmp_path, drain_s=0.0) == 1
    assert calls.read_text().split() == ["squeue", "squeue", "scancel", "squeue"]
