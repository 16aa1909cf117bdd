"""Presets: named sets of settings, and where the value of a setting is from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gems_actors
from gems_actors.app.options import DrawOptions
from gems_actors.cli import main
from gems_actors.config import load_config
from gems_actors.config.loading import Origin, explain_config
from gems_actors.config.presets import PRESETS
from gems_actors.errors import ConfigError, UsageError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_sets_what_it_says(name: str) -> None:
    config = load_config(environment={}, preset=name)
    for key, value in PRESETS[name].settings.items():
        table, setting = key.split(".")
        assert (
            getattr(getattr(config, table), setting) == value != getattr(getattr(load_config(None, {}), table), setting)
        )
    assert PRESETS[name].about.endswith(".")


def test_a_preset_wins_over_file_and_environment_and_flags_win_over_it(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text('[verify]\nmode = "words"\nmet_from = 0.7\n[draw]\nlesson_by = "compressor"\n')
    environment = {"GEMS__DRAW__MAX_ROUNDS": "3"}
    config = load_config(file, environment, ["draw.lesson_by=compressor"], preset="thrifty")
    assert (config.verify.mode, config.verify.met_from) == ("batch", 0.7)
    assert (config.draw.lesson_by, config.draw.max_rounds) == ("compressor", 8)
    assert explain_config(file, environment, ["draw.lesson_by=compressor"], preset="thrifty") == [
        Origin("draw.lesson_by", "compressor", "--set"),
        Origin("draw.max_rounds", 8, "preset thrifty"),
        Origin("draw.skill", "none", "preset thrifty"),
        Origin("verify.met_from", 0.7, str(file)),
        Origin("verify.mode", "batch", "preset thrifty"),
    ]


def test_the_guide_names_every_preset_and_what_it_sets() -> None:
    guide = (Path(gems_actors.__file__).parent / "cli/README.md").read_text()
    table = guide.partition("| preset | sets | for |")[2].partition("\n\n")[0]
    lines = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    for name, preset in PRESETS.items():
        base = PRESETS["thrifty"].settings if "as `thrifty`" in lines[name] else {}
        for key, value in preset.settings.items():
            shown = f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
            assert shown in lines[name] or base.get(key) == value


def test_an_unknown_preset_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--preset: expected one of thrifty, diverse, got 'thrify'"):
        load_config(environment={}, preset="thrify")
    assert main(["draw", "a cat", "--preset", "thrify"]) == 2
    assert "expected one of thrifty, diverse, got 'thrify'; did you mean thrifty?" in capsys.readouterr().err


def test_images_of_a_preset_are_a_limit_for_all_its_candidates() -> None:
    assert DrawOptions(preset="diverse", images=6).settings() == {"rounds": 3}
    assert DrawOptions(preset="diverse", images=6, candidates=1).settings() == {"rounds": 6, "candidates": 1}
    with pytest.raises(UsageError, match="--images: expected at least --candidates, which is 2, got 1"):
        DrawOptions(preset="diverse", images=1).settings()


def test_explain_tells_the_source_of_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "explain", "--preset", "thrifty", "--set", "draw.steps=4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["setting", "value", "from"]
    assert ["draw.steps", "4", "--set"] in [line.split() for line in lines]
    assert any(line.split() == ["verify.mode", '"batch"', "preset", "thrifty"] for line in lines)
    assert main(["config", "explain", "verify.mode", "draw.steps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"key": "draw.steps", "value": None, "source": "default"},
        {"key": "verify.mode", "value": "score", "source": "default"},
    ]
    assert main(["config", "explain", "verify"]) == 0
    assert all(line.startswith(("setting", "verify.")) for line in capsys.readouterr().out.splitlines())
    assert main(["config", "explain", "verfy"]) == 2
    assert capsys.readouterr().err == "gems: KEY: expected a setting or table such as verify.mode, got 'verfy'\n"


def test_explain_says_what_is_wrong_with_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "explain", "--set", "draw.candidates=0"]) == 78
    assert capsys.readouterr().err.startswith("gems: --set: draw.candidates: expected")
