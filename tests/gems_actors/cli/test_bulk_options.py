"""`gems bulk` and `gems eval` draw as `gems draw` does, and keep no more than they are asked to."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import click
import pytest
from PIL import Image

from gems_actors.cli.draw import draw
from gems_actors.cli.options import DefaultGroup
from tests.gems_actors.cli.commands import run_gems

OF_ONE_DRAW = {"--image", "--output", "--open", "--json", "--verbose", "--help"}


def flags_of(command: click.Command) -> set[str]:
    return {max(parameter.opts, key=len) for parameter in command.params if isinstance(parameter, click.Option)}


@pytest.mark.parametrize(("module", "name"), [("bulk", "bulk"), ("evaluate", "evaluate")])
def test_every_option_of_a_draw_is_one_of_a_bulk_and_of_an_evaluation(module: str, name: str) -> None:
    group: DefaultGroup = getattr(import_module(f"gems_actors.cli.{module}"), name)
    assert flags_of(draw) - OF_ONE_DRAW <= flags_of(group.default)


def blobs_in(folder: Path) -> list[Path]:
    return [*(folder / ".mesh/blobs/sha256").rglob("*.*"), *(folder / ".mesh/blobs/sha256").glob("??/??/*")]


@pytest.mark.slow
def test_a_bulk_draws_with_these_options_and_keeps_no_attempts_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("two red cats left of three dogs\nan owl\n")
    options = ("--rounds", "2", "--candidates", "2", "--size", "96x64", "--skill", "none", "--steps", "3", "--exact")
    command = ("bulk", "prompts.txt", "--out", "out", *options, "--guidance", "2", "--negative", "a moon")
    dry = json.loads(run_gems(tmp_path, *command, "--dry-run", "--json").stdout)
    assert (dry["tasks"], dry["max_images"]) == (2, 8)
    done = run_gems(tmp_path, *command, "--keep-attempts", "none")
    assert done.returncode == 0, done.stderr
    assert "attempts           " in done.stderr
    assert not blobs_in(tmp_path / "out")
    settings = json.loads((tmp_path / "out/run.json").read_text())["settings"]
    assert settings == {
        "rounds": 2, "candidates": 2, "size": [96, 64], "steps": 3, "guidance": 2.0, "negative_prompt": "a moon",
        "exact": True, "skill": "none",
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out/dataset/metadata.jsonl").read_text().splitlines()]
    assert {(row.get("skill"), row["images"] % 2) for row in rows} == {(None, 0)}
    with Image.open(tmp_path / "out/dataset" / rows[0]["file_name"]) as picture:
        assert picture.size == (96, 64)

    again = run_gems(tmp_path, *command)
    assert (again.returncode, "2 done before" in again.stderr) == (0, True)
    with (tmp_path / "prompts.txt").open("a") as file:
        file.write("a red dog\n")
    assert run_gems(tmp_path, *command).returncode == 0
    assert blobs_in(tmp_path / "out")
    counted = run_gems(tmp_path, "bulk", "prune", "out", "--dry-run")
    pruned = run_gems(tmp_path, "bulk", "prune", "out")
    assert counted.stdout.replace("would be dropped", "dropped") == pruned.stdout
    assert not blobs_in(tmp_path / "out")
    assert run_gems(tmp_path, "bulk", "prune", "out").stdout == "0 files, 0 bytes, dropped\n"
    nowhere = run_gems(tmp_path, "bulk", "prune", "nowhere")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    shared = run_gems(tmp_path, *command, "--keep-attempts", "none", "--set", "blobs=file:///shared")
    assert (shared.returncode, "--keep-attempts: expected all, because" in shared.stderr) == (2, True)
