"""The compressor: turns one round into a lesson of at most 100 words.

It reads the round and earlier rounds from memory and must not know which role reads the lesson.

Source: arXiv 2603.28088, Agent Memory: facts are kept unchanged, thoughts are compressed into experience.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actors.blob_actor import BlobActor
from actors.lessons import MAX_WORDS, cut_lesson, parse_lesson
from actors.prompting import ChatActor, ask_model, list_lines, render, say
from actors.rounds import PastRound, look_back
from gems_actors.actor import answers
from gems_actors.backends import ChatRequest, ImagePart
from protocol.messages import CompressAttempt, Lesson, ReadTrajectory

RULES: Final = f"""\
You keep the notebook of a studio that draws with a text-to-image model and tries again until the picture is right. \
You are given one attempt: its prompt, the picture, what an inspector found, the thinking behind the prompt, and the \
lessons noted so far. Write the lesson of this attempt for the author of the next prompt.

Say, as far as the attempt shows it:
- which wording worked and must be kept, named by its words;
- what failed, how it looks in the picture, and the likeliest cause in the wording: not said, said too late, buried, \
ambiguous, or contradicted by something else;
- one concrete change to try next; and what has been tried by now and did not help.

Be specific to this picture. Trust the picture and the findings more than the thinking, which was written before the \
picture was there. Do not repeat earlier lessons; say so if this attempt confirms or refutes one. Do not propose to \
give up any demand.

Write plain sentences, no list, no heading, at most 80 words; more than {MAX_WORDS} are refused. In Chinese \
and Japanese each character counts as a word. Answer with the lesson and nothing else."""

DRAWN: Final = """\
This is the picture of the attempt. Its prompt was:
<prompt>
$prompt
</prompt>
"""

DRAWN_FROM: Final = """\
This is the picture of the attempt. It was drawn from given pictures, and its prompt was an instruction about them:
<prompt>
$prompt
</prompt>
"""

EDITED: Final = """\
This is the picture of the attempt, an edit of the picture of round $edited. The instruction of the edit was:
<instruction>
$prompt
</instruction>
"""

USER: Final = """\
$drawn
What the inspector found to be met:
$met

What is not met, or cannot be told:
$findings

The thinking behind the prompt:
<thinking>
$reasoning
</thinking>

Lessons so far, the oldest first:
$experiences"""


class Compressor(BlobActor, ChatActor):
    """Answers `CompressAttempt`."""

    role = "compressor"

    @answers
    async def compress(self, request: CompressAttempt) -> Lesson:
        """Return the lesson of the best attempt of a round."""
        state = await self.mesh.ask(ReadTrajectory(trajectory=request.trajectory))
        *earlier, past = look_back(state, request.round)
        picture = await self.read_picture(past.attempt.image)
        answer = await ask_model(self.chat, compress_request(past, earlier, picture), parse_lesson, cut_lesson)
        return Lesson(text=answer.value, spent=answer.spent)


def compress_request(past: PastRound, earlier: Sequence[PastRound], picture: ImagePart) -> ChatRequest:
    """Return the chat request for the lesson of one round."""
    experiences = tuple(item.experience for item in earlier if item.experience is not None)
    fields = {
        "prompt": past.attempt.prompt,
        "met": list(past.met),
        "unmet": list(past.unmet),
        "reasoning": past.reasoning,
        "experiences": list(experiences),
    }
    attempt, edited = past.attempt, past.attempt.edited
    if edited is not None:
        drawn = render(EDITED, edited=str(edited.round), prompt=attempt.prompt)
    else:
        drawn = render(DRAWN_FROM if attempt.references else DRAWN, prompt=attempt.prompt)
    user = render(
        USER,
        drawn=drawn,
        met=list_lines(past.met),
        findings=list_lines(past.findings),
        reasoning=past.reasoning or "(not recorded)",
        experiences=list_lines(experiences),
    )
    messages = (say("system", RULES), say("user", picture, user))
    return ChatRequest("compress", fields, messages, needs_pictures=False)
