"""A package that declares a role, for the tests of settings and commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def spec_of(role: str) -> str:
    """Return code that declares a role."""
    requests = ("Rhyme", "BeforePlan")
    return f"from gems_actors import RoleSpec\nROLE = RoleSpec(name={role!r}, actor='own:Poet', requests={requests})\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that installs a package with some code, which declares a role `poet`."""

    def install_package(code: str) -> None:
        (tmp_path / "own_package.py").write_text(code)
        about = tmp_path / "own_package-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1\n")
        (about / "entry_points.txt").write_text("[gems_actors.roles]\npoet = own_package:ROLE\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_package", raising=False)

    return install_package
