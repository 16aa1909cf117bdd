"""The reference of the settings is complete, true, and what the guide contains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems_actors.cli import main
from gems_actors.config import MeshConfig, load_config
from gems_actors.config.reference import list_settings, settings_as_toml
from tests.gems_actors.config.page import README, updated


def test_the_guide_contains_the_reference() -> None:
    assert README.read_text() == updated(README.read_text()), "run python -m tests.gems_actors.config.page"


def test_the_reference_is_a_mesh_file_that_sets_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_text(settings_as_toml())
    assert load_config(path, {}) == MeshConfig()


def test_every_setting_has_one_sentence_of_its_own() -> None:
    for header, (about, settings) in list_settings().items():
        assert about.endswith(".")
        for setting in settings:
            assert setting.meaning.endswith("."), f"{header} {setting.name}"
            assert len(setting.meaning) > 20


def test_tables_of_roles_and_groups_are_part_of_the_reference() -> None:
    tables = list_settings()
    assert {"[roles.NAME]", "[loop]", "[chat.roles.NAME]", "[chat.prices]", "[slurm.head]", "[[slurm.groups]]"} <= set(
        tables
    )
    assert [setting.name for setting in tables["[roles.NAME]"][1]][:2] == ["count", "capacity"]


def test_the_command_prints_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert capsys.readouterr().out == settings_as_toml()
    assert main(["config", "--json"]) == 0
    found = {(one["table"], one["name"]): one for one in json.loads(capsys.readouterr().out)}
    assert found["[router]", "max_queue"]["default"] == 10_000
    assert main(["config", "--json", "--markdown"]) == 2
