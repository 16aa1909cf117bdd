"""Where the verifier made simulated errors, comparisons tell what the pictures truly meet next to what it believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs

from gems_actors.app.bulk.recipe import models_of
from gems_actors.app.bulk.rows import Row, RowRequirement
from gems_actors.app.evaluation.runs import read_run_folders
from gems_actors.app.evaluation.truth import believed_and_true
from gems_actors.backends.storyboard.scene import Claim
from gems_actors.config import MeshConfig, StoryboardConfig, VerifierErrorConfig
from gems_actors.errors import UsageError
from tests.gems_actors.app.evaluation.folders import row, write_folder
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors
from tests.gems_actors.cli.commands import run_gems

NOISY = MeshConfig(storyboard=StoryboardConfig(verifier_error=VerifierErrorConfig(miss=0.3)))
PROMPT = "two red cats"
QUESTIONS = ("Are there any cats in the image?", "Are there exactly two cats in the image?", "Are the cats red?")


def believed(index: int, met: int, config: MeshConfig = NOISY) -> Row:
    """Return a row whose verifier believed that a picture of two red cats meets so many requirements."""
    requirements = tuple(
        RowRequirement(id=question, question=question, kind="other", answer="met" if number < met else "unmet")
        for number, question in enumerate(QUESTIONS)
    )
    made = row(f"{PROMPT} {index}", index, [met], total=3)
    return structs.replace(made, requirements=requirements, digest=f"sha256:{index}", models=models_of(config))


def write(folder: Path, rows: list[Row], *lost: Claim) -> Path:
    """Write a run whose pictures all lost the same claims."""
    write_folder(folder, rows)
    for one in rows:
        path = folder / "dataset" / one.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_without_errors(PROMPT, *lost))
    return folder


def test_the_truth_is_told_next_to_what_the_verifier_believed(tmp_path: Path) -> None:
    folder = write(tmp_path / "noisy", [believed(0, 3), believed(1, 3)], Claim("count", "cat", "2"))
    (run,) = read_run_folders([folder])
    values = {name: item.figure.value(item.parts[(f"{PROMPT} 0", 0)]) for name, item in run.figures.items()}
    assert values["all met %"] == values["requirements met %"] == 100.0
    assert values["truly all met %"] == 0.0
    assert values["requirements truly met %"] == pytest.approx(200 / 3)
    assert believed_and_true(folder) == (
        "simulated errors: 100.0 % of requirements met by the verifier's account, 66.7 % in truth; "
        "all met 100.0 %, in truth 0.0 %"
    )


def test_a_run_without_errors_is_measured_by_the_truth_too_if_it_is_compared_with_one_that_has_them(
    tmp_path: Path,
) -> None:
    exact = write(tmp_path / "exact", [believed(0, 3, MeshConfig())])
    noisy = write(tmp_path / "noisy", [believed(0, 2)])
    assert "truly all met %" not in read_run_folders([exact])[0].figures
    assert all("truly all met %" in run.figures for run in read_run_folders([exact, noisy]))
    assert believed_and_true(exact) == ""


def test_pictures_are_read_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "noisy", [believed(0, 3)])
    before = believed_and_true(folder)
    (line,) = (folder / ".mesh" / "truth.jsonl").read_text().splitlines()
    assert json.loads(line)["met"] == dict.fromkeys(QUESTIONS, True)
    next((folder / "dataset").rglob("*.png")).unlink()
    assert believed_and_true(folder) == before


def test_a_picture_that_is_not_a_storyboard_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "noisy", [believed(0, 3)])
    next((folder / "dataset").rglob("*.png")).write_bytes(b"GIF89a")
    with pytest.raises(UsageError, match=r"00000000\.png: expected a picture, got"):
        read_run_folders([folder])


def test_simulated_errors_are_part_of_a_pictures_key_and_none_are_not() -> None:
    assert models_of(MeshConfig())["chat"] == "storyboard"
    assert models_of(NOISY)["verifier"] == "storyboard (simulated errors: miss 0.3)"
    assert models_of(NOISY)["planner"] == "storyboard"


@pytest.mark.slow
def test_a_run_with_simulated_errors_is_drawn_resumed_and_compared_by_the_truth(tmp_path: Path) -> None:
    prompts = ["two red cats left of a stone dog", "three glass owls under a sign"]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    errors = "storyboard.verifier_error={miss=1.0}"
    command = ("eval", "artimuse", "--data", "data.jsonl", "--out", "noisy", "--images", "3", "--set", errors)
    done = run_gems(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "simulated errors: 100.0 % of requirements met by the verifier's account" in done.stderr
    rows = (tmp_path / "noisy/dataset/metadata.jsonl").read_text()
    assert all(json.loads(line)["rounds"] == 1 for line in rows.splitlines()), (
        "a verifier that misses all stops at once"
    )
    assert run_gems(tmp_path, *command).returncode == 0
    assert (tmp_path / "noisy/dataset/metadata.jsonl").read_text() == rows
    compared = json.loads(run_gems(tmp_path, "eval", "compare", "noisy", "--json").stdout)
    assert "requirements truly met %" in json.dumps(compared)
    changed = run_gems(tmp_path, *command[:-1], "storyboard.verifier_error={miss=0.5}")
    assert changed.returncode == 2, "pictures of another verifier are not mixed with these"
