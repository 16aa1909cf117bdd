"""Errors of this package.

SkillError
├── UnknownSkillError   no skill with that id
└── SkillFormatError    a SKILL.md that cannot be read as a skill
"""

from collections.abc import Iterable


class SkillError(Exception):
    """Base of all errors of this package."""


class UnknownSkillError(SkillError):
    """The catalogue has no skill with that id."""

    def __init__(self, skill_id: str, known_ids: Iterable[str]) -> None:
        super().__init__(f"expected one of the skills {', '.join(known_ids) or '(none)'}, got {skill_id!r}")
        self.skill_id = skill_id


class SkillFormatError(SkillError):
    """A SKILL.md from which no skill can be loaded."""

    def __init__(self, line: int, expected: str, got: str) -> None:
        super().__init__(problem(line, expected, got))


def problem(line: int, expected: str, got: str) -> str:
    """Return a problem of a SKILL.md as one line; `line` counts from 1."""
    return " ".join(f"SKILL.md:{line}: expected {expected}, got {got}".split())
