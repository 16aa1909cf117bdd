"""The strict check accepts a valid skill and reports every kind of problem with its line."""

import stat
from pathlib import Path

import pytest

from skills import check_skill
from tests.skills.files import DUAL_FORMAT, GEMS_FORMAT, write_skill


def test_a_skill_in_both_formats_with_every_key_has_no_problem(tmp_path: Path) -> None:
    keys = 'license: MIT\ncompatibility: any\nmetadata:\n  version: "1.0"\nallowed-tools: [Read, "Bash(jq:*)"]\n---\n\n'
    path = write_skill(tmp_path, "hats", DUAL_FORMAT.replace("---\n\n", keys))
    assert check_skill(path, for_gems=True) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: {id}\n", "", "SKILL.md:1: expected a name in the front matter, got none"),
        ("description: Use for hats.\n", "", "SKILL.md:1: expected a description in the front matter, got none"),
        ("name: {id}", "name: Hats", "SKILL.md:2: expected a name of lowercase letters, digits and single hyphens"),
        ("name: {id}", "name: -hats", "SKILL.md:2: expected a name of lowercase"),
        ("name: {id}", "name: hats-", "SKILL.md:2: expected a name of lowercase"),
        ("name: {id}", "name: ha--ts", "SKILL.md:2: expected a name of lowercase"),
        ("name: {id}", "name: ha_ts", "SKILL.md:2: expected a name of lowercase"),
        ("name: {id}", "name: [hats]", "SKILL.md:2: expected name as text, got seq"),
        ("name: {id}", "name: " + "h" * 65, "SKILL.md:2: expected name of at most 64 characters, got 65"),
        ("name: {id}", "name: caps", "SKILL.md:2: expected the folder's name, 'hats', got 'caps'"),
        ("Use for hats.\n", '""\n', "SKILL.md:3: expected description of at least 1 character, got 0"),
        (
            "Use for hats.\n",
            "u" * 1025 + "\n",
            "SKILL.md:3: expected description of at most 1024 characters, got 1025",
        ),
        ("name:", f"compatibility: {'c' * 501}\nname:", "SKILL.md:2: expected compatibility of at most 500 characters"),
        ("name:", "license: [MIT]\nname:", "SKILL.md:2: expected license as text"),
        ("name:", "metadata: none\nname:", "SKILL.md:2: expected metadata as a map, got str"),
        ("name:", "allowed-tools: [Read, 1]\nname:", "SKILL.md:2: expected allowed-tools as text or a list of texts"),
    ],
)
def test_a_problem_of_the_open_format_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    problems = check_skill(write_skill(tmp_path, "hats", DUAL_FORMAT.replace(old, new, 1))).problems
    assert any(found.startswith(problem) for found in problems), problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("## Description", "## When", "SKILL.md:5: expected for GEMS a '## Description' with text"),
        ("Use for hats, says GEMS.", "", "SKILL.md:5: expected for GEMS a '## Description' with text"),
        ("## Instructions", "## How", "SKILL.md:5: expected for GEMS a '## Instructions' with text"),
        ("Draw a hat.", "", "SKILL.md:5: expected for GEMS a '## Instructions' with text"),
        ("## Instructions", "### Instructions\nNo.\n\n## Instructions", "SKILL.md:11: expected for GEMS the first"),
    ],
)
def test_what_gems_cannot_read_is_a_problem_only_for_gems(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = write_skill(tmp_path, "hats", DUAL_FORMAT.replace(old, new, 1))
    problems = check_skill(path, for_gems=True).problems
    assert any(found.startswith(problem) for found in problems), problems
    assert check_skill(path).problems == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "SKILL.md:1: expected instructions in the body, got none"),
        (b"---\nname: hats\ndescription: h\n---\n \n", "SKILL.md:5: expected instructions in the body, got none"),
        (
            b"# Skill: Hats\n",
            "SKILL.md:1: expected front matter with name and description, or the sections '## Description' and "
            "'## Instructions', got neither",
        ),
        (b"## Description\nHats.\n", "SKILL.md:1: expected for GEMS a '## Instructions' with text, got none"),
        (b"name\n\xff", "SKILL.md:2: expected UTF-8, got byte 0xff"),
    ],
)
def test_a_missing_part_is_reported(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in check_skill(write_skill(tmp_path, "hats", content)).problems


def test_front_matter_is_required_of_a_skill_for_gems_and_other_clients(tmp_path: Path) -> None:
    problem = "SKILL.md:1: expected front matter between two lines '---', got none"
    assert check_skill(write_skill(tmp_path, "hats", GEMS_FORMAT), for_gems=True).problems == (problem,)


def test_a_folder_without_the_file_is_a_problem(tmp_path: Path) -> None:
    problem = "SKILL.md:1: expected a readable file, got No such file or directory"
    assert check_skill(tmp_path) == ((problem,), ())


def test_nothing_in_scripts_is_executed(tmp_path: Path) -> None:
    path = write_skill(tmp_path, "hats")
    script = path / "scripts" / "setup.py"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    script.chmod(stat.S_IRWXU)
    assert check_skill(path) == ((), ())
    assert not (tmp_path / "executed").exists()
