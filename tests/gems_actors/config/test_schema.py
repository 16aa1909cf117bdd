"""What follows from the settings: models of roles, records of roles, their order and their requests."""

from __future__ import annotations

from functools import partial

from gems_actors.config import ChatModelConfig, LoopConfig, MeshConfig, RoleConfig, load_config


def test_the_chat_model_of_a_role_is_the_common_one_with_its_own_settings() -> None:
    flags = [
        "chat.backend=openai", "chat.url=http://one/v1", "chat.model=large", "chat.api_key_env=KEY",
        "chat.timeout_s=60", "chat.extra={top_p=0.8, seed=1}",
        "chat.roles.verifier.temperature=0.0", "chat.roles.verifier.extra={seed=2}",
        "chat.roles.refiner.url=http://two/v1", "chat.roles.refiner.thinking=false",
    ]  # fmt: skip
    chat = load_config(environment={}, settings=flags).chat
    common = partial(ChatModelConfig, backend="openai", timeout_s=60.0)
    assert chat.of("planner") == common(
        url="http://one/v1", model="large", api_key_env="KEY", extra={"top_p": 0.8, "seed": 1}
    )
    assert chat.of("verifier") == common(
        url="http://one/v1", model="large", api_key_env="KEY", temperature=0.0, extra={"top_p": 0.8, "seed": 2}
    )
    assert chat.of("refiner") == common(url="http://two/v1", thinking=False, extra={"top_p": 0.8, "seed": 1}), (
        "another server has its own models and key"
    )


def test_a_role_of_the_user_has_a_record_like_a_built_in_one() -> None:
    flags = [
        "roles.translator={actor='own:Translator', count=2, may_ask=['planner.PlanPrompt'], reads_blobs=true}",
        "roles.translator.uses_chat=true", "chat.roles.translator.temperature=0.5",
    ]  # fmt: skip
    config = load_config(None, {}, flags)
    spec = config.role_specs["translator"]
    assert (spec.name, spec.actor, spec.requests, spec.clients_may_ask) == (
        "translator", "own:Translator", ("*",), None,
    )  # fmt: skip
    assert (spec.reads_blobs, spec.writes_blobs, spec.scales_freely, spec.sharded) == (True, False, True, False)
    assert config.role("translator").count == 2
    assert config.chat.of("translator").temperature == 0.5
    assert "translator" in config.chat_roles
    order = config.start_order
    assert order.index("planner") < order.index("translator")


def test_the_class_of_a_built_in_role_can_be_replaced_and_the_rest_of_its_record_stays() -> None:
    config = MeshConfig(roles={"planner": RoleConfig(actor="own:Planner")})
    planner, built_in = config.role_specs["planner"], MeshConfig().role_specs["planner"]
    assert planner.actor == "own:Planner"
    assert (planner.may_ask, planner.uses_chat) == (built_in.may_ask, True)


def test_a_hook_is_asked_by_the_conductor_and_started_before_it() -> None:
    roles = {"translator": RoleConfig(actor="own:Translator"), "critic": RoleConfig(actor="own:Critic")}
    config = MeshConfig(roles=roles, loop=LoopConfig(before_plan="translator", before_refinement="critic"))
    may_ask = config.role_specs["conductor"].may_ask
    assert {"translator.BeforePlan", "critic.BeforeRefinement"} <= set(may_ask)
    assert "translator.BeforeRefinement" not in may_ask
    order = config.start_order
    assert order.index("translator") < order.index("conductor")


def test_every_built_in_role_has_settings_also_where_only_others_are_given() -> None:
    config = MeshConfig(roles={"planner": RoleConfig(count=3)})
    assert {name: settings.count for name, settings in config.roles.items()} == {
        name: 3 if name == "planner" else 1 for name in MeshConfig().role_specs
    }


def test_a_role_of_the_user_can_grow_and_be_played_by_a_group_of_jobs() -> None:
    flags = [
        "roles.translator={actor='own:Translator', max=4}",
        "slurm.groups=[{name='cpu', roles={translator=2, planner=0}}]",
    ]
    config = load_config(None, {}, flags)
    assert config.role("translator").max == 4
    assert config.slurm.groups[0].counts() == {"translator": 2}
