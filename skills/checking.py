"""Checks a skill against the open specification, and against the two regular expressions with which GEMS reads it.

A skill needs one of the two formats, unless a client needs both. What the specification forbids but clients accept,
such as further keys, is a note and no problem. Reads SKILL.md only; files in scripts/ are never read or executed.

Source: https://agentskills.io/specification and its reference validator, skills-ref; GEMS, arXiv 2603.28088, its skill
manager.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from skills.errors import SkillFormatError, problem
from skills.parsing import Document, Field, kind, read_document

ADVISED_BODY_LINES = 500
_MAX_CHARACTERS = {"name": 64, "description": 1024, "compatibility": 500}
_KEYS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
_NAME = re.compile(r"[^\W_]+(-[^\W_]+)*")
_GEMS_DESCRIPTION = re.compile(r"## Description\n(.*?)\n##", re.DOTALL)
_GEMS_INSTRUCTIONS = re.compile(r"## Instructions\n(.*)", re.DOTALL)


class SkillCheck(NamedTuple):
    """What the check of a skill found; each text is `SKILL.md:LINE: expected X, got Y`."""

    problems: tuple[str, ...]
    """What keeps the skill from following its format."""
    notes: tuple[str, ...]
    """What is read here, but not by every client."""


def check_skill(path: Path, *, for_gems: bool = False) -> SkillCheck:
    """Return the problems and notes of the skill in the folder `path`.

    A skill with a name or a description in its front matter must follow the open format, any other that of GEMS; with
    `for_gems`, it must follow both, so that any client of the open format and unmodified GEMS read it.
    """
    try:
        document = read_document(path)
    except SkillFormatError as error:
        return SkillCheck((str(error),), ())
    folder_name = path.absolute().name
    is_open = document.fields is not None and bool({"name", "description"} & document.fields.keys())
    problems = [*_find_body_problems(document)]
    if is_open or for_gems:
        problems += find_field_problems(document, folder_name)
    if for_gems or (not is_open and ("## Description" in document.text or "## Instructions" in document.text)):
        problems += _find_gems_problems(document)
    elif not is_open:
        expected = "front matter with name and description, or the sections '## Description' and '## Instructions'"
        problems.append(problem(1, expected, "neither"))
    notes = [*document.problems, *find_field_notes(document)]
    if (lines := len(document.body.splitlines())) >= ADVISED_BODY_LINES:
        notes.append(problem(document.body_line, f"a body of fewer than {ADVISED_BODY_LINES} lines", str(lines)))
    return SkillCheck(tuple(problems), tuple(notes))


def find_field_problems(document: Document, folder_name: str) -> Iterator[str]:
    """Yield what the specification requires of the front matter and does not find there."""
    if (fields := document.fields) is None:
        yield problem(1, "front matter between two lines '---'", "none")
        return
    for key in ("name", "description"):
        if key not in fields:
            yield problem(1, f"a {key} in the front matter", "none")
    for key, field in fields.items():
        match key:
            case "name":
                yield from _find_text_problems(key, field)
                name = unicodedata.normalize("NFKC", field.text)
                if _NAME.fullmatch(name) is None or name != name.lower():
                    yield problem(
                        field.line, "a name of lowercase letters, digits and single hyphens inside", repr(name[:80])
                    )
                if name != unicodedata.normalize("NFKC", folder_name):
                    yield problem(field.line, f"the folder's name, {folder_name!r}", repr(name[:80]))
            case "description" | "license" | "compatibility":
                yield from _find_text_problems(key, field)
            case "metadata":
                if not isinstance(field.node, yaml.MappingNode):
                    yield problem(field.line, "metadata as a map", kind(field.node))
            case "allowed-tools":
                tools = field.node.value if isinstance(field.node, yaml.SequenceNode) else [field.node]
                if not all(_is_text(tool) for tool in tools):
                    yield problem(field.line, "allowed-tools as text or a list of texts", kind(field.node))


def find_field_notes(document: Document) -> Iterator[str]:
    """Yield what some clients do not read in the front matter: further keys, and values that are not text."""
    for key, field in (document.fields or {}).items():
        if key not in _KEYS:
            yield problem(field.line, f"one of the keys {', '.join(_KEYS)}", repr(key[:80]))
        elif key == "metadata" and isinstance(field.node, yaml.MappingNode):
            yield from _find_metadata_notes(field.node)
        elif key in ("name", "description", "license", "compatibility") and not _is_text(field.node):
            yield problem(field.line, f"{key} as text, in quotes where YAML reads another type", kind(field.node))


def _find_text_problems(key: str, field: Field) -> Iterator[str]:
    if not isinstance(field.node, yaml.ScalarNode):
        yield problem(field.line, f"{key} as text", kind(field.node))
    elif not field.text and key != "license":
        yield problem(field.line, f"{key} of at least 1 character", "0")
    elif len(field.text) > (max_characters := _MAX_CHARACTERS.get(key, len(field.text))):
        yield problem(field.line, f"{key} of at most {max_characters} characters", str(len(field.text)))


def _find_metadata_notes(metadata: yaml.MappingNode) -> Iterator[str]:
    for key, value in metadata.value:
        for node in (key, value):
            if not _is_text(node):
                line = key.start_mark.line + 2  # as in parsing: marks count from 0, after the opening '---'
                yield problem(line, "metadata from text to text, in quotes where YAML reads another type", kind(node))


def _find_body_problems(document: Document) -> Iterator[str]:
    if not document.body.strip():
        yield problem(document.body_line, "instructions in the body", "none")


def _find_gems_problems(document: Document) -> Iterator[str]:
    description = _GEMS_DESCRIPTION.search(document.text)
    if description is None or not description[1].strip():
        yield problem(document.body_line, "for GEMS a '## Description' with text and a heading after it", "none")
    instructions = _GEMS_INSTRUCTIONS.search(document.text)
    if instructions is None or not instructions[1].strip():
        yield problem(document.body_line, "for GEMS a '## Instructions' with text", "none")
    elif instructions[1].strip() != document.instructions:
        line = document.text.count("\n", 0, instructions.start()) + 1
        yield problem(line, "for GEMS the first '## Instructions' as a heading of the body", "another place")


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and kind(node) == "str"
