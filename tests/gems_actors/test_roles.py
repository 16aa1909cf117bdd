"""The table of roles holds what the classes of the roles say, and the order of starting follows from it."""

from __future__ import annotations

from importlib import import_module

import pytest
import trio

from gems_actors.actor import Actor, Call, Mesh
from gems_actors.call_context import answering
from gems_actors.config import MeshConfig, RoleConfig, load_config
from gems_actors.roles import BUILT_IN_ROLES, OPTIONAL_ROLES, RoleSpec, start_order, stop_order
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.codec import BODIES
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes
from protocol.messages import ControlRun, Event, PlanPrompt, ReadStatus, Request
from tests.gems_actors.meshes import Echo


@pytest.mark.parametrize("spec", BUILT_IN_ROLES.values(), ids=BUILT_IN_ROLES)
def test_a_record_says_what_its_class_answers(spec: RoleSpec) -> None:
    actor = load_actor(spec.name, MeshConfig())
    module, _, name = spec.actor.partition(":")
    assert actor is getattr(import_module(module), name)
    assert issubclass(actor, Actor)
    assert actor.role == spec.name
    assert {request.__name__ for request in actor.handlers} == set(spec.requests)
    assert all(request.role == spec.name for request in actor.handlers)
    assert set(spec.clients_may_ask or ()) <= set(spec.requests)


def test_roles_ask_and_publish_only_what_exists() -> None:
    for spec in BUILT_IN_ROLES.values():
        for request in spec.may_ask:
            role, _, type_ = request.partition(".")
            assert type_ in BUILT_IN_ROLES[role].requests
            assert issubclass(BODIES[type_], Request)
        assert all(issubclass(BODIES[event], Event) for event in spec.may_publish)


def test_every_role_starts_after_those_that_it_asks() -> None:
    order = start_order(BUILT_IN_ROLES)
    assert set(order) == set(BUILT_IN_ROLES)
    for spec in BUILT_IN_ROLES.values():
        asked = {request.partition(".")[0] for request in spec.may_ask} - {spec.name}
        assert all(order.index(role) < order.index(spec.name) for role in asked)


def test_every_role_stops_after_those_that_ask_it_and_others_at_the_same_time() -> None:
    (first, *middle, last) = stop_order(BUILT_IN_ROLES)
    assert (first, last) == (("conductor",), ("memory",))
    assert [{*group} for group in middle] == [{*BUILT_IN_ROLES} - {"conductor", "memory"}]
    with_gateway = load_config(None, {}, ["gateway.address=127.0.0.1:8484"]).stop_order
    assert with_gateway == (("gateway",), first, *middle, last)
    hooked = load_config(None, {}, ["roles.muse.actor=own:Muse", "loop.before_plan=muse"]).stop_order
    assert "muse" in hooked[1], "the conductor asks it to the end"
    assert sum(map(len, hooked)) == len(BUILT_IN_ROLES) + 1


def test_roles_that_ask_each_other_stop_one_after_another() -> None:
    ann = RoleSpec(name="ann", actor="a:A", may_ask=("bob.Ask", "ann.Ask"))
    bob = RoleSpec(name="bob", actor="b:B", may_ask=("ann.Ask",))
    assert stop_order({"ann": ann, "bob": bob}) == (("ann",), ("bob",))


def test_roles_that_ask_each_other_start_in_the_order_of_the_table() -> None:
    ann = RoleSpec(name="ann", actor="a:A", may_ask=("bob.Ask", "router.ReadStatus"))
    bob = RoleSpec(name="bob", actor="b:B", may_ask=("ann.Ask",))
    assert start_order({"ann": ann, "bob": bob}) == ("bob", "ann")


def test_an_optional_role_is_one_only_where_the_settings_name_it() -> None:
    assert not {*OPTIONAL_ROLES} & {*MeshConfig().role_specs}
    with_gateway = load_config(None, {}, ["gateway.address=127.0.0.1:8484"])
    assert with_gateway.start_order[-1] == "gateway"
    assert with_gateway.role("gateway").count == 1
    elsewhere = load_config(None, {}, ["roles.gateway.count=0"])
    assert elsewhere.role_specs["gateway"] == OPTIONAL_ROLES["gateway"]


@pytest.mark.parametrize("survives", [True, False])
async def test_a_role_that_survives_a_pause_still_answers_requests_of_a_paused_run(survives: bool) -> None:
    config = MeshConfig(roles={"planner": RoleConfig(survives_pause=survives)})
    async with open_test_mesh(Echo, config=config) as mesh, trio.open_nursery() as nursery:
        await mesh.ask(ControlRun(run="mine", action="pause"))
        answered = trio.Event()

        async def ask() -> None:
            with answering(Call(Header(Kind.REQUEST, run=run_bytes("mine")))):
                await mesh.ask(PlanPrompt(prompt="a fox"))
            answered.set()

        nursery.start_soon(ask)
        if not survives:
            await until_paused(mesh)
            assert not answered.is_set()
            await mesh.ask(ControlRun(run="mine", action="resume"))
        await answered.wait()


async def until_paused(mesh: Mesh) -> None:
    """Return once a request waits because its run is paused."""
    while not any(role.paused for role in (await mesh.ask(ReadStatus())).roles):
        await trio.lowlevel.checkpoint()
