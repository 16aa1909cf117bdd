"""The table of roles holds what the classes of the roles say, and the order of starting follows from it."""

from __future__ import annotations

from importlib import import_module

import pytest

from gems_actors.actor import Actor
from gems_actors.config import MeshConfig
from gems_actors.roles import BUILT_IN_ROLES, RoleSpec, start_order
from gems_actors.supervision.child_main import load_actor
from protocol.codec import BODIES
from protocol.messages import Event, Request


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


def test_roles_that_ask_each_other_start_in_the_order_of_the_table() -> None:
    ann = RoleSpec(name="ann", actor="a:A", may_ask=("bob.Ask", "router.ReadStatus"))
    bob = RoleSpec(name="bob", actor="b:B", may_ask=("ann.Ask",))
    assert start_order({"ann": ann, "bob": bob}) == ("bob", "ann")
