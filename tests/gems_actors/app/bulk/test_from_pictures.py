"""Records that are drawn from pictures: their rows, their failures, and what happens when a picture changes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, BulkResult, spec_of
from gems_actors.app.bulk.estimate import dry_run, dry_run_lines
from gems_actors.app.bulk.folder_files import failed_tasks
from gems_actors.app.bulk.rows import Row, rows_of
from gems_actors.app.bulk.run_spec import read_run
from gems_actors.app.bulk.tasks import Part
from gems_actors.app.options import DrawOptions
from gems_actors.errors import UnsupportedError, UsageError
from tests.actors.fakes import png
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.app.meshes import open_drawing_mesh, open_studio

SMALL = (INVERTING, "draw.width_px=64", "draw.height_px=64")


def write(folder: Path, *records: dict[str, Any]) -> Path:
    file = folder / "edits.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def options_for(folder: Path, options: DrawOptions, **of_spec: Any) -> BulkOptions:
    file = folder / "edits.jsonl"
    spec = spec_of(file, options, **of_spec)
    return BulkOptions(spec=spec, file=file, out=folder / "out", router=options.router)


def rows_in(folder: Path) -> list[Row]:
    return [*rows_of(folder / "out")]


async def draw(folder: Path, options: DrawOptions, **of_spec: Any) -> BulkResult:
    return await bulk.run(options_for(folder, options, **of_spec))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/red.png").write_bytes(png(96, 48, "red"))
    (tmp_path / "in/blue.png").write_bytes(png(32, 32, "blue"))
    return tmp_path


async def test_each_record_is_drawn_from_its_own_pictures(folder: Path) -> None:
    write(
        folder,
        {"prompt": "a dog", "image": "in/red.png", "strength": 0.5, "mood": "sad"},
        {"prompt": "a dog", "image": ["in/blue.png", "in/red.png"], "size": "128x64"},
        {"prompt": "a dog"},
        {"prompt": "a dog", "image": "in/gone.png"},
    )
    async with open_drawing_mesh(folder, settings=SMALL) as chosen:
        options = replace(chosen, size=None)
        checked = dry_run(options_for(folder, options), None)
        assert "with pictures 2" in [*dry_run_lines(checked)]
        assert (checked.count.with_pictures, len(checked.bad)) == (2, 1)
        result = await draw(folder, options)
    assert (result.outcome, result.tally.pictures, result.tally.failed) == ("failed", 3, 1)
    first, second, third = rows_in(folder)
    assert (first.references, second.references, third.references) == (
        ("in/red.png",),
        ("in/blue.png", "in/red.png"),
        (),
    )
    red, blue = (f"sha256:{sha256((folder / name).read_bytes()).hexdigest()}" for name in ("in/red.png", "in/blue.png"))
    assert [row.reference_digests for row in (first, second, third)] == [(red,), (blue, red), ()]
    assert first.metadata == '{"mood":"sad"}'
    found = []
    for row in (first, second, third):
        with Image.open(folder / "out/dataset" / row.file_name) as image:
            found.append((image.size, image.convert("RGB").getpixel((3, 3))))
    assert found == [((96, 48), (0, 255, 255)), ((128, 64), (255, 255, 0)), ((64, 64), (128, 128, 128))]
    (failure,) = (json.loads(line) for line in (folder / "out/failed.jsonl").read_text().splitlines())
    assert failure["class"] == "input"
    assert json.loads(failure["line"]) == {"prompt": "a dog", "image": "in/gone.png"}
    reason = "image: in/gone.png: expected a readable file, got: No such file or directory"
    assert failure["reason"] == f"record 4: {reason}"
    page = (folder / "out/report.html").read_text()
    assert page.count("<h4>Given</h4>") == 3
    assert 'alt="Given picture 1 in/red.png."' in page
    assert "drawn from in/blue.png, in/red.png" in page


@pytest.mark.slow
async def test_the_same_command_draws_nothing_again_and_one_record_once_its_file_is_there(folder: Path) -> None:
    write(folder, {"prompt": "a dog", "image": "in/red.png"}, {"prompt": "a cat", "image": "in/late.png"})
    async with open_drawing_mesh(folder, settings=SMALL) as options:
        await draw(folder, options)
        before = rows_in(folder)
        again = await draw(folder, options)
        assert (rows_in(folder), again.tally.pictures) == (before, 1)
        (folder / "in/late.png").write_bytes(png(32, 32))
        part = Part(only=frozenset(failed_tasks(folder / "out", None)))
        retried = await bulk.run(replace(options_for(folder, options), part=part, keeps_failures=True))
    assert (retried.tally.pictures, len(rows_in(folder))) == (2, 2)
    assert (folder / "out/failed.jsonl").read_text() == ""


async def test_an_edited_source_picture_is_noticed_like_an_edited_prompt(folder: Path) -> None:
    write(folder, {"prompt": "a dog", "image": "in/red.png"}, {"prompt": "a cat"})
    async with open_studio(folder) as (studio, options):
        await draw(folder, options)
        first = {row.prompt: row.key for row in rows_in(folder)}
        (folder / "in/red.png").write_bytes(png(96, 48, "green"))
        studio.take_asked()
        await draw(folder, options)
        asked = studio.take_asked()
    assert [request.prompt for request in asked] == ["a dog"]
    assert {row.prompt: row.key == first[row.prompt] for row in rows_in(folder)} == {"a dog": False, "a cat": True}
    assert [row.prompt for row in rows_of_removed(folder)] == ["a dog"], "the earlier picture is kept aside"


def rows_of_removed(folder: Path) -> list[Row]:
    lines = (folder / "out/removed/metadata.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Row) for line in lines]


async def test_a_renamed_source_picture_is_the_same_task_whose_row_takes_the_new_name(folder: Path) -> None:
    write(folder, {"prompt": "a dog", "image": "in/red.png"}, {"prompt": "a cat", "image": ["in/red.png"]})
    async with open_studio(folder) as (studio, options):
        await draw(folder, options)
        before = rows_in(folder)
        studio.take_asked()
        (folder / "in/red.png").rename(folder / "in/scarlet.png")
        write(folder, {"prompt": "a dog", "image": "in/scarlet.png"}, {"prompt": "a cat", "image": ["in/scarlet.png"]})
        await draw(folder, options)
        assert studio.take_asked() == []
    renamed = [msgspec.structs.replace(row, references=("in/scarlet.png",)) for row in before]
    assert rows_in(folder) == renamed


async def test_a_row_that_is_kept_names_the_file_that_its_picture_was_drawn_from(folder: Path) -> None:
    write(folder, {"id": "one", "prompt": "a dog", "image": "in/red.png"})
    async with open_studio(folder) as (_, options):
        await draw(folder, options, id_column="id")
        write(folder, {"id": "one", "prompt": "a dog", "image": "in/blue.png", "mood": "sad"})
        await bulk.run(replace(options_for(folder, options, id_column="id"), consent="keep"))
    (row,) = rows_in(folder)
    assert (row.references, row.metadata) == (("in/red.png",), '{"id":"one","mood":"sad"}')


async def test_a_failed_record_has_its_pictures_in_the_form_in_which_they_were_given(folder: Path) -> None:
    records: list[dict[str, Any]] = [
        {"prompt": "a dog", "image": "in/red.png"},
        {"prompt": "a cat", "image": ["in/red.png"]},
        {"prompt": "an owl", "image": ["in/red.png", "in/blue.png"]},
    ]
    write(folder, *records)
    async with open_studio(folder) as (studio, options):
        studio.refused = {record["prompt"] for record in records}
        await bulk.run(replace(options_for(folder, options), concurrency=1))
    failures = [json.loads(line) for line in (folder / "out/failed.jsonl").read_text().splitlines()]
    assert [{name: failure[name] for name in ("prompt", "image")} for failure in failures] == records


@pytest.mark.slow
async def test_with_ids_a_changed_picture_needs_consent(folder: Path) -> None:
    write(folder, {"id": "one", "prompt": "a dog", "image": "in/red.png"})
    async with open_studio(folder) as (studio, options):
        await draw(folder, options, id_column="id")
        (folder / "in/red.png").write_bytes(png(96, 48, "green"))
        with pytest.raises(UsageError, match="--redraw draws these 1 again"):
            await draw(folder, options, id_column="id")
        (before,) = studio.take_asked()
        await bulk.run(replace(options_for(folder, options, id_column="id"), consent="redraw"))
        (after,) = studio.take_asked()
    assert before.references != after.references
    assert before.trajectory != after.trajectory


@pytest.mark.slow
async def test_a_folder_of_an_earlier_version_keeps_the_column_as_metadata(folder: Path) -> None:
    write(folder, {"prompt": "a dog", "image": "in/gone.png", "strength": "high"})
    async with open_studio(folder) as (studio, options):
        await draw(folder, options, image_column="none")
        run = folder / "out/run.json"
        run.write_text(re.sub(r'\n *"image_column": "",', "", run.read_text()))
        spec = read_run(folder / "out")
        assert spec is not None
        assert spec.image_column is None
        again = await draw(folder, options)
        assert (again.outcome, len(studio.take_asked())) == ("done", 1)
    (row,) = rows_in(folder)
    assert (row.references, row.metadata) == ((), '{"image":"in/gone.png","strength":"high"}')


@pytest.mark.slow
async def test_another_column_of_pictures_needs_another_folder(folder: Path) -> None:
    write(folder, {"prompt": "a dog", "source": "in/red.png"})
    async with open_studio(folder) as (studio, options):
        await draw(folder, options, image_column="source")
        (asked,) = studio.take_asked()
        assert len(asked.references) == 1
        with pytest.raises(UsageError, match="--image-column source as before, got --image-column image"):
            await draw(folder, options)


async def test_a_mesh_that_draws_from_text_alone_is_asked_once_for_all_records_with_pictures(folder: Path) -> None:
    prompts = ["a dog", "a cat", "an owl"]
    write(folder, *[{"prompt": prompt, "image": "in/red.png"} for prompt in prompts], {"prompt": "a pig"})
    async with open_studio(folder) as (studio, options):
        studio.refused, studio.refusal = {*prompts}, UnsupportedError("references: expected a model that can")
        result = await bulk.run(replace(options_for(folder, options), concurrency=1))
        assert sorted(request.prompt for request in studio.take_asked()) == ["a dog", "a pig"]
    assert (result.tally.pictures, result.tally.failed) == (1, 3)
    failures = [json.loads(line) for line in (folder / "out/failed.jsonl").read_text().splitlines()]
    assert {(one["class"], one["reason"]) for one in failures} == {
        ("unsupported", "references: expected a model that can")
    }
