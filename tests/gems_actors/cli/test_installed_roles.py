"""Commands know a role of an installed package by the name that they are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gems_actors.cli import main
from tests.gems_actors.conftest import spec_of

USAGE = 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("scale", "poet=99999"),
        ("agent", "poet=99999", "--router", "ipc:///none"),
        ("status", "--check", "poet,stranger"),
        ("keys", "add", "DIR", "box", "--may", "poet,stranger"),
    ],
)
def test_a_command_that_names_an_installed_role_offers_it(
    install: Callable[[str], None], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    install(spec_of("poet"))
    assert main(list(arguments)) == USAGE
    offered = capsys.readouterr().err.partition(", got ")[0]
    assert "memory" in offered
    assert "poet" in offered


def test_an_installed_role_can_be_run(install: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    install(spec_of("poet"))
    assert main(["role", "poet"]) == USAGE
    assert "expected the address of the router for the poet" in capsys.readouterr().err
