"""The skills that a planner can choose from, read from folders and refreshed when they change.

Reads only the disk: no clock, no watcher, no model. It never executes files of a skill.
"""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from skills.checking import find_field_notes, find_field_problems
from skills.errors import SkillFormatError, UnknownSkillError, problem, raise_unless_lasting
from skills.parsing import FILE_NAME, read_document


@dataclass(frozen=True)
class Skill:
    """One way of writing image prompts that a planner can follow."""

    id: str
    """Name of the folder, unchanged; the planner answers with it."""
    name: str
    """Name in the open format, lowercase with hyphens; derived from the id for the GEMS format, which has no name."""
    description: str
    """When to use the skill; the only text of it that a planner sees before choosing."""
    instructions: str
    """How to write the prompt, in Markdown."""
    path: Path
    """Folder of the skill."""
    problems: tuple[str, ...]
    """Problems that were ignored to load it, one line each."""

    @property
    def digest(self) -> str:
        """Digest of what a planner reads of the skill, its description and its instructions: 16 hexadecimal digits."""
        return blake2b(f"{self.description}\0{self.instructions}".encode(), digest_size=8).hexdigest()


class SkippedSkill(NamedTuple):
    """A folder that could not be loaded."""

    id: str
    path: Path
    reason: str


class ManifestEntry(NamedTuple):
    """What a planner sees of a skill before it chooses one."""

    id: str
    description: str


# mtime in ns, ctime in ns, size in bytes. ctime too, because `chmod` and `mv` can fix a skill and keep its mtime.
_Stamp = tuple[int, int, int]


def builtin_folder() -> Path:
    """Return the folder of the built-in skills."""
    return Path(__file__).resolve().parent


def load_skill(path: Path) -> Skill:
    """Load the skill in the folder `path`, ignoring problems where possible.

    Raises:
        SkillFormatError: the folder has no readable SKILL.md, or that has no description.
        SkillReadError: it cannot be read now.
    """
    document = read_document(path)
    if not (description := document.description):
        raise SkillFormatError(1, "a description", "none")
    skill_id = path.absolute().name
    problems = [*document.problems]
    if document.fields is not None:
        problems += [*find_field_problems(document, skill_id), *find_field_notes(document)]
    if not (instructions := document.instructions):
        problems.append(problem(document.body_line, "instructions", "none"))
    name = document.field_text("name") or re.sub(r"[^a-z0-9]+", "-", skill_id.lower()).strip("-")
    return Skill(skill_id, name, description, instructions, path, tuple(problems))


class Catalogue:
    """All skills in several folders, as they are on disk at the time of each call.

    Each call lists the folders and checks the status of every SKILL.md; only files that changed are read again.
    """

    def __init__(self, folders: Sequence[Path], *, optional: Collection[Path] = ()) -> None:
        """Read `folders`; skills in later ones override earlier ones with the same id: `[builtin_folder(), *own]`.

        A skill that cannot be loaded overrides nothing. Those folders that are `optional` as well need not exist.
        """
        self._folders, self._optional = tuple(folders), frozenset(optional)
        self._read: dict[str, tuple[_Stamp, Skill | SkippedSkill]] = {}

    def skills(self) -> tuple[Skill, ...]:
        """Return all skills, sorted by id.

        Raises:
            SkillReadError: a folder or a SKILL.md cannot be read now.
        """
        loaded = {found.id: found for found in self._look() if isinstance(found, Skill)}
        return tuple(loaded[skill_id] for skill_id in sorted(loaded))

    def get(self, skill_id: str) -> Skill:
        """Return the skill with an id.

        Raises:
            UnknownSkillError: there is no such skill, or it was removed.
        """
        skills = {skill.id: skill for skill in self.skills()}
        if skill_id not in skills:
            raise UnknownSkillError(skill_id, skills)
        return skills[skill_id]

    def manifest(self) -> tuple[ManifestEntry, ...]:
        """Return the entries that a planner is shown, sorted by id."""
        return tuple(ManifestEntry(skill.id, skill.description) for skill in self.skills())

    def skipped(self) -> tuple[SkippedSkill, ...]:
        """Return the folders that could not be loaded, with the reasons, in folder order."""
        return tuple(found for found in self._look() if isinstance(found, SkippedSkill))

    def _look(self) -> list[Skill | SkippedSkill]:
        found: list[Skill | SkippedSkill] = []
        read: dict[str, tuple[_Stamp, Skill | SkippedSkill]] = {}
        for folder in self._folders:
            try:
                paths = _paths_in(folder)
            except OSError as error:
                raise_unless_lasting(folder, error)
                if isinstance(error, FileNotFoundError) and folder in self._optional:
                    continue
                reason = f"expected a folder of skills at {folder}, got {error.strerror}"
                found.append(SkippedSkill(folder.name, folder, reason))
                continue
            for path in paths:
                try:
                    status = os.stat(f"{path}/{FILE_NAME}")  # noqa: PTH116 - a fifth of the time
                except (FileNotFoundError, NotADirectoryError):  # not a skill, or just removed
                    continue
                except OSError:  # no permission, or circular links: reading it tells which
                    found.append(_load_or_skip(Path(path)))
                    continue
                stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
                known = self._read.get(path)
                read[path] = known if known and known[0] == stamp else (stamp, _load_or_skip(Path(path)))
                found.append(read[path][1])
        self._read = read  # drops skills that were removed
        return found


def _paths_in(folder: Path) -> list[str]:
    """Return the paths in a folder that may be those of skills, in order."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.path
            for entry in entries
            if not entry.name.startswith(".") and not entry.is_file(follow_symlinks=False)
        )


def _load_or_skip(path: Path) -> Skill | SkippedSkill:
    if not path.name.isprintable():  # a line break would add lines to the planner's manifest
        return SkippedSkill(path.name, path, f"expected a folder name in printable UTF-8, got {path.name!a}")
    try:
        return load_skill(path)
    except SkillFormatError as error:
        return SkippedSkill(path.name, path, str(error))
