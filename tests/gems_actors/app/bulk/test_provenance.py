"""What a figure of a run needs to be made again: provenance.json."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, spec_of
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.images.plan import Plan
from gems_actors.app.bulk.provenance import add_evaluation, drawn_with, write_provenance
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError
from gems_actors.config import MeshConfig, load_config
from skills import load_skill
from skills.catalogue import builtin_folder
from tests.gems_actors.app.meshes import open_drawing_mesh

CONFIG = MeshConfig()


def found_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    return found


async def test_a_bulk_tells_what_its_pictures_were_drawn_with(tmp_path: Path) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    file.write_text('a red dog\n"OPEN" on a sign\n')
    async with open_drawing_mesh(tmp_path) as options:
        task = BulkOptions(
            spec=spec_of(file, options), file=file, out=out, router=options.router, image_budget=ImageBudget(mean=1.5)
        )
        await bulk.run(task)
        first = found_in(out)
        await bulk.run(task)
    assert found_in(out) == first, "a process that draws nothing adds nothing"
    assert first["run"]["mean_images"] == 1.5
    assert (first["run"]["source"], first["run"]["seed"]) == (str(file), 7)
    assert first["prompts_sha256"] == sha256(file.read_bytes()).hexdigest()
    assert "overrides" not in first["run"], "they may hold secrets"
    (drawn,) = first["drawn_with"]
    assert drawn["mesh"] == options.router
    assert set(drawn["versions"]) == {"gems-actors", "python"}
    assert drawn["models"] == {"image": "storyboard", "chat": "storyboard"}
    for id_, digest in first["skills"].items():
        assert digest == sha256((builtin_folder() / id_ / "SKILL.md").read_bytes()).hexdigest()
    assert first["skills"], "the planner chose a skill for the sign"


def test_a_skill_that_was_edited_since_has_no_digest(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "prompts.txt", DrawOptions())
    digest = load_skill(builtin_folder() / "text-rendering").digest
    used = {"text-rendering": digest, "spatial-layout": "0" * 16, "gone": "0" * 16}
    write_provenance(tmp_path, spec, Plan(), used, CONFIG, None)
    skills = found_in(tmp_path)["skills"]
    assert skills["text-rendering"] is not None
    assert (skills["spatial-layout"], skills["gone"]) == (None, None)
    assert found_in(tmp_path)["prompts_sha256"] is None, "there is no such file any more"


def test_processes_that_drew_with_others_are_told_apart(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "prompts.txt", DrawOptions())
    slow, fast = (drawn_with(load_config(None, settings=[f"draw.steps={steps}"]), {}, None) for steps in (50, 8))
    for drawn in (slow, slow, fast, None):
        write_provenance(tmp_path, spec, Plan(), {}, CONFIG, drawn)
    steps = [entry["settings"]["draw"]["steps"] for entry in found_in(tmp_path)["drawn_with"]]
    assert steps == [50, 8]


def test_a_budget_of_images_stays_when_a_later_process_draws_without_one(tmp_path: Path) -> None:
    spec, drawn = spec_of(tmp_path / "prompts.txt", DrawOptions()), drawn_with(CONFIG, {}, None)
    for plan in (Plan(number=1, images=8), Plan()):
        write_provenance(tmp_path, spec, plan, {}, CONFIG, drawn)
    found = found_in(tmp_path)
    assert [entry["budget"] for entry in found["drawn_with"]] == [{"run_images": 8}, {}]
    assert "run_images" not in found["run"], "that is the latest call"


def test_settings_are_those_that_differ_from_the_defaults_and_no_secrets(tmp_path: Path) -> None:
    settings = [
        "image.backend=openai",
        "image.url=http://someone:hunter2@host:8000/v1",
        'image.extra={api_key = "sk-secret", num_inference_steps = 8, max_tokens = 5}',
        "chat.api_key_env=THE_KEY",
        "verify.mode=batch",
        f"data_dir={tmp_path}",
    ]
    told = {"image": {"url": "http://someone:hunter2@host:8000/v1", "id": "qwen", "root": "/models/qwen"}}
    drawn = drawn_with(load_config(None, settings=settings), told, None)
    assert drawn.settings["verify"] == {"mode": "batch"}
    assert drawn.settings["image"]["extra"] == {"num_inference_steps": 8, "max_tokens": 5}
    assert drawn.settings["chat"] == {"api_key_env": "THE_KEY"}, "the name of the variable is no secret"
    assert "data_dir" not in drawn.settings
    assert drawn.servers["image"] == {"url": "http://***@host:8000/v1", "id": "qwen", "root": "/models/qwen"}
    assert not any(secret in repr(drawn) for secret in ("hunter2", "sk-secret"))


def test_an_evaluation_stays_when_the_next_process_draws(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "prompts.txt", DrawOptions())
    add_evaluation(tmp_path, {"benchmark": "geneval2"})
    assert not (tmp_path / "provenance.json").exists(), "nothing was drawn"
    write_provenance(tmp_path, spec, Plan(), {}, CONFIG, None)
    add_evaluation(tmp_path, {"benchmark": "geneval2", "judge": "qwen"})
    write_provenance(tmp_path, spec, Plan(), {}, CONFIG, None)
    assert found_in(tmp_path)["evaluation"] == {"benchmark": "geneval2", "judge": "qwen"}


def test_a_file_that_cannot_be_read_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(OutputError, match=r"provenance\.json: expected the provenance of a run, got"):
        write_provenance(tmp_path, spec_of(tmp_path / "prompts.txt", DrawOptions()), Plan(), {}, CONFIG, None)
    assert (tmp_path / "provenance.json").read_text() == "{"
