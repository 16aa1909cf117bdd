"""Datasets and shards are loaded by the libraries that training uses, whatever fields the records have."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image
from pyarrow import parquet

from gems_actors.app.bulk.export import Shape, export_rows
from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.reading.readers import open_tasks
from gems_actors.app.bulk.rows import all_rows_of, rows_of
from gems_actors.app.bulk.tasks import Task
from tests.gems_actors.app.bulk.test_folder import ALL, RUN, keep
from tests.gems_actors.cli.stories import PICTURE

os.environ["HF_HUB_OFFLINE"] = "1"  # read when datasets is imported
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
# The libraries are imported where they are used: every worker of the suite imports this module, and one runs it.

FIELDS: dict[str, list[Any]] = {
    "file_name": ["a.png"],
    "names of files": [{"file_name": "a", "file_names": ["b"], "mask_file_name": "c", "mask_file_names": ["d", "e"]}],
    "file_name within": [{"x": {"file_name": "a", "y": [{"z_file_name": "b"}]}}],
    "names of columns": [{"image": 1, "label": "x", "metadata": {"prompt": 2}, "index": "z", "key": None}],
    "numbers and text": [1, "b", 1.5, True, None],
    "text like dates": ["2024-01-01", "2024-01-01T00:00:00", "soon"],
    "nulls, then objects": [None, None, {"a": {"b": 1}}],
    "lists of anything": [[], [1, "a", None, {"b": []}], [[1], [["x"]]], "none"],
    "objects without and with fields": [{}, {"a": 1}, {"b": {}}, []],
    "numbers beyond 64 bits": [2**64, -(2**70), 1, 1e300],
    "keys of any kind": [{"a.b": 1, "": 2, "ключ": 3, "a b": 4, "__key__": 5, "\n": 6}],
    "depth": [json.loads("[" * 100 + "1" + "]" * 100), 1],
    "size": ["x" * 1_000_000, '"' * 500_000],
    "escapes": ["\0", "\x1b[31m", "\u2028", "\ud83d\udc36", "\\"],
}


def records_of(values: Sequence[Any]) -> list[dict[str, Any]]:
    """Return records with these values, beneath their prompt and beside it."""
    fields = [value if isinstance(value, Mapping) else {"value": value} for value in values]
    return [{"prompt": f"a dog {number}", **field} for number, field in enumerate(fields)]


def fill(folder: Path, records: Sequence[Mapping[str, Any]]) -> list[Task]:
    """Fill a folder with a picture of each record of a JSONL file, and return its tasks."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    tasks = [task for task in open_tasks(io.BytesIO(lines.encode()), "jsonl") if isinstance(task, Task)]
    assert len(tasks) == len(records)
    with open_bulk_folder(folder, RUN, lambda row: None) as filled:
        for task in tasks:
            keep(filled, task)
    return tasks


def load(kind: str, cache: Path, **more: Any) -> list[dict[str, Any]]:
    """Return the rows of a dataset as the datasets library loads them."""
    import datasets

    return list(datasets.load_dataset(kind, cache_dir=str(cache), split="train", **more))


def check_metadata(texts: Iterator[str], tasks: Sequence[Task]) -> None:
    """Check that the other fields of all records are there, as they were."""
    assert [json.loads(text) for text in texts] == [dict(task.metadata) for task in tasks]


@pytest.mark.parametrize("values", FIELDS.values(), ids=FIELDS)
@pytest.mark.slow
def test_a_dataset_loads_whatever_fields_the_records_have(tmp_path: Path, values: list[Any]) -> None:
    if values == ["a.png"]:
        values = [{"file_name": "a.png"}]
    tasks = fill(tmp_path, records_of(values))
    found = load("imagefolder", tmp_path / "cache", data_dir=str(tmp_path / "dataset"))
    assert [row["prompt"] for row in found] == [task.prompt for task in tasks]
    assert {row["image"].size for row in found} == {(8, 8)}
    check_metadata((row["metadata"] for row in found), tasks)


@pytest.mark.slow
def test_a_large_dataset_loads_whose_first_rows_have_no_skill_score_or_field(tmp_path: Path) -> None:
    import datasets

    fill(tmp_path, [{"prompt": "a dog", "tag": "x" * 200_000}, {"prompt": "a dog", "tag": {"file_name": 1}}])
    path = tmp_path / "dataset/metadata.jsonl"
    row, last = rows_of(tmp_path)
    bare = msgspec.structs.replace(
        row, skill=None, requirements=tuple(msgspec.structs.replace(item, score=None) for item in row.requirements)
    )
    full = msgspec.structs.replace(
        last, skill="x", requirements=tuple(msgspec.structs.replace(item, score=0.5) for item in row.requirements)
    )
    line = msgspec.json.encode(bare)
    count = (11 << 20) // len(line)  # the library takes types from the first ten MiB
    path.write_bytes(b"\n".join([*([line] * count), msgspec.json.encode(full), b""]))
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "dataset"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert (found.num_rows, found[-1]["prompt"], found[-1]["metadata"]) == (
        count + 1, "a dog", '{"tag":{"file_name":1}}',
    )  # fmt: skip


