"""Datasets exported as shards, read with the libraries that training uses."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from itertools import groupby
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from gems_actors.app.bulk.export import Shape, export_rows
from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.rows import all_rows_of, rows_of
from gems_actors.app.bulk.tasks import Source, Task
from gems_actors.app.picture_files import OutputError
from tests.gems_actors.app.bulk.test_folder import ALL, RUN, keep
from tests.gems_actors.cli.commands import run_gems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as filled:
        for index in range(5):
            keep(filled, Task(index, f"prompt {index}", metadata={"tag": index}))
        keep(filled, Task(5, "sampled"), sample=3)
    return tmp_path


def test_webdataset_shards_have_picture_prompt_and_row_of_each_sample(folder: Path) -> None:
    target = folder / "wds"
    paths = list(export_rows(rows_of(folder), folder / "dataset", target, "webdataset", "png", 4))
    assert [path.name for path in paths] == ["00000.tar", "00001.tar"]
    samples = {}
    for path in paths:
        with tarfile.open(path) as shard:
            for key, members in groupby(shard.getmembers(), key=lambda member: member.name.split(".")[0]):
                found = {member.name.split(".", 1)[1]: shard.extractfile(member) for member in members}
                samples[key] = {name: file.read() for name, file in found.items() if file is not None}
    assert list(samples) == [*(f"{index:08d}-0" for index in range(5)), "00000005-3"]
    first = samples["00000002-0"]
    assert first["png"] == (folder / "dataset/images/00000/00000002.png").read_bytes()
    columns = json.loads(first["json"])
    assert (first["txt"], json.loads(columns["metadata"])) == (b"prompt 2", {"tag": 2})
    assert columns["row"] == (folder / "dataset/metadata.jsonl").read_text().splitlines()[2]


def test_parquet_shards_contain_the_pictures(folder: Path) -> None:
    (path,) = export_rows(rows_of(folder), folder / "dataset", folder / "parquet", "parquet", "webp", 1000)
    rows = parquet.read_table(path).to_pylist()
    assert [(row["index"], row["sample"]) for row in rows] == [*((index, 0) for index in range(5)), (5, 3)]
    with Image.open(io.BytesIO(rows[1]["image"]["bytes"])) as picture:
        assert (picture.format, picture.size) == ("WEBP", (8, 8))
    assert rows[1]["image"]["path"] == "00000001-0.webp"
    assert json.loads(rows[1]["row"])["prompt"] == rows[1]["prompt"] == "prompt 1"


@pytest.mark.parametrize("shape", ["webdataset", "parquet"])
def test_a_picture_that_was_drawn_from_others_names_them_with_their_digests(tmp_path: Path, shape: Shape) -> None:
    sources = tuple(Source("image", f"in/{name}.png", digest=name * 64) for name in ("a", "b"))
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as filled:
        keep(filled, Task(0, "a dog", references=sources))
        keep(filled, Task(1, "a cat"))
    (path,) = export_rows(rows_of(tmp_path), tmp_path / "dataset", tmp_path / "shards", shape, "png", 1000)
    if shape == "parquet":
        rows = parquet.read_table(path).to_pylist()
    else:
        with tarfile.open(path) as shard:
            files = [shard.extractfile(member) for member in shard.getmembers() if member.name.endswith(".json")]
            rows = [json.loads(file.read()) for file in files if file is not None]
    given = [{"path": f"in/{name}.png", "digest": f"sha256:{name * 64}"} for name in ("a", "b")]
    assert [json.loads(row["references"]) for row in rows] == [given, []]


def test_another_attempt_has_its_own_key_and_is_marked_as_not_chosen(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, ALL, lambda row: None) as filled:
        keep(filled, Task(7, "a cat"))
    (path,) = export_rows(all_rows_of(tmp_path), tmp_path / "dataset", tmp_path / "parquet", "parquet", "webp", 1000)
    rows = parquet.read_table(path).to_pylist()
    assert [(row["image"]["path"], row["chosen"]) for row in rows] == [
        ("00000007-0-r1c1.webp", False),
        ("00000007-0.webp", True),
    ]
    copied = (tmp_path / "dataset/images/00000/00000007-r1c1.webp").read_bytes()
    assert rows[0]["image"]["bytes"] == copied, "a picture in the wanted format is not encoded again"


def test_a_missing_picture_is_named_and_no_partial_shard_is_left(folder: Path) -> None:
    (folder / "dataset/images/00000/00000004.png").unlink()
    with pytest.raises(OutputError, match=r"00001\.tar: .*00000004\.png"):
        list(export_rows(rows_of(folder), folder / "dataset", folder / "wds", "webdataset", "jpeg", 3))
    assert [path.name for path in (folder / "wds").iterdir()] == ["00000.tar"]


@pytest.mark.parametrize("shape", ["webdataset", "parquet"])
def test_an_export_that_fails_leaves_no_folder_behind(folder: Path, shape: Shape) -> None:
    (folder / "dataset/images/00000/00000000.png").unlink()
    with pytest.raises(OutputError, match="00000000"):
        list(export_rows(rows_of(folder), folder / "dataset", folder / "new", shape, "png", 3))
    assert not (folder / "new").exists()


def test_without_pyarrow_nothing_is_created(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"Parquet needs pyarrow: pip install 'gems-actors\[parquet\]'"):
        list(export_rows(rows_of(folder), folder / "dataset", folder / "new", "parquet", "png", 3))
    assert not (folder / "new").exists()


def test_surplus_shards_of_an_earlier_export_are_removed(folder: Path) -> None:
    for per_shard, count in ((1, 6), (4, 2)):
        list(export_rows(rows_of(folder), folder / "dataset", folder / "wds", "webdataset", "png", per_shard))
        assert len(list((folder / "wds").iterdir())) == count


def test_without_pictures_nothing_is_exported_and_nothing_removed(folder: Path) -> None:
    (folder / "wds").mkdir()
    (folder / "wds/00000.tar").touch()
    with pytest.raises(OutputError, match="expected pictures to export, got none"):
        list(export_rows(iter(()), folder / "dataset", folder / "wds", "webdataset", "png", 3))
    assert (folder / "wds/00000.tar").exists()


def test_a_file_in_place_of_the_target_folder_is_named(folder: Path) -> None:
    (folder / "wds").touch()
    with pytest.raises(OutputError, match=r"wds/00000\.tar: expected to write 3 pictures, got: .*File exists"):
        list(export_rows(rows_of(folder), folder / "dataset", folder / "wds", "webdataset", "png", 3))


@pytest.mark.slow
def test_the_command_prints_the_paths_of_the_shards(folder: Path) -> None:
    done = run_gems(folder, "bulk", "export", ".", "--as", "webdataset", "--pictures", "jpeg")
    assert (done.returncode, done.stdout) == (0, "webdataset/00000.tar\n")
    refused = run_gems(folder, "bulk", "export", ".", "--as", "zip")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "expected one of webdataset, parquet, got 'zip'" in refused.stderr
