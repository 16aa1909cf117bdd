"""The public API: every name is there, typed and documented, and importing the package loads nothing."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gems_actors

NAMES = [name for name in gems_actors.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(gems_actors, name))


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(gems_actors.__file__).read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(NAMES)
    for name, module in seen.items():
        assert getattr(importlib.import_module(str(module)), str(name)) is getattr(gems_actors, str(name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Mush"):
        _ = gems_actors.Mush


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, gems_actors; print(sorted({'trio', 'zmq', 'msgspec', 'click', 'structlog'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
