"""The examples in the guide are valid."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from gems_actors.config import load_config

GUIDE = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("toml"))))
def test_settings_in_the_guide_are_valid(number: int, tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.toml"
    mesh.write_text(blocks("toml")[number])
    load_config(mesh, environment={})


def test_yaml_and_python_in_the_guide_can_be_parsed() -> None:
    assert all(yaml.safe_load(recipe) for recipe in blocks("yaml"))
    assert all(ast.parse(recipe) for recipe in blocks("python"))


def test_links_in_the_guide_resolve() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        path, _, section = target.partition("#")
        if target.startswith("https:"):
            continue
        if path:
            assert (Path(__file__).parents[2] / "deploy" / path).exists(), target
        else:
            assert section in headings, target
