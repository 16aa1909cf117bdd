"""The folder of learnt skills: accepts new versions, retires old ones, restores them. It never touches a person's file.

A learnt skill has its provenance in the front matter, with the digest of what was accepted. A file without that digest,
or whose text has another one, belongs to a person: it is neither overwritten nor moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from gems_actors.app.picture_files import OutputError, text_of_path, write_whole
from gems_actors.errors import UsageError
from gems_actors.files import os_reason
from skills import SkillError, check_skill, load_skill
from skills.editing import skill_text
from skills.parsing import FILE_NAME, read_document

RETIRED: Final = "retired"
DIGEST_KEY: Final = "learnt-digest"
GAIN_KEY: Final = "learnt-gain"


@dataclass(frozen=True, slots=True)
class LearntSkill:
    """A learnt skill that no person has changed."""

    id: str
    digest: str
    gain: float
    """Change of the share of requirements met in the trial that accepted it."""
    path: Path


@dataclass(frozen=True, slots=True)
class Accepted:
    """A skill that was accepted."""

    id: str
    path: Path
    retired: tuple[Path, ...]
    """Folders of versions that were retired for it."""


class Shelf:
    """A folder of learnt skills, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def active(self) -> list[LearntSkill]:
        """Return the learnt skills that planners are offered, by id."""
        return sorted(self._learnt_in(self.folder), key=lambda skill: skill.id)

    def retired(self) -> list[LearntSkill]:
        """Return the retired versions; the id of each is the name of its folder, `ID-DIGEST`."""
        return sorted(self._learnt_in(self.folder / RETIRED), key=lambda skill: skill.id)

    def id_for(self, wanted: str, text_digest: str) -> str:
        """Return the id under which a version can be accepted: the wanted one, or another if a person has that."""
        for number in range(1, 1000):
            id_ = wanted if number == 1 else f"{wanted}-learnt" if number == 2 else f"{wanted}-learnt-{number}"
            if not (self.folder / id_).exists() or self._learnt(self.folder / id_) is not None:
                return id_
        raise OutputError(f"{self.folder}: expected a free name for {wanted}, got none")

    def accept(
        self, wanted: str, description: str, instructions: str, provenance: Mapping[str, str], *, digest: str, cap: int
    ) -> Accepted:
        """Write a new version of a skill, and retire the version that it replaces and those beyond the cap.

        Called again with the same version, it changes nothing.

        Raises:
            OutputError: the folder cannot be written, or the skill would not be a valid one.
        """
        id_ = self.id_for(wanted, digest)
        target = self.folder / id_
        metadata = {**provenance, DIGEST_KEY: digest}
        text = skill_text(id_, description, instructions, metadata).encode()
        retired: list[Path] = []
        known = self._learnt(target)
        if known is not None and known.digest != digest:
            retired.append(self._retire(known))
            known = None
        try:
            if known is None:
                target.mkdir(parents=True, exist_ok=True)
                write_whole(target / FILE_NAME, text)
        except OSError as error:
            raise OutputError(f"{target}: expected a folder to write into, got: {os_reason(error)}") from error
        if problems := check_skill(target).problems:
            raise OutputError(f"{target}: expected a valid skill, got: {problems[0]}")
        others = sorted(self.active(), key=lambda skill: (skill.id == id_, skill.gain))
        retired += [self._retire(skill) for skill in others[: max(0, len(others) - cap)] if skill.id != id_]
        return Accepted(id_, target, tuple(retired))

    def retire(self, id_: str) -> Path:
        """Move a learnt skill out of the planners' sight, and return its new folder.

        Raises:
            UsageError: there is no such learnt skill.
            OutputError: it cannot be moved.
        """
        found = self._learnt(self.folder / id_)
        if found is None:
            known = _among(self.active())
            raise UsageError(f"ID: expected a learnt skill that no person has changed{known}, got {id_!r}")
        return self._retire(found)

    def restore(self, name: str) -> Accepted:
        """Move a retired version back; a learnt version that has its place is retired in exchange.

        `name` is `ID-DIGEST`, or the id alone where only one version of it is retired.

        Raises:
            UsageError: there is no such version, or several, or a person's skill has its place.
            OutputError: it cannot be moved.
        """
        versions = self.retired()
        found = [skill for skill in versions if skill.id == name or skill.id.rpartition("-")[0] == name]
        if len(found) != 1:
            raise UsageError(f"NAME: expected a retired skill{_among(found or versions)}, got {name!r}")
        id_ = found[0].id.rpartition("-")[0]
        target = self.folder / id_
        retired: tuple[Path, ...] = ()
        if target.exists():
            in_place = self._learnt(target)
            if in_place is None:
                raise UsageError(f"NAME: expected a free place for {id_}, got a skill that a person wrote at {target}")
            retired = (self._retire(in_place),)
        _move(found[0].path, target)
        return Accepted(id_, target, retired)

    def _retire(self, skill: LearntSkill) -> Path:
        target = self.folder / RETIRED / f"{skill.id}-{skill.digest}"
        _move(skill.path, target)
        return target

    def _learnt_in(self, folder: Path) -> Iterator[LearntSkill]:
        try:
            paths = sorted(path for path in folder.iterdir() if (path / FILE_NAME).is_file())
        except OSError:
            return
        yield from (skill for path in paths if (skill := self._learnt(path)) is not None)

    def _learnt(self, path: Path) -> LearntSkill | None:
        """Return the skill in a folder; None if it is not a learnt one, or was changed since."""
        try:
            skill, metadata = load_skill(path), metadata_of(path)
        except SkillError:
            return None
        if metadata.get(DIGEST_KEY) != skill.digest:
            return None
        try:
            gain = float(metadata.get(GAIN_KEY, "0"))
        except ValueError:
            gain = 0.0
        return LearntSkill(path.name, skill.digest, gain, path)


def metadata_of(folder: Path) -> dict[str, str]:
    """Return the metadata in the front matter of a skill, as far as it maps texts to texts.

    Raises:
        SkillFormatError: the file cannot be read as a skill.
    """
    field = (read_document(folder).fields or {}).get("metadata")
    if field is None or not isinstance(field.node, yaml.MappingNode):
        return {}
    return {
        str(key.value): str(value.value)
        for key, value in field.node.value
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }


def _among(skills: Sequence[LearntSkill]) -> str:
    return f", one of {', '.join(skill.id for skill in skills)}" if skills else " (there is none)"


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # the same version was retired before
            (target / FILE_NAME).unlink(missing_ok=True)
            target.rmdir()
        source.rename(target)
    except OSError as error:
        raise OutputError(
            f"{text_of_path(source)}: expected to move it to {text_of_path(target)}, got: {os_reason(error)}"
        ) from error
