"""`gems skills trial`, `learn`, `report` and `restore` from the command line, with a mesh of processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import run_gems

pytestmark = pytest.mark.slow

USAGE, FAILED = 2, 1


def test_a_trial_is_printed_continued_and_reported(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(f"{number} red cats left of a dog" for number in range(2, 8)))
    command = ("skills", "trial", "spatial-layout", "prompts.txt", "--size", "64x64")
    first = run_gems(tmp_path, *command)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("spatial-layout cannot tell, against no skill: ")
    assert "page: trial-spatial-layout/trial.html" in first.stdout
    again = run_gems(tmp_path, *command, "--json")
    assert json.loads(again.stdout)["evidence"]["verdict"] == "cannot_tell"
    reported = json.loads(run_gems(tmp_path, "skills", "report", "--json").stdout)
    found = {item["skill"]: item for item in reported["skills"]}
    assert (found["spatial-layout"]["chosen"], found["spatial-layout"]["fixed"]) == (0, 6)
    assert found["spatial-layout"]["trials"] == 1
    assert found["spatial-layout"]["latest"]["trial"]["against"] == "none"
    assert "spatial-layout" in reported["never_chosen"], "a trial names a skill: no planner has chosen it"
    shown = run_gems(tmp_path, "skills", "report", "trial-spatial-layout").stdout
    assert "cannot tell: " in shown
    assert shown.splitlines()[-1].startswith("never chosen: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("trial", "hats", "p.txt"), "gems: SKILL: expected one of the skills "),
        (("trial", "spatial-layout", "missing.txt"), "gems: PROMPTS: missing.txt: expected a readable file"),
        (("trial", "spatial-layout", "p.txt", "--images", "0"), "gems: --images: expected 1 to 64, got '0'"),
        (("learn",), "gems: --from: expected either it or --prompts, got neither"),
        (("learn", "--from", "r", "--prompts", "p.txt"), "gems: --from: expected either it or --prompts, got both"),
        (("learn", "--prompts", "p.txt"), "gems: --prompts: expected at least 40 different prompts, got 1"),
        (("learn", "--prompts", "missing.txt"), "gems: --prompts: missing.txt: expected a readable file"),
        (
            ("learn", "--from", "no-such-run"),
            "gems: --from: no-such-run: expected a DIR of `gems bulk`, or a run in a memory",
        ),
        (("learn", "--prompts", "p.txt", "--skill", "hats"), "gems: --skill: expected one of the skills "),
        (
            ("learn", "--prompts", "p.txt", "--set", 'skills.folders=["/dev/null"]'),
            "gems: skills.folders: /dev/null: expected a folder to write into",
        ),
        (
            ("learn", "--prompts", "many.txt", "--router", "ipc:///nowhere/router"),
            "gems: ipc:///nowhere/router: expected a router, but none answered",
        ),
        (("learn", "--prompts", "p.txt", "--confidence", "50"), "gems: --confidence: expected 90 to 99, got '50'"),
        (("restore", "hats"), "gems: NAME: expected a retired skill (there is none), got 'hats'"),
        (("retire", "spatial-layout"), "gems: ID: expected a learnt skill that no person has changed (there is none)"),
        (("report", "nowhere"), "gems: "),
    ],
)
def test_what_cannot_be_done_is_one_line_and_never_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    (tmp_path / "p.txt").write_text("a cow\n")
    (tmp_path / "many.txt").write_text("\n".join(f"{number} cows" for number in range(1, 60)))
    result = run_gems(tmp_path, "skills", *arguments)
    assert result.returncode in (USAGE, FAILED, 78)
    assert result.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in result.stderr
