"""What a proposal of the curator amounts to: a version of a skill that can be tried, or nothing that fits. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.messages import RejectedProposal, SkillProposal
from skills import Skill
from skills.editing import (
    MAX_DESCRIPTION_CHARS,
    MAX_INSTRUCTIONS_CHARS,
    Edit,
    SkillEditError,
    apply_edits,
    check_instructions,
)

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_MAX_NAME_CHARS = 48
_TAKEN = ("none", "retired")
"""Names that mean something else."""


class UnfitProposalError(Exception):
    """A proposal cannot be tried; the text says why, to the curator too."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version of a skill that can be tried."""

    id: str
    description: str
    instructions: str


def candidate_of(proposal: SkillProposal, skill: Skill | None, rejected: Sequence[RejectedProposal]) -> Candidate:
    """Return the version that a proposal amounts to.

    Raises:
        UnfitProposalError: it does not fit the skill, or was rejected before.
    """
    if any((item.edits, item.instructions) == (proposal.edits, proposal.instructions) for item in rejected):
        raise UnfitProposalError("it was tried before")
    try:
        if skill is not None:
            edits = [Edit(item.action, item.line, item.text) for item in proposal.edits]
            limit = max(MAX_INSTRUCTIONS_CHARS, len(skill.instructions))
            instructions = apply_edits(skill.instructions, edits, max_chars=limit)
            return Candidate(skill.id, skill.description, instructions)
        instructions = check_instructions(proposal.instructions)
    except SkillEditError as error:
        raise UnfitProposalError(str(error)) from error
    name = _NOT_IN_NAMES.sub("-", proposal.id.lower()).strip("-")[:_MAX_NAME_CHARS].rstrip("-")
    if not name or name in _TAKEN:
        raise UnfitProposalError(f"expected an id of lowercase words, got {proposal.id!r}")
    description = " ".join(proposal.description.split())
    if not 0 < len(description) <= MAX_DESCRIPTION_CHARS or not description.isprintable():
        raise UnfitProposalError(f"expected a description of 1 to {MAX_DESCRIPTION_CHARS} characters")
    return Candidate(name, description, instructions)


def rejection_of(proposal: SkillProposal, reason: str) -> RejectedProposal:
    """Return a rejected proposal as the curator is shown it."""
    return RejectedProposal(edits=proposal.edits, instructions=proposal.instructions, reason=reason)
