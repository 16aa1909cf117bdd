"""The package as a program imports it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gems_actors import app
from gems_actors.errors import UsageError
from tests.gems_actors.app.meshes import open_drawing_mesh


async def test_a_program_draws_one_prompt_and_a_file_of_prompts(tmp_path: Path) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    file.write_text("a red dog\n")
    async with open_drawing_mesh(tmp_path) as options:
        drawn = await app.draw.run(app.draw.DrawRequest(prompt="a cat", output=tmp_path / "cat.png", options=options))
        spec = app.bulk.spec_of(file, replace(options, router=None))
        bulk = await app.bulk.run(app.bulk.BulkOptions(spec=spec, file=file, out=out, router=options.router))
    assert drawn.path.exists()
    assert (bulk.outcome, bulk.tally.pictures) == ("done", 1)


async def test_a_program_evaluates_a_benchmark(tmp_path: Path) -> None:
    evaluation = app.evaluation.EvaluationOptions(
        benchmark="geneval", data=tmp_path / "missing.jsonl", out=tmp_path, options=app.DrawOptions(rounds=1)
    )
    with pytest.raises(UsageError, match="missing"):
        await app.evaluation.run(evaluation)


@pytest.mark.slow
def test_submodules_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys; from gems_actors import app; assert 'trio' not in sys.modules; "
        "print(app.draw.run.__module__, app.bulk.run.__module__, app.evaluation.run.__module__, app.DrawOptions())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("gems_actors.app.draw gems_actors.app.bulk.runner gems_actors.app.evaluation.runner")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="paint"):
        _ = app.paint
