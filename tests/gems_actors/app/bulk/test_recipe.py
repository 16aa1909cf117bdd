"""What pictures follow from: the hooks of the loop and replaced roles are part of a picture's key."""

from __future__ import annotations

import pytest
from msgspec import structs

from gems_actors.app.bulk.recipe import check_hooks, hooks_of, models_of
from gems_actors.app.bulk.rows import key_of
from gems_actors.config import ImageConfig, LoopConfig, MeshConfig, RoleConfig
from gems_actors.errors import RefusedError
from protocol.messages import DrawSettings, Ending, Hook, Picture
from tests.actors.fakes import attempt, requirement

TRANSLATOR = Hook(role="translator", version="1")


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


def test_what_is_chosen_otherwise_and_who_writes_lessons_is_part_of_the_key() -> None:
    others = [DrawSettings(choose="pairwise"), DrawSettings(lesson_by="refiner"), DrawSettings(actions="rewrite")]
    keys = {key_of("a cat", 7, settings, models_of(MeshConfig()), "skills") for settings in (DrawSettings(), *others)}
    assert len(keys) == 4


def test_settings_that_draw_other_pictures_are_part_of_the_model_and_of_the_key() -> None:
    images = [
        ImageConfig(backend="diffusers", model="owner/name", denoising_cache=cache, quantization=quantization)
        for cache in (None, 0.1, 0.2)
        for quantization in ("none", "fp8")
    ]
    models = [models_of(MeshConfig(image=image)) for image in images]
    assert [model["image"] for model in models[:4]] == [
        "owner/name",
        "owner/name (fp8)",
        "owner/name (denoising cache 0.1)",
        "owner/name (denoising cache 0.1, fp8)",
    ]
    assert len({key_of("a cat", 7, DrawSettings(), model, "skills") for model in models}) == 6
    served = ImageConfig(backend="openai", url="http://localhost/v1", model="owner/name", denoising_cache=0.1)
    assert models_of(MeshConfig(image=served))["image"] == "owner/name", "a server draws as it is started"


def test_a_planner_of_the_user_needs_no_chat_model() -> None:
    planner = RoleConfig(actor="studio:Planner", uses_chat=False)
    models = {"image": "storyboard", "chat": "storyboard", "roles.planner": "studio:Planner"}
    assert models_of(MeshConfig(roles={"planner": planner})) == models


@pytest.mark.parametrize(
    ("mesh", "hooks", "got"),
    [
        (MeshConfig(), {"before_plan": TRANSLATOR}, "expected a picture of no hook, got one of translator 1"),
        (config("2"), {"before_plan": TRANSLATOR}, "expected a picture of translator 2, got one of translator 1"),
        (config("1"), {}, "expected a picture of translator 1, got one of no hook"),
    ],
)
def test_a_picture_of_other_hooks_than_the_settings_name_is_refused(
    mesh: MeshConfig, hooks: dict[str, Hook], got: str
) -> None:
    with pytest.raises(RefusedError, match=rf"loop\.before_plan: {got}"):
        check_hooks(picture(**hooks), models_of(mesh))


def test_hooks_of_steps_that_were_not_taken_are_not_expected() -> None:
    loop = LoopConfig(before_plan="translator", after_verdicts="translator", before_refinement="translator")
    mesh = structs.replace(config("1"), loop=loop)
    check_hooks(picture(before_plan=TRANSLATOR), models_of(mesh))  # without requirements, in one round
    checked = structs.replace(picture(before_plan=TRANSLATOR), requirements=(requirement("r1"),))
    with pytest.raises(RefusedError, match=r"loop\.after_verdicts: expected a picture of translator 1, got one of no"):
        check_hooks(checked, models_of(mesh))
    refined = structs.replace(picture(before_plan=TRANSLATOR), attempts=(attempt(2, ""),))
    with pytest.raises(RefusedError, match=r"loop\.before_refinement: expected a picture of translator 1"):
        check_hooks(refined, models_of(mesh))
