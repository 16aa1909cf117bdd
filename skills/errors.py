"""What can go wrong with skills.

SkillError
├── UnknownSkillError   no skill of that id
└── SkillFormatError    a SKILL.md that cannot be read as a skill
"""

from collections.abc import Iterable


class SkillError(Exception):
    """Anything this package raises."""


class UnknownSkillError(SkillError):
    """The catalogue holds no skill of that id."""

    def __init__(self, skill_id: str, known_ids: Iterable[str]) -> None:
        super().__init__(f"expected one of the skills {', '.join(known_ids) or '(none)'}, got {skill_id!r}")
        self.skill_id = skill_id


class SkillFormatError(SkillError):
    """A SKILL.md is so broken that nothing can be loaded from it."""

    def __init__(self, line: int, expected: str, got: str) -> None:
        super().__init__(problem(line, expected, got))


def problem(line: int, expected: str, got: str) -> str:
    """Say in one line what is wrong with a SKILL.md; `line` counts from 1."""
    return " ".join(f"SKILL.md:{line}: expected {expected}, got {got}".split())
