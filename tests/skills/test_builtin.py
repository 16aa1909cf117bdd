"""The six skills that come with the package work in any client of the open format and in unmodified GEMS."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from skills import Catalogue, Skill, builtin_folder, check_skill

BUILTIN = Catalogue([builtin_folder()]).skills()


def named(skill: Skill) -> str:
    return skill.id


def read_as_gems_does(path: Path) -> tuple[str, str]:
    text = (path / "SKILL.md").read_text(encoding="utf-8")
    description = re.search(r"## Description\n(.*?)\n##", text, re.DOTALL)
    instructions = re.search(r"## Instructions\n(.*)", text, re.DOTALL)
    assert description is not None
    assert instructions is not None
    return description[1].strip(), instructions[1].strip()


def test_there_are_six_built_in_skills() -> None:
    assert [skill.id for skill in BUILTIN] == [
        "aesthetic-drawing",
        "creative-drawing",
        "scientific-chart",
        "spatial-layout",
        "stylized-illustration",
        "text-rendering",
    ]
    assert Catalogue([builtin_folder()]).skipped() == ()


@pytest.mark.parametrize("skill", BUILTIN, ids=named)
def test_the_strict_check_finds_no_problem(skill: Skill) -> None:
    assert check_skill(skill.path, for_gems=True) == ((), ())
    assert skill.problems == ()


@pytest.mark.parametrize("skill", BUILTIN, ids=named)
def test_gems_reads_the_same_text(skill: Skill) -> None:
    description, instructions = read_as_gems_does(skill.path)
    assert " ".join(description.split()) == skill.description
    assert instructions == skill.instructions


@pytest.mark.parametrize("skill", BUILTIN, ids=named)
def test_a_skill_says_when_not_to_use_it_and_shows_an_example(skill: Skill) -> None:
    assert "Use " in skill.description
    assert "Not for" in skill.description or "Not when" in skill.description
    assert "\nBefore: " in skill.instructions
    assert "\nAfter: " in skill.instructions
    assert 50 <= len((skill.path / "SKILL.md").read_text(encoding="utf-8").splitlines()) <= 110


def test_the_package_imports_nothing_of_the_mesh() -> None:
    program = "import sys, skills; print({'gems_actors', 'protocol', 'actors', 'trio', 'zmq'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"
