"""Pictures that records are drawn from: which fields give them, and what is read of their files, and how often."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import trio
from PIL import Image
from pyarrow import parquet

from gems_actors.app.bulk.finished.identity import BY_CONTENT, identified
from gems_actors.app.bulk.reading import references
from gems_actors.app.bulk.reading.readers import InputFormat, open_tasks
from gems_actors.app.bulk.reading.records import RecordOptions
from gems_actors.app.bulk.reading.references import KeptReferences, SourceFiles
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.references.pictures import BadReferenceError
from gems_actors.blobs import BlobFolder
from tests.actors.fakes import png

WITH_IMAGES = RecordOptions(image_column="image")


def tasks_of(
    data: bytes, folder: Path, format_: InputFormat = "jsonl", options: RecordOptions = WITH_IMAGES
) -> list[Task | BadTask]:
    return list(SourceFiles(folder).resolve(open_tasks(io.BytesIO(data), format_, options)))


def lines(*records: dict[str, Any]) -> bytes:
    return "".join(json.dumps({"prompt": "a dog", **record}) + "\n" for record in records).encode()


def only(tasks: list[Task | BadTask]) -> Task:
    (task,) = tasks
    assert isinstance(task, Task), task
    return task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/red.png").write_bytes(png(96, 48, "red"))
    (tmp_path / "blue.png").write_bytes(png(32, 32, "blue"))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("in/red.png", ["in/red.png"]),
        (["in/red.png", "blue.png"], ["in/red.png", "blue.png"]),
        ([], []),
        ({"path": "blue.png", "bytes": None}, ["blue.png"]),
    ],
)
def test_a_record_names_files_relative_to_its_own(given: Any, names: list[str], folder: Path) -> None:
    task = only(tasks_of(lines({"image": given, "mood": "sad", "strength": 0.5}), folder))
    assert [source.name for source in task.references] == names
    if names:
        assert (task.settings, task.metadata) == ({"strength": 0.5}, {"mood": "sad"})
    sizes = {"in/red.png": (96, 48), "blue.png": (32, 32)}
    assert [(source.width_px, source.height_px) for source in task.references] == [sizes[name] for name in names]


def test_an_absolute_path_and_a_csv_cell_are_paths_too(folder: Path) -> None:
    task = only(tasks_of(lines({"image": str(folder / "blue.png")}), folder / "in"))
    assert task.references[0].width_px == 32
    csv = only(tasks_of(b"prompt,image,strength\na dog,blue.png,0.25\n", folder, "csv"))
    assert (csv.references[0].name, csv.settings) == ("blue.png", {"strength": 0.25})


@pytest.mark.parametrize("column", [None, "other"])
def test_a_column_that_is_not_of_pictures_is_metadata_and_so_is_strength(column: str | None, folder: Path) -> None:
    options = RecordOptions(image_column=column)
    task = only(tasks_of(lines({"image": "no such file", "strength": "high"}), folder, options=options))
    assert (task.references, task.settings) == ((), {})
    assert task.metadata == {"image": "no such file", "strength": "high"}


def test_parquet_has_bytes_as_datasets_of_hugging_face_do(folder: Path) -> None:
    images = [{"bytes": png(96, 48, "red"), "path": "red.png"}, {"bytes": None, "path": "blue.png"}, None]
    table = pyarrow.table(
        {
            "prompt": ["a", "b", "c"],
            "image": pyarrow.array(images, pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            "mask": [b"0", b"1", b"2"],
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    found = tasks_of(file.getvalue(), folder, "parquet")
    assert [[source.name for source in task.references] for task in found if isinstance(task, Task)] == [
        ["red.png"], ["blue.png"], [],
    ]  # fmt: skip
    first = found[0]
    assert isinstance(first, Task)
    assert (first.references[0].data, first.references[0].width_px) == (png(96, 48, "red"), 96)
    assert first.record == {"prompt": "a", "image": "red.png"}, "what failures repeat has no bytes in it"


@pytest.mark.parametrize("kind", ["plain", "list"])
def test_parquet_has_plain_bytes_and_lists_too(kind: str, folder: Path) -> None:
    data = png(96, 48, "red")
    values = [data] if kind == "plain" else [[{"bytes": data, "path": None}, {"bytes": data, "path": "x.png"}]]
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"prompt": ["a"], "image": values}), file)
    task = only(tasks_of(file.getvalue(), folder, "parquet"))
    assert [source.name for source in task.references] == (["row 1"] if kind == "plain" else ["row 1", "x.png"])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"image": "no.png"}, "image: no.png: expected a readable file, got: No such file or directory"),
        ({"image": "in"}, "image: in: expected a readable file, got: a folder, not a file"),
        ({"image": "note.txt"}, "image: note.txt: expected a complete PNG, JPEG or WebP picture, got 5 bytes: 'hello'"),
        ({"image": "cut.png"}, "image: cut.png: expected a complete PNG, JPEG or WebP picture, got"),
        ({"image": "tiny.png"}, "image: tiny.png: expected sides of 16 to 8192 px, got 8x8"),
        ({"image": "a\0b"}, "image: a\0b: expected a readable file, got: "),
        ({"image": ""}, 'image: expected the path of a picture, or a list of paths, got ""'),
        ({"image": 7}, "image: expected the path of a picture, or a list of paths, got 7"),
        ({"image": {"bytes": 7}}, "image: expected the path of a picture, or a list of paths, got {}"),
        ({"image": "https://x/a.png"}, 'image: expected the path of a file, got "https://x/a.png"; download it first'),
        ({"image": "data:image/png;base64,AA"}, 'image: expected the path of a file, got "data:image/png;base64,AA"'),
        ({"image": ["blue.png"] * 17}, "image: expected up to 16 pictures, got 17"),
        ({"image": "blue.png", "strength": 0}, "strength: expected a number above 0, got 0"),
    ],
)
def test_a_record_with_an_unusable_picture_fails_alone_with_one_line(
    record: dict[str, Any], reason: str, folder: Path
) -> None:
    (folder / "note.txt").write_text("hello")
    (folder / "cut.png").write_bytes(png(64, 64)[:-30])
    (folder / "tiny.png").write_bytes(png(8, 8))
    bad, good = tasks_of(lines(record, {}), folder)
    assert isinstance(bad, BadTask)
    assert bad.reason.startswith(reason)
    assert isinstance(good, Task)


def test_a_photo_counts_with_the_size_in_which_it_is_shown(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 32)).save(folder / "photo.jpg", exif=exif)
    source = only(tasks_of(lines({"image": "photo.jpg"}), folder)).references[0]
    assert (source.width_px, source.height_px) == (32, 64)


def test_a_file_is_read_once_however_many_records_name_it_and_again_once_it_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noted(path: Path) -> bytes:
        read.append(path.name)
        return path.read_bytes()

    monkeypatch.setattr(references, "read_file", noted)
    files = SourceFiles(folder)

    def digests() -> list[str]:
        opened = open_tasks(io.BytesIO(lines(*[{"image": ["blue.png", "in/red.png"]}] * 1000)), "jsonl", WITH_IMAGES)
        return [*{digest for task in files.resolve(opened) if isinstance(task, Task) for digest in task.digests}]

    before = digests()
    assert sorted(read) == ["blue.png", "red.png"]
    assert sorted(digests()) == sorted(before)
    assert len(read) == 2
    (folder / "blue.png").write_bytes(png(32, 32, "green"))
    os.utime(folder / "blue.png", ns=(1, 1))
    assert len({*digests(), *before}) == 3
    assert read[2:] == ["blue.png"]


def test_another_picture_in_a_file_makes_another_task_and_another_name_does_not(folder: Path) -> None:
    def id_of(**record: Any) -> str:
        resolved = SourceFiles(folder).resolve(open_tasks(io.BytesIO(lines(record)), "jsonl", WITH_IMAGES))
        (task,) = identified(resolved, BY_CONTENT)
        return task.id

    (folder / "same.png").write_bytes((folder / "blue.png").read_bytes())
    ids = [id_of(), id_of(image="blue.png"), id_of(image="in/red.png"), id_of(image="blue.png", strength=0.5)]
    assert len({*ids}) == 4
    assert id_of(image="same.png") == ids[1]
    assert id_of(image=[]) == ids[0]
    (folder / "blue.png").write_bytes(png(32, 32, "green"))
    assert id_of(image="blue.png") not in ids


async def test_a_picture_is_decoded_and_stored_once_for_all_records(folder: Path, tmp_path: Path) -> None:
    class Counting(BlobFolder):
        puts = 0

        async def _keep(self, data: bytes) -> str:
            self.puts += 1
            return await super()._keep(data)

    blobs, files = Counting(tmp_path / "blobs"), SourceFiles(folder)
    records = lines({"image": ["blue.png", "in/red.png"]}, {"image": "blue.png"})
    found = [task for task in files.resolve(_opened(records)) if isinstance(task, Task)]
    kept = KeptReferences(files)
    refs: list[Any] = []

    async def keep(task: Task) -> None:
        refs.append(await kept.keep(task, blobs))

    async with trio.open_nursery() as nursery:
        for task in found * 10:
            nursery.start_soon(keep, task)
    assert blobs.puts == 2
    assert {len(given) for given in refs} == {1, 2}
    for image in refs[0]:
        assert await blobs.get(image)
    await kept.keep(found[1], blobs, again=True)
    assert blobs.puts == 3


async def test_a_file_that_changes_while_the_run_draws_fails_its_record(folder: Path, tmp_path: Path) -> None:
    files = SourceFiles(folder)
    (task,) = (task for task in files.resolve(_opened(lines({"image": "blue.png"}))) if isinstance(task, Task))
    (folder / "blue.png").write_bytes(png(32, 32, "green"))
    with pytest.raises(BadReferenceError, match=r"image: blue.png: expected the file that this run has read"):
        await KeptReferences(files).keep(task, BlobFolder(tmp_path / "blobs"))


def _opened(records: bytes) -> Iterator[Task | BadTask]:
    return open_tasks(io.BytesIO(records), "jsonl", WITH_IMAGES)
