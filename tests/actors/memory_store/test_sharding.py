"""The folders of shards, and the layouts that a data folder has had."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.memory_store.sharding import LAYOUTS_NAME, note_layout, read_layouts, shard_folder, shard_of_folder
from gems_actors.errors import ConfigError
from gems_actors.shards import homes_of
from protocol.identity import trajectory_id


def test_a_folder_belongs_to_its_shard() -> None:
    for shard in range(256):
        assert shard_of_folder(shard_folder(Path("data"), shard)) == shard


def test_layouts_are_kept_in_order(tmp_path: Path) -> None:
    assert read_layouts(tmp_path) == ()
    assert [note_layout(tmp_path, shards) for shards in (3, 3, 1, 5)] == [(3,), (3,), (3, 1), (3, 1, 5)]
    assert read_layouts(tmp_path) == (3, 1, 5)


def test_memory_that_was_always_one_shard_needs_no_file(tmp_path: Path) -> None:
    assert note_layout(tmp_path, 1) == (1,)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "log").touch()
    assert note_layout(tmp_path, 1) == (1,)
    assert not (tmp_path / LAYOUTS_NAME).exists()
    assert note_layout(tmp_path, 3) == (1, 3)
    assert (tmp_path / LAYOUTS_NAME).read_text() == "1\n3\n"


def test_a_layout_cut_short_by_a_crash_does_not_count(tmp_path: Path) -> None:
    (tmp_path / LAYOUTS_NAME).write_text("1\n3\n1")
    assert read_layouts(tmp_path) == (1, 3)
    assert note_layout(tmp_path, 12) == (1, 3, 12)
    assert (tmp_path / LAYOUTS_NAME).read_text() == "1\n3\n12\n"


def test_without_the_file_all_possible_layouts_count(tmp_path: Path) -> None:
    note_layout(tmp_path, 4)
    for shard in range(4):
        shard_folder(tmp_path, shard).mkdir()
        (shard_folder(tmp_path, shard) / "log").touch()
    (tmp_path / LAYOUTS_NAME).unlink()
    assert read_layouts(tmp_path) == (1, 2, 3, 4)
    assert note_layout(tmp_path, 2) == (1, 2, 3, 4, 2)
    for line in range(50):
        id_ = trajectory_id("run", line, 0)
        assert homes_of(id_, (4,))[0] in homes_of(id_, read_layouts(tmp_path)), "it is found where it began"


@pytest.mark.parametrize("text", ["three\n", "0\n", "257\n", "\xff\n"])
def test_a_broken_layouts_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / LAYOUTS_NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"memory\.layouts: expected a number of shards up to 256 a line, got"):
        note_layout(tmp_path, 3)
