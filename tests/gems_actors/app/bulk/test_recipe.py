"""What pictures follow from: the hooks of the loop and replaced roles are part of a picture's key."""

from __future__ import annotations

import pytest
from msgspec import structs

from gems_actors.app.bulk.recipe import check_hooks, hooks_of, models_of
from gems_actors.app.bulk.rows import key_of
from gems_actors.config import ChatConfig, ChatRoleConfig, LoopConfig, MeshConfig, RoleConfig
from gems_actors.errors import RefusedError
from protocol.messages import DrawSettings, Ending, Hook, Picture
from tests.actors.fakes import attempt


def config(version: str | None = None, hook: str | None = "translator") -> MeshConfig:
    roles = {"translator": RoleConfig(actor="studio:Translator", version=version)}
    return MeshConfig(roles=roles, loop=LoopConfig(before_plan=hook))


def picture(**hooks: Hook) -> Picture:
    return Picture(
        trajectory="0" * 32,
        prompt="a cat",
        skill=None,
        requirements=(),
        attempts=(attempt(1, ""),),
        ending=Ending(outcome="nothing_to_check", best_round=1, best_candidate=1, decided_by="the only attempt"),
        settings=DrawSettings(),
        hooks=hooks,
    )


def test_a_hook_and_its_version_are_part_of_the_key() -> None:
    meshes = [MeshConfig(), config(), config("1"), config("2")]
    keys = {key_of("a cat", 7, DrawSettings(), models_of(mesh), "skills") for mesh in meshes}
    assert len(keys) == 4
    assert hooks_of(config("1")) == {"before_plan": "translator 1"}


def test_without_hooks_keys_are_the_same_as_ever() -> None:
    assert models_of(config("1", hook=None)) == models_of(MeshConfig())
    assert key_of("a cat", 7, DrawSettings(), models_of(MeshConfig()), "skills") == "e469be365e2349b6"


def test_a_picture_of_another_hook_than_the_settings_name_is_refused() -> None:
    translator = Hook(role="translator", version="1")
    check_hooks(picture(before_plan=translator), models_of(config("1")))
    check_hooks(picture(), models_of(config("1")))
    for mesh in (MeshConfig(), config("2")):
        with pytest.raises(RefusedError, match=r"loop\.before_plan: expected .*, got a picture of translator 1"):
            check_hooks(picture(before_plan=translator), models_of(mesh))


def test_the_class_of_the_user_for_a_built_in_role_is_part_of_the_key() -> None:
    own = MeshConfig(roles={"planner": RoleConfig(actor="own:Planner", version="2")})
    assert models_of(own) == models_of(MeshConfig()) | {"roles.planner": "own:Planner 2"}


def test_a_role_that_the_loop_does_not_ask_is_not_part_of_the_key() -> None:
    chat = ChatConfig(roles={"critic": ChatRoleConfig(model="large")})
    own = MeshConfig(roles={"critic": RoleConfig(actor="own:Critic", uses_chat=True)}, chat=chat)
    assert models_of(own) == models_of(MeshConfig())
    asked = structs.replace(own, loop=LoopConfig(before_refinement="critic"))
    assert models_of(asked)["critic"] == "large"
