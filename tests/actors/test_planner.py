"""The planner makes as few calls as possible and never loses the prompt of the request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.planner import WRITE_RULES, Planner, plan_prompt, write_request
from actors.prompting import say
from actors.recalling import LESSON_RULES
from gems_actors.backends import ChatReply
from gems_actors.config import MemoryConfig, MeshConfig, SkillsConfig
from gems_actors.errors import BackendError, ModelOutputError
from protocol.messages import PlanPrompt, RecallExperiences, Recollection, Request
from skills import Catalogue, Skill, SkillReadError
from tests.actors.fakes import FakeChat, mesh_with, recollection, text_of

HATS = Skill("hats", "hats", "Use for\n  hats.", "Put a hat on it.", Path("hats"), ())


async def test_without_skills_nothing_is_asked() -> None:
    chat = FakeChat()
    plan = await plan_prompt(chat, "a cat", [])
    assert (plan.prompt, plan.skill, chat.requests) == ("a cat", None, [])


async def test_if_no_skill_fits_the_prompt_stays_unchanged() -> None:
    chat = FakeChat('{"skill": null}')
    plan = await plan_prompt(chat, " a $cat {0}", [HATS])
    assert (plan.prompt, plan.skill) == (" a $cat {0}", None)
    (route,) = chat.requests
    assert route.task == "route_skill"
    assert route.fields == {
        "prompt": " a $cat {0}",
        "manifest": [{"id": "hats", "description": "Use for\n  hats."}],
    }
    assert "- hats: Use for hats." in text_of(route)
    assert " a $cat {0}" in text_of(route)
    assert "Put a hat on it." not in text_of(route)


async def test_a_chosen_skill_guides_the_prompt() -> None:
    chat = FakeChat('{"skill": "hats"}', '{"prompt": "a cat in a hat"}')
    plan = await plan_prompt(chat, "a cat", [HATS])
    assert (plan.prompt, plan.skill) == ("a cat in a hat", "hats")
    write = chat.requests[1]
    assert write.task == "write_prompt"
    assert write.fields == {"prompt": "a cat", "skill": "hats", "instructions": "Put a hat on it."}
    assert write.messages == (
        say("system", WRITE_RULES),
        say("user", "<guide>\nPut a hat on it.\n</guide>\n\n<request>\na cat\n</request>"),
    )


async def test_a_plan_has_the_cost_of_both_calls_and_the_reasoning_of_the_last() -> None:
    def reply(text: str, reasoning: str, tokens: int) -> ChatReply:
        return ChatReply(text, reasoning, {"prompt_tokens": tokens, "completion_tokens": 1})

    route, written = ("a hat is wanted", 100), ("the hat comes first", 200)
    chat = FakeChat(reply('{"skill": "hats"}', *route), reply('{"prompt": "a cat in a hat"}', *written))
    plan = await plan_prompt(chat, "a cat", [HATS])
    assert plan.reasoning == "the hat comes first"
    assert (plan.spent.calls, plan.spent.prompt_tokens, plan.spent.completion_tokens) == (2, 300, 2)
    plan = await plan_prompt(FakeChat(reply('{"skill": null}', "no hat is wanted", 100)), "a cat", [HATS])
    assert (plan.reasoning, plan.spent.calls, plan.spent.prompt_tokens) == ("no hat is wanted", 1, 100)


async def test_lessons_are_shown_between_the_guide_and_the_request() -> None:
    chat = FakeChat('{"skill": "hats"}', '{"prompt": "one cat in a hat"}')
    plan = await plan_prompt(chat, "a cat", [HATS], recollection("Count them first."))
    assert (plan.prompt, plan.skill) == ("one cat in a hat", "hats")
    route, write = chat.requests
    assert "lessons" not in route.fields
    assert write.fields["lessons"] == ["Count them first."]
    assert write.messages[0] == say("system", f"{WRITE_RULES}\n\n{LESSON_RULES}")
    words = text_of(write)
    places = [words.index(mark) for mark in ("Put a hat on it.", "Count them first.", "<request>\na cat\n")]
    assert places == sorted(places)


@pytest.mark.parametrize("skills", [[], [HATS]])
async def test_lessons_alone_are_enough_to_rewrite_the_prompt(skills: list[Skill]) -> None:
    chat = FakeChat(*['{"skill": null}'][: len(skills)], '{"prompt": "exactly one cat"}')
    plan = await plan_prompt(chat, "a cat", skills, recollection("Count them first."))
    assert (plan.prompt, plan.skill, plan.spent.calls) == ("exactly one cat", None, 1 + len(skills))
    assert chat.requests[-1].fields == {
        "prompt": "a cat",
        "skill": None,
        "instructions": "",
        "lessons": ["Count them first."],
    }
    assert "<guide>\n(There is none for this request.)\n</guide>" in text_of(chat.requests[-1])


async def plan_with(config: MemoryConfig, recalled: Recollection) -> tuple[FakeChat, list[Request[Any]]]:
    """Plan without a skill; return the chat model with its requests, and the requests to memory."""
    asked: list[Request[Any]] = []
    planner = Planner(MeshConfig(memory=config), mesh_with(recalled=recalled, asked=asked))
    planner.chat = chat = FakeChat('{"skill": null}', '{"prompt": "exactly one cat"}')
    await planner.plan(PlanPrompt(prompt="a cat"))
    return chat, asked


async def test_without_recall_memory_is_not_asked() -> None:
    chat, asked = await plan_with(MemoryConfig(), recollection("Count them first."))
    assert (asked, [request.task for request in chat.requests]) == ([], ["route_skill"])


async def test_with_recall_memory_is_asked_for_lessons_on_the_users_own_prompt() -> None:
    chat, asked = await plan_with(MemoryConfig(recall=True), recollection("Count them first."))
    assert asked == [RecallExperiences(prompt="a cat")]
    assert chat.requests[-1].fields["lessons"] == ["Count them first."]


async def test_without_lessons_the_prompt_stays_unchanged() -> None:
    chat, asked = await plan_with(MemoryConfig(recall=True), recollection())
    assert (len(asked), [request.task for request in chat.requests]) == (1, ["route_skill"])
    assert write_request("a cat", HATS, recollection()) == write_request("a cat", HATS)


async def test_choosing_an_unknown_skill_is_an_error() -> None:
    chat = FakeChat('{"skill": "caps"}', '{"skill": "caps"}')
    with pytest.raises(ModelOutputError, match="one of the skills hats, or null, got 'caps'"):
        await plan_prompt(chat, "a cat", [HATS])


async def test_a_skill_added_to_a_folder_is_offered_for_the_next_prompt(tmp_path: Path) -> None:
    planner = Planner(MeshConfig(skills=SkillsConfig(folders=(str(tmp_path),))), mesh_with())
    planner.chat = chat = FakeChat('{"skill": null}', '{"skill": null}')
    await planner.plan(PlanPrompt(prompt="a cat"))
    (tmp_path / "hats").mkdir()
    (tmp_path / "hats" / "SKILL.md").write_text("---\nname: hats\ndescription: Use for hats.\n---\nPut a hat on it.\n")
    await planner.plan(PlanPrompt(prompt="a cat"))
    offered = [{entry["id"] for entry in request.fields["manifest"]} for request in chat.requests]
    assert offered[1] - offered[0] == {"hats"}
    assert "text-rendering" in offered[0]


async def test_skills_that_cannot_be_read_now_are_waited_for_and_not_done_without(tmp_path: Path) -> None:
    class Unreadable(Catalogue):
        def skills(self) -> tuple[Skill, ...]:
            raise SkillReadError("/skills: expected to read skills, got: Too many open files")

    planner = Planner(MeshConfig(), mesh_with())
    planner.chat, planner.catalogue = FakeChat(), Unreadable([tmp_path])
    with pytest.raises(BackendError, match=r"^planner: /skills: .* Too many open files") as failure:
        await planner.plan(PlanPrompt(prompt="a cat"))
    assert failure.value.is_outage
    assert failure.value.is_retryable
