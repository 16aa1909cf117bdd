"""Errors of this package.

SkillError
├── UnknownSkillError   no skill with that id
├── SkillReadError      a folder or file that cannot be read now
└── SkillFormatError    a SKILL.md that cannot be read as a skill
"""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LASTING: Final = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)
)


class SkillError(Exception):
    """Base of all errors of this package."""


class UnknownSkillError(SkillError):
    """The catalogue has no skill with that id."""

    def __init__(self, skill_id: str, known_ids: Iterable[str]) -> None:
        super().__init__(f"expected one of the skills {', '.join(known_ids) or '(none)'}, got {skill_id!r}")
        self.skill_id = skill_id


class SkillReadError(SkillError):
    """A folder or file that cannot be read now, as by a process that has no descriptors left.

    Nothing is known of the skills in it, so they must not count as skipped: the planner would do without them.
    """


def raise_unless_lasting(path: Path, error: OSError) -> None:
    """Return if a failure to read says something about the file: it is not there, no file, or not for us.

    Raises:
        SkillReadError: the failure may pass.
    """
    if error.errno not in _LASTING:
        raise SkillReadError(f"{path}: expected to read skills, got: {error.strerror or error}") from error


class SkillFormatError(SkillError):
    """A SKILL.md from which no skill can be loaded."""

    def __init__(self, line: int, expected: str, got: str) -> None:
        super().__init__(problem(line, expected, got))


def problem(line: int, expected: str, got: str) -> str:
    """Return a problem of a SKILL.md as one line; `line` counts from 1."""
    return " ".join(f"SKILL.md:{line}: expected {expected}, got {got}".split())
