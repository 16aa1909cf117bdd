"""The findings of `gems doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems_actors.app.doctor import examine
from tests.gems_actors.cli.commands import run_gems

pytestmark = pytest.mark.slow


def test_a_sound_installation_has_no_failure(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode, done.stderr) == (0, "")
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warn"}
    assert {"Python", "SQLite", "ZeroMQ", "configuration", "data folder", "data disk", "mesh"} <= findings.keys()


def test_a_failed_check_has_advice(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--set", "data_dir=/dev/null/data")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("fail  data folder"))
    assert line.endswith("choose another with --set data_dir=FOLDER")
    assert done.stderr.count("\n") == 1


def test_the_settings_of_a_preset_are_checked(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--preset", "thrifty", "--json")
    (found,) = (item["found"] for item in json.loads(done.stdout) if item["what"] == "configuration")
    assert found.endswith(", preset thrifty")
    unknown = next(item for item in examine(None, (), None, preset="none") if item.what == "configuration")
    assert (unknown.state, unknown.found) == ("fail", "--preset: expected one of thrifty, diverse, got 'none'")


def test_code_of_the_user_is_imported_and_must_be_a_role(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from actors.planner import Planner as Role\nclass Idle: ...")
    roles = [f"--set=roles.{name.lower()}.actor=own:{name}" for name in ("Role", "Idle", "Nothing")]
    done = run_gems(tmp_path, "doctor", "--json", *roles, "--set", "import_path=['.']")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert findings["roles.role.actor"]["state"] == "ok"
    assert findings["roles.idle.actor"]["found"] == "roles.idle.actor: expected a subclass of Actor, got own:Idle"
    assert "AttributeError: module 'own' has no attribute 'Nothing'" in findings["roles.nothing.actor"]["found"]
