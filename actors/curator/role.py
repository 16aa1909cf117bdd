"""The handler of the curator."""

from __future__ import annotations

import msgspec

from actors.curator.asking import propose_request
from actors.curator.parsing import parse_edits, parse_new
from actors.prompting import ChatActor, ask_model
from gems_actors.actor import answers
from protocol.messages import ProposeSkill, SkillProposal


class Curator(ChatActor):
    """Answers `ProposeSkill`."""

    role = "curator"
    default_capacity = 1

    @answers
    async def propose(self, request: ProposeSkill) -> SkillProposal:
        """Return changes of the skill that is shown, or a new skill; neither if the evidence supports none."""
        parse = parse_edits if request.skill else parse_new
        answer = await ask_model(self.chat, propose_request(request), parse)
        reasoning = answer.reasoning or answer.value.reasoning
        return msgspec.structs.replace(answer.value, reasoning=reasoning, spent=answer.spent)