def test_rows_of_an_earlier_version_stay_as_they_are_and_new_ones_are_like_them(tmp_path: Path) -> None:
    fill(tmp_path, [{"prompt": "a dog", "tag": "x"}])
    path = tmp_path / "dataset/metadata.jsonl"
    earlier = path.read_bytes().replace(b'"{\\"tag\\":\\"x\\"}"', b'{"tag":"x"}')
    assert b'"metadata":{"tag":"x"}' in earlier
    path.write_bytes(earlier)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(1, "a cat", metadata={"tag": "y"}))
    assert path.read_bytes().startswith(earlier)
    found = load("imagefolder", tmp_path / "cache", data_dir=str(tmp_path / "dataset"))
    assert [row["metadata"] for row in found] == [{"tag": "x"}, {"tag": "y"}]


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """Return a folder whose first rows have no skill, requirement, score or field, and whose last ones have."""
    bare = msgspec.structs.replace(PICTURE, skill=None, requirements=())
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index in range(7):
            keep(folder, Task(index, f"a dog {index}"), picture=bare)
        keep(folder, Task(7, "a dog 7", metadata={"file_name": "x", "n": 2**70}), picture=PICTURE)
    assert PICTURE.skill is not None
    return tmp_path


def export(folder: Path, shape: Shape) -> list[str]:
    """Return the paths of the shards of a folder, of at most five rows each."""
    return [str(path) for path in export_rows(all_rows_of(folder), folder / "dataset", folder / shape, shape, "png", 5)]


def test_datasets_loads_shards_of_webdataset_whose_first_samples_lack_what_later_ones_have(varied: Path) -> None:
    found = load("webdataset", varied / "cache", data_files=export(varied, "webdataset"))
    assert (
        [row["json"]["prompt"] for row in found]
        == [f"a dog {index}" for index in range(8)]
        == [row["txt"] for row in found]
    )
    assert [row["json"]["skill"] for row in found] == ["none"] * 7 + [PICTURE.skill]
    assert json.loads(found[7]["json"]["metadata"]) == {"file_name": "x", "n": 2**70}
    assert len(json.loads(found[7]["json"]["row"])["requirements"]) == len(PICTURE.requirements)
    assert {row["png"].size for row in found} == {(8, 8)}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves its files to the garbage collector
def test_webdataset_loads_its_shards(varied: Path) -> None:
    import webdataset

    found = list(webdataset.WebDataset(export(varied, "webdataset"), shardshuffle=False).decode("pil"))
    assert [(item["__key__"], item["txt"], item["png"].size) for item in found] == [
        (f"{index:08d}-0", f"a dog {index}", (8, 8)) for index in range(8)
    ]
    types = {tuple((name, type(value)) for name, value in item["json"].items()) for item in found}
    assert len(types) == 1, "every sample has the same keys with the same types"


def test_datasets_loads_pictures_of_parquet_as_images(varied: Path) -> None:
    found = load("parquet", varied / "cache", data_files=export(varied, "parquet"))
    assert all(isinstance(row["image"], Image.Image) for row in found)
    assert [row["skill"] for row in found] == ["none"] * 7 + [PICTURE.skill]
    assert json.loads(found[7]["metadata"]) == {"file_name": "x", "n": 2**70}


def test_other_readers_of_parquet_find_bytes_and_path(varied: Path) -> None:
    import duckdb
    import pandas

    paths = export(varied, "parquet")
    png = (varied / "dataset/images/00000/00000000.png").read_bytes()
    first = parquet.read_table(paths[0]).to_pylist()[0]
    assert first["image"] == {"bytes": png, "path": "00000000-0.png"}
    assert pandas.read_parquet(paths[0])["image"][0]["bytes"] == png
    query = f'select image.path, image.bytes, seed, chosen from read_parquet({paths!r}) where "index" = 0'
    assert duckdb.connect().execute(query).fetchall() == [("00000000-0.png", png, 0, True)]
    assert len({str(parquet.read_schema(path)) for path in paths}) == 1


def test_an_exported_file_of_parquet_is_input_without_its_pictures(varied: Path) -> None:
    with Path(export(varied, "parquet")[0]).open("rb") as file:
        tasks = [task for task in open_tasks(file, "parquet") if isinstance(task, Task)]
    assert [task.prompt for task in tasks] == [f"a dog {index}" for index in range(5)]
    assert {str(task.metadata["image"]) for task in tasks} == {
        str({"path": f"{index:08d}-0.png"}) for index in range(5)
    }


def test_a_dataset_with_every_attempt_loads(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, ALL, lambda row: None) as folder:
        keep(folder, Task(0, "a cat", metadata={"file_name": "x"}))
    found = load("imagefolder", tmp_path / "cache", data_dir=str(tmp_path / "dataset"))
    assert [row["chosen"] for row in found] == [False, True]
    check_metadata((row["metadata"] for row in found), [Task(0, "", metadata={"file_name": "x"})] * 2)
