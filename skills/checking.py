"""Checks a skill against the open specification, and against the two regular expressions with which GEMS reads it.

Reads SKILL.md only; files in scripts/ are never read or executed.

Source: https://agentskills.io/specification; GEMS, arXiv 2603.28088, its skill manager.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from skills.errors import SkillFormatError, problem
from skills.parsing import Document, Field, kind, read_document

MAX_BODY_LINES = 500
_MAX_CHARACTERS = {"name": 64, "description": 1024, "compatibility": 500}
_KEYS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_GEMS_DESCRIPTION = re.compile(r"## Description\n(.*?)\n##", re.DOTALL)
_GEMS_INSTRUCTIONS = re.compile(r"## Instructions\n(.*)", re.DOTALL)


def check_skill(path: Path) -> tuple[str, ...]:
    """Return every problem of the skill in the folder `path`, each as `SKILL.md:LINE: expected X, got Y`.

    Stricter than loading: a skill without problems works in any client of the open format and in unmodified GEMS.
    """
    try:
        document = read_document(path)
    except SkillFormatError as error:
        return (str(error),)
    missing = () if document.fields is not None else (problem(1, "front matter between two lines '---'", "none"),)
    return (
        *document.problems,
        *missing,
        *find_field_problems(document, path.absolute().name),
        *_find_body_problems(document),
        *_find_gems_problems(document),
    )


def find_field_problems(document: Document, folder_name: str) -> Iterator[str]:
    """Yield the problems of the front matter; nothing if there is none."""
    if (fields := document.fields) is None:
        return
    for key in ("name", "description"):
        if key not in fields:
            yield problem(1, f"a {key} in the front matter", "none")
    for key, field in fields.items():
        match key:
            case "name":
                yield from _find_text_problems(key, field)
                if _NAME.fullmatch(field.text) is None:
                    yield problem(field.line, "a name of a-z, 0-9 and single hyphens inside", repr(field.text[:80]))
                if field.text != folder_name:
                    yield problem(field.line, f"the folder's name, {folder_name!r}", repr(field.text[:80]))
            case "description" | "license" | "compatibility":
                yield from _find_text_problems(key, field)
            case "metadata":
                yield from _find_metadata_problems(field)
            case "allowed-tools":
                tools = field.node.value if isinstance(field.node, yaml.SequenceNode) else [field.node]
                if not all(_is_text(tool) for tool in tools):
                    yield problem(field.line, "allowed-tools as text or a list of texts", kind(field.node))
            case _:
                yield problem(field.line, f"one of the keys {', '.join(_KEYS)}", repr(key[:80]))


def _find_text_problems(key: str, field: Field) -> Iterator[str]:
    if not _is_text(field.node):
        yield problem(field.line, f"{key} as text, in quotes where YAML reads another type", kind(field.node))
    elif not field.text:
        yield problem(field.line, f"{key} of at least 1 character", "0")
    elif len(field.text) > (max_characters := _MAX_CHARACTERS.get(key, len(field.text))):
        yield problem(field.line, f"{key} of at most {max_characters} characters", str(len(field.text)))


def _find_metadata_problems(field: Field) -> Iterator[str]:
    if not isinstance(field.node, yaml.MappingNode):
        yield problem(field.line, "metadata as a map of texts", kind(field.node))
        return
    for key, value in field.node.value:
        for node in (key, value):
            if not _is_text(node):
                line = key.start_mark.line + 2  # as in parsing: marks count from 0, after the opening '---'
                yield problem(line, "metadata from text to text, in quotes where YAML reads another type", kind(node))


def _find_body_problems(document: Document) -> Iterator[str]:
    if not document.body.strip():
        yield problem(document.body_line, "instructions in the body", "none")
    elif (lines := len(document.body.splitlines())) >= MAX_BODY_LINES:
        yield problem(document.body_line, f"a body of fewer than {MAX_BODY_LINES} lines", str(lines))


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
