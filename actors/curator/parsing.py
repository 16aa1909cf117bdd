"""What the curator takes of its model's answer: changes within bounds, or a skill that is whole."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from actors.prompting import parse_json, unexpected
from protocol.limits import MAX_EDITS, MAX_NOTE_CHARS
from protocol.messages import SkillEdit, SkillProposal

_MAX_ID_CHARS: Final = 48


class _Edit(msgspec.Struct):
    action: Literal["add", "delete", "replace"]
    line: str = ""
    text: str = ""


class _Edits(msgspec.Struct):
    edits: list[_Edit]
    reasoning: str = ""


class _New(msgspec.Struct):
    id: str = ""
    description: str = ""
    instructions: str = ""
    reasoning: str = ""


def parse_edits(text: str) -> SkillProposal:
    """Return the changes that a model proposes.

    Raises:
        ModelOutputError: the answer has another form, too many changes, or a line that is too long.
    """
    answer = parse_json(text, _Edits, 'JSON of the form {"edits": [{"action": "add", "line": "", "text": "..."}]}')
    if len(answer.edits) > MAX_EDITS:
        raise unexpected(f"at most {MAX_EDITS} edits, got {len(answer.edits)}", text)
    edits = []
    for item in answer.edits:
        line, new = item.line.strip("\n"), item.text.strip("\n")
        if max(len(line), len(new)) > MAX_NOTE_CHARS:
            raise unexpected(f"lines of at most {MAX_NOTE_CHARS} characters", text)
        edits.append(SkillEdit(action=item.action, line=line, text="" if item.action == "delete" else new))
    return SkillProposal(edits=tuple(edits), reasoning=answer.reasoning.strip())


def parse_new(text: str) -> SkillProposal:
    """Return the skill that a model proposes; an empty one if it proposes none.

    Raises:
        ModelOutputError: the answer has another form, or a part of it is missing or too long.
    """
    answer = parse_json(text, _New, 'JSON of the form {"id": "...", "description": "...", "instructions": "..."}')
    parts = [answer.id.strip(), " ".join(answer.description.split()), answer.instructions.strip()]
    if any(parts) != all(parts):
        raise unexpected("id, description and instructions, or three empty texts", text)
    if len(parts[0]) > _MAX_ID_CHARS:
        raise unexpected(f"an id of at most {_MAX_ID_CHARS} characters", text)
    if len(parts[1]) > MAX_NOTE_CHARS // 2:
        raise unexpected(f"a description of at most {MAX_NOTE_CHARS // 2} characters", text)
    return SkillProposal(id=parts[0], description=parts[1], instructions=parts[2], reasoning=answer.reasoning.strip())
