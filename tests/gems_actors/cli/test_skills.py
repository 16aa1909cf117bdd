"""`gems skills` says which folders have no skills, and checks skills for the client that is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import run_gems
from tests.skills.files import GEMS_FORMAT, OPEN_FORMAT, write_skill

USAGE = 2


@pytest.mark.slow
@pytest.mark.parametrize("content", [OPEN_FORMAT, GEMS_FORMAT], ids=["open", "gems"])
def test_a_skill_in_one_format_passes_and_fails_only_for_gems(tmp_path: Path, content: str) -> None:
    write_skill(tmp_path / "own", "hats", content)
    checked = run_gems(tmp_path, "skills", "check", "own")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "1 skill, no problems\n", "")
    for_gems = run_gems(tmp_path, "skills", "check", "own/hats", "--for", "gems")
    assert for_gems.returncode == 1
    assert for_gems.stdout.startswith("own/hats/SKILL.md:")


@pytest.mark.slow
def test_a_note_is_printed_and_does_not_fail(tmp_path: Path) -> None:
    write_skill(tmp_path, "hats", OPEN_FORMAT.replace("---\nDraw", "version: 2\n---\nDraw"))
    checked = run_gems(tmp_path, "skills", "check", "hats")
    assert checked.returncode == 0
    assert checked.stdout.startswith("note: hats/SKILL.md:4: expected one of the keys name, description,")


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_skill(tmp_path / "deep" / "skills", "hats")
    no_skills = "expected a folder with skills, each a folder that contains a SKILL.md, got none"
    for arguments, line in {
        ("empty",): f"gems: PATH: empty: {no_skills}\n",
        ("deep",): f"gems: PATH: deep: {no_skills}; deep/skills has some\n",
        ("missing",): "gems: PATH: missing: expected a folder, got: No such file or directory\n",
        ("--set", 'skills.folders=["empty"]'): f"gems: skills.folders: {tmp_path}/empty: {no_skills}\n",
        (
            "--set",
            'skills.folders=["missing"]',
        ): f"gems: skills.folders: {tmp_path}/missing: expected a folder, got: No such",
    }.items():
        checked = run_gems(tmp_path, "skills", "check", *arguments)
        assert checked.returncode == USAGE
        assert checked.stderr.startswith(line)
    listed = run_gems(tmp_path, "skills", "list", "--set", 'skills.folders=["empty"]')
    assert (listed.returncode, listed.stderr) == (
        0,
        f"gems: {tmp_path}/empty: expected a folder with skills, got none\n",
    )
