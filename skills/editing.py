"""Bounded changes of a skill's text, and the text of a new version. Pure.

A change names a line as it stands in the instructions, so that a proposal for another version fails instead of
changing something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from skills.errors import SkillError

MAX_INSTRUCTIONS_CHARS = 8_000
"""Length of the instructions of a learnt skill: about 2,000 tokens, twice the median of what learning reached
elsewhere."""
MAX_DESCRIPTION_CHARS = 1_000


class Edit(NamedTuple):
    """One change of a skill's instructions."""

    action: Literal["add", "delete", "replace"]
    line: str
    """Existing line that is deleted or replaced, or after which a line is added; empty: added at the end."""
    text: str
    """The new line; empty for a deletion."""


class SkillEditError(SkillError):
    """A change does not fit the skill, or its result is no skill."""


def apply_edits(instructions: str, edits: Sequence[Edit], *, max_chars: int = MAX_INSTRUCTIONS_CHARS) -> str:
    """Return instructions with changes made, in order.

    Raises:
        SkillEditError: a line does not exist, a text is missing, nothing changes, or the result is empty or too long.
    """
    lines = instructions.split("\n")
    for edit in edits:
        if edit.action != "delete" and not edit.text.strip():
            raise SkillEditError(f"expected a text to {edit.action}, got none")
        if edit.action == "add" and not edit.line.strip():
            lines = [*_without_blank_end(lines), *edit.text.split("\n")]
            continue
        place = _find(lines, edit.line)
        match edit.action:
            case "add":
                lines[place + 1 : place + 1] = edit.text.split("\n")
            case "delete":
                del lines[place]
            case "replace":
                lines[place : place + 1] = edit.text.split("\n")
    changed = "\n".join(lines).strip()
    if changed == instructions.strip():
        raise SkillEditError("expected changes, got the instructions as they were")
    return check_instructions(changed, max_chars=max_chars)


def check_instructions(instructions: str, *, max_chars: int = MAX_INSTRUCTIONS_CHARS) -> str:
    """Return instructions that a learnt skill may have.

    Raises:
        SkillEditError: they are empty, too long, or have characters that no file of text has.
    """
    if not instructions.strip():
        raise SkillEditError("expected instructions, got none")
    if len(instructions) > max_chars:
        raise SkillEditError(f"expected instructions of at most {max_chars} characters, got {len(instructions)}")
    if any(not (char.isprintable() or char in "\n\t") for char in instructions):
        raise SkillEditError("expected instructions of printable text, got control characters")
    return instructions


def skill_text(name: str, description: str, instructions: str, metadata: Mapping[str, str]) -> str:
    """Return a SKILL.md that clients of the open format and GEMS read; `metadata` is for its front matter."""
    fields = [f"name: {name}", f"description: {_quoted(description)}", "metadata:"]
    fields += [f"  {key}: {_quoted(value)}" for key, value in metadata.items()]
    front_matter = "\n".join(fields if metadata else fields[:-1])
    title = " ".join(name.replace("-", " ").split()).title()
    sections = f"# Skill: {title}\n\n## Description\n\n{description}\n\n## Instructions\n\n{instructions.strip()}\n"
    return f"---\n{front_matter}\n---\n\n{sections}"


def _quoted(text: str) -> str:
    """Return a text as a YAML scalar; JSON's strings are such, with surrogate pairs left out by keeping characters."""
    return json.dumps(text, ensure_ascii=False)


def _find(lines: Sequence[str], wanted: str) -> int:
    """Return the place of the only line that equals another but for surrounding white space."""
    places = [place for place, line in enumerate(lines) if line.strip() == wanted.strip()]
    if len(places) != 1:
        got = "none" if not places else f"{len(places)} of them"
        raise SkillEditError(f"expected one line {wanted.strip()[:80]!r} in the skill, got {got}")
    return places[0]


def _without_blank_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines
