"""Commands that run processes of a mesh are refused in one line on systems other than Linux."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# imported before a test fakes the platform, which the libraries below them read too
import gems_actors.cli.bulk
import gems_actors.cli.draw
import gems_actors.cli.mesh  # noqa: F401
from gems_actors.cli import main


@pytest.mark.parametrize(
    "command",
    [
        "draw cat",
        "bulk prompts.txt --out out",
        "up",
        "agent planner=1 --router tcp://127.0.0.1:9",
        "role router",
        "role planner --router tcp://127.0.0.1:9",
    ],
)
def test_macos_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(command.split()) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("expected Linux to run processes of a mesh, got darwin; use a container or a VM")


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["status"]) == 78
    assert capsys.readouterr().err == "gems: expected Linux, got win32; use WSL\n"
