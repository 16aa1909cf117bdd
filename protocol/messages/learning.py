"""What the curator is asked, and what it proposes: changes of skills, from what refinements achieved."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from protocol.limits import MAX_EDITS, MAX_NOTE_CHARS, MAX_PAGE, MAX_PROMPT_CHARS
from protocol.messages import values as v

SkillText = Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)]
"""Instructions of a skill."""
SkillLine = Annotated[str, Meta(max_length=MAX_NOTE_CHARS)]
"""A line of a skill's instructions, or its description."""


class SkillEdit(v.Value, frozen=True, kw_only=True):
    """One change of a skill's instructions."""

    action: Literal["add", "delete", "replace"]
    line: SkillLine = ""
    """Existing line that is deleted or replaced, or after which a line is added; empty: added at the end."""
    text: SkillLine = ""
    """The new line; empty for a deletion."""


SkillEdits = Annotated[tuple[SkillEdit, ...], Meta(max_length=MAX_EDITS)]


class SkillVersion(v.Value, frozen=True, kw_only=True):
    """A skill as the curator sees it."""

    id: v.SkillId
    description: SkillLine
    instructions: SkillText


class Turn(v.Value, frozen=True, kw_only=True):
    """A requirement that was unmet in one round and met after the next prompt."""

    question: SkillLine
    kind: v.RequirementKind
    before: SkillLine
    """Beginning of the prompt that did not achieve it; `after` is that of the prompt that did."""
    after: SkillLine
    lesson: SkillLine = ""
    """The lesson between the two; empty: none was kept."""


class KindCount(v.Value, frozen=True, kw_only=True):
    """How often requirements of one kind were unmet at first, and what became of them."""

    kind: v.RequirementKind
    asked: v.Count
    unmet: v.Count
    """Unmet by the first picture, out of `asked`."""
    turned: v.Count
    """Met after a refinement, out of `unmet`."""


class RejectedProposal(v.Value, frozen=True, kw_only=True):
    """An earlier proposal that did not help, shown so that it is not made again."""

    edits: SkillEdits = ()
    instructions: SkillText = ""
    """Instructions of a new skill; empty: it was a change."""
    reason: v.Reason


class SkillProposal(v.Reply, frozen=True, kw_only=True):
    """The curator's answer: changes of the skill that was shown, a new skill, or nothing."""

    edits: SkillEdits = ()
    id: v.Name = ""
    """Id of a new skill; empty: there is none. The same applies to `description` and `instructions`."""
    description: SkillLine = ""
    instructions: SkillText = ""
    reasoning: v.Text = ""
    spent: v.Spent = v.Spent()


class ProposeSkill(v.Request[SkillProposal], frozen=True, kw_only=True):
    """Asks the curator for a bounded change of one skill, or for a new skill. It only proposes: the client tries it."""

    role: ClassVar[str] = "curator"
    skill: SkillVersion | None = None
    """Skill to change; by default a new one is wanted."""
    counts: Annotated[tuple[KindCount, ...], Meta(max_length=16)] = ()
    turns: Annotated[tuple[Turn, ...], Meta(max_length=MAX_PAGE)] = ()
    rejected: Annotated[tuple[RejectedProposal, ...], Meta(max_length=64)] = ()
    max_chars: v.Count = MAX_PROMPT_CHARS
    """Maximum length of the instructions that result."""
