"""The planner asks as little as it can and never loses the user's own prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from actors.planner import Planner, plan_prompt
from gems_actors.config import MeshConfig, SkillsConfig
from gems_actors.errors import ModelOutputError
from protocol.messages import PlanPrompt
from skills import Skill
from tests.actors.fakes import FakeChat, mesh_with, text_of

HATS = Skill("hats", "hats", "Use for\n  hats.", "Put a hat on it.", Path("hats"), ())


def test_without_skills_nothing_is_asked() -> None:
    chat = FakeChat()
    plan = trio.run(plan_prompt, chat, "a cat", [])
    assert (plan.prompt, plan.skill, chat.requests) == ("a cat", None, [])


def test_where_no_skill_fits_the_users_own_prompt_is_the_plan() -> None:
    chat = FakeChat('{"skill": null}')
    plan = trio.run(plan_prompt, chat, " a $cat {0}", [HATS])
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


def test_a_chosen_skill_guides_the_prompt() -> None:
    chat = FakeChat('{"skill": "hats"}', '{"prompt": "a cat in a hat"}')
    plan = trio.run(plan_prompt, chat, "a cat", [HATS])
    assert (plan.prompt, plan.skill) == ("a cat in a hat", "hats")
    write = chat.requests[1]
    assert write.task == "write_prompt"
    assert write.fields == {"prompt": "a cat", "skill": "hats", "instructions": "Put a hat on it."}
    assert "Put a hat on it." in text_of(write)


def test_a_skill_that_does_not_exist_is_no_choice() -> None:
    chat = FakeChat('{"skill": "caps"}', '{"skill": "caps"}')
    with pytest.raises(ModelOutputError, match="one of the skills hats, or null, came 'caps'"):
        trio.run(plan_prompt, chat, "a cat", [HATS])


def test_a_skill_added_to_a_folder_is_offered_with_the_next_prompt(tmp_path: Path) -> None:
    planner = Planner(MeshConfig(skills=SkillsConfig(folders=(str(tmp_path),))), mesh_with())
    planner.chat = chat = FakeChat('{"skill": null}', '{"skill": null}')
    trio.run(planner.plan, PlanPrompt(prompt="a cat"))
    (tmp_path / "hats").mkdir()
    (tmp_path / "hats" / "SKILL.md").write_text("---\nname: hats\ndescription: Use for hats.\n---\nPut a hat on it.\n")
    trio.run(planner.plan, PlanPrompt(prompt="a cat"))
    offered = [{entry["id"] for entry in request.fields["manifest"]} for request in chat.requests]
    assert offered[1] - offered[0] == {"hats"}
    assert "text-rendering" in offered[0]
