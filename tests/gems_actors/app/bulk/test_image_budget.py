"""Drawing a file of prompts with a number of images for the whole run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, spec_of
from gems_actors.app.bulk.estimate import dry_run
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.rows import Row, rows_of
from gems_actors.app.bulk.totals import progress_line
from gems_actors.app.options import DrawOptions
from gems_actors.client import open_client
from gems_actors.errors import UsageError
from protocol.messages import CountRecords, DrawPicture, ReadTrajectory
from tests.gems_actors.app.bulk.test_runner import RecordingView
from tests.gems_actors.app.meshes import open_drawing_mesh

PROMPTS = "".join(
    f"{number} red {animal} to the left of a stone {thing}, and a sign that says {thing}\n"
    for number, animal, thing in (
        ("two", "cats", "cup"), ("three", "dogs", "chair"), ("five", "owls", "ball"), ("six", "pigs", "boat"),
    )
)  # fmt: skip


def options_for(options: DrawOptions, folder: Path, budget: ImageBudget | None) -> BulkOptions:
    file = folder / "prompts.txt"
    file.write_text(PROMPTS)
    longer = replace(options, rounds=4, size=(256, 256))
    return BulkOptions(
        spec=spec_of(file, longer), file=file, out=folder / "out", router=options.router, image_budget=budget
    )


def rows_in(folder: Path) -> dict[str, Row]:
    return {row.task: row for row in rows_of(folder / "out")}


@pytest.mark.slow
async def test_a_bulk_spends_its_images_records_each_grant_and_a_larger_budget_continues(tmp_path: Path) -> None:
    view = RecordingView()
    async with open_drawing_mesh(tmp_path) as options:
        task = options_for(options, tmp_path, ImageBudget(images=6))
        first = await bulk.run(task, view)
        before, page = rows_in(tmp_path), (tmp_path / "out/report.html").read_text()
        async with open_client(options.router or "") as mesh:
            records = (await mesh.ask(CountRecords())).records
            again = await bulk.run(task)
            assert (await mesh.ask(CountRecords())).records == records, "the same budget has nothing left to decide"
            larger = await bulk.run(replace(task, image_budget=ImageBudget(images=10)))
            after = rows_in(tmp_path)
            states = [await mesh.ask(ReadTrajectory(trajectory=row.trajectory)) for row in after.values()]
        whole = await bulk.run(replace(task, image_budget=None))
    assert (first.outcome, first.tally.images, first.tally.pictures) == ("done", 6, 4)
    assert "budget elsewhere" in first.tally.ended_early
    assert first.images == (6, 6)
    assert "6 drawn of 6" in page
    assert view.last is not None
    assert ", 6 images of 6, " in progress_line(view.last)
    assert (again.tally.before, again.tally.images, again.continued) == (4, 6, 0)
    assert (larger.outcome, larger.tally.images, larger.tally.pictures, larger.redrawn) == ("done", 10, 4, 0)
    continued = [key for key, row in after.items() if row.images > before[key].images]
    assert larger.continued == len(continued) > 0
    for key, row in after.items():
        assert row.digests[: before[key].images] == before[key].digests
        assert row.met >= before[key].met
    for row, state in zip(after.values(), states, strict=True):
        granted = [grant.images for grant in state.grants]
        assert granted == sorted({*granted})
        assert granted[-1] == row.images == len(state.attempts)
    assert sum(state.spent["generator"].calls for state in states) == larger.tally.spent["generator"].calls == 10
    assert (whole.tally.before, whole.tally.images) == (4, 10), "without a budget, finished pictures stay"


@pytest.mark.slow
async def test_a_bulk_without_a_budget_asks_as_before(tmp_path: Path) -> None:
    async with open_drawing_mesh(tmp_path) as options:
        await bulk.run(options_for(options, tmp_path, None))
        row = next(iter(rows_in(tmp_path).values()))
        async with open_client(options.router or "") as mesh:
            state = await mesh.ask(ReadTrajectory(trajectory=row.trajectory))
    assert state.task is not None
    assert (state.task.budget, state.grants) == (DrawPicture(run="r", prompt="p", seed=0).budget, ())
    assert not (tmp_path / "out/.mesh/images.json").exists()


def test_a_dry_run_tells_the_budget_as_the_most_that_is_drawn(tmp_path: Path) -> None:
    options = DrawOptions()
    assert dry_run(options_for(options, tmp_path, None), None).count.max_images == 16
    assert dry_run(options_for(options, tmp_path, ImageBudget(mean=1.5)), None).count.max_images == 6


async def test_fewer_images_than_tasks_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    async with open_drawing_mesh(tmp_path) as options:
        with pytest.raises(UsageError, match="expected at least 4 images, a round for each of 4 tasks, got 3"):
            await bulk.run(options_for(options, tmp_path, ImageBudget(images=3)))
    assert not rows_in(tmp_path)
