"""The map of roles leads to their classes."""

from __future__ import annotations

from importlib import import_module

import pytest

import gems_actors.config
from actors import ROLES
from gems_actors.actor import Actor


def test_every_role_that_a_supervisor_starts_has_a_place() -> None:
    assert set(ROLES) == set(gems_actors.config.ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_where_the_map_says(role: str) -> None:
    module, _, name = ROLES[role].partition(":")
    actor = getattr(import_module(module), name)
    assert issubclass(actor, Actor)
    assert actor.role == role
    assert actor.handlers
    assert all(request.role == role for request in actor.handlers)
