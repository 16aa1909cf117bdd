"""A curve draws several strategies over one prompt file, each in its own folder, and continues where it stopped."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app.evaluation.curve import strategies_of
from gems_actors.app.options import DrawOptions
from gems_actors.config.presets import PRESETS
from gems_actors.errors import UsageError
from tests.gems_actors.cli.commands import run_gems


def test_every_strategy_may_draw_as_many_images_and_checks_pictures_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text('[verify]\nmode = "words"\n')
    for options, mode in (
        (DrawOptions(images=6), "batch"),
        (DrawOptions(images=6, overrides=("verify.mode=score",)), "score"),
        (DrawOptions(images=6, config_file=tmp_path / "mesh.toml"), "words"),
    ):
        chosen = strategies_of(options)
        assert [*chosen] == ["single", "best-of-n", "no-memory", "gems", *PRESETS]
        assert {drawing.read_config().verify.mode for drawing in chosen.values()} == {mode}
        for name, drawing in chosen.items():
            settings = {"candidates": drawing.read_config().draw.candidates, **drawing.settings()}
            assert settings["rounds"] * settings["candidates"] == (1 if name == "single" else 6), name


@pytest.mark.parametrize(
    ("options", "got"),
    [({"strategy": "gems"}, "--strategy"), ({"preset": "thrifty"}, "--preset"), ({"rounds": 2}, "--rounds")],
)
def test_what_a_curve_chooses_itself_is_refused(options: dict[str, Any], got: str) -> None:
    with pytest.raises(UsageError, match=f"--curve: expected it without {got}, because it draws several"):
        strategies_of(DrawOptions(**options))


@pytest.mark.parametrize("budget", [("--run-images", "9"), ("--mean-images", "2")])
def test_a_curve_has_no_images_to_spread_and_says_so_before_it_draws(tmp_path: Path, budget: tuple[str, str]) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a cow"}\n')
    done = run_gems(tmp_path, "eval", "artimuse", "--data", "data.jsonl", "--out", "out", "--curve", *budget)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("gems: --curve: expected it without --run-images and --mean-images")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_curve_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a cow"}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out/curve.csv").write_text("name,score\nmine,1\n")
    done = run_gems(tmp_path, "eval", "artimuse", "--data", "data.jsonl", "--out", "out", "--curve")
    assert "out/curve.csv: expected no file, or a figure of gems eval, got another file" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["curve.csv"]


@pytest.mark.slow
def test_a_curve_is_drawn_and_continued_without_drawing_anything_again(tmp_path: Path) -> None:
    prompts = ["three glass owls under a sign", "five red cats left of two stone dogs"]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    command = ("eval", "artimuse", "--data", "data.jsonl", "--out", "out", "--curve", "--images", "2")
    done = run_gems(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/curve.csv").read_text())))
    assert [*dict.fromkeys(row["strategy"] for row in rows)] == ["single", "best-of-n", "no-memory", "gems", *PRESETS]
    assert all(float(row["images"]) <= 2 and float(row["calls"]) > 0 for row in rows)
    assert (tmp_path / "out/curve.svg").read_text().startswith("<svg ")
    pictures = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/dataset/images/**/*.png")}
    (tmp_path / "out/curve.csv").unlink()
    assert run_gems(tmp_path, *command).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures
    assert (tmp_path / "out/curve.csv").exists()
