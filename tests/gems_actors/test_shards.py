"""The names and homes of shards, and the layouts that a data folder has had."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.errors import ConfigError
from gems_actors.shards import (
    LAYOUTS_NAME,
    address_of_shard,
    homes_of,
    note_layout,
    read_layouts,
    role_of_shard,
    shard_folder,
    shard_of_folder,
    shard_of_role,
    to_shard,
)
from protocol.envelope import Header, Kind
from protocol.identity import trajectory_id


def test_a_shard_is_found_by_its_role_and_by_its_folder() -> None:
    for shard in range(256):
        assert shard_of_role(role_of_shard(shard)) == shard
        assert shard_of_role(address_of_shard(shard)) == shard
        assert shard_of_folder(shard_folder(Path("data"), shard)) == shard
    assert [shard_of_role(role) for role in ("memory_256", "memory_", "memory_x", "verifier")] == [None] * 4


def test_a_request_goes_to_the_home_of_its_trajectory_unless_it_names_a_shard() -> None:
    for line in range(50):
        id_ = trajectory_id("run", line, 0)
        header = Header(Kind.REQUEST, role="memory", trajectory=bytes.fromhex(id_))
        assert to_shard(header, 1) == header
        assert shard_of_role(to_shard(header, 3).role) == homes_of(id_, (3,))[0]
        for shards in (1, 3):
            assert to_shard(header._replace(role="memory_0"), shards).role == "memory"
            assert to_shard(header._replace(role="memory_2"), shards).role == "memory_2"
            assert to_shard(header._replace(role="verifier"), shards).role == "verifier"


def test_the_homes_of_a_trajectory_begin_with_the_present_one() -> None:
    for line in range(50):
        id_ = trajectory_id("run", line, 0)
        of_three, of_five = homes_of(id_, (3,)), homes_of(id_, (5,))
        assert homes_of(id_, (1,)) == [0]
        assert homes_of(id_, (1, 3, 1, 5)) == list(dict.fromkeys([*of_five, 0, *of_three]))


def test_a_folder_knows_its_layouts_in_their_order(tmp_path: Path) -> None:
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


def test_a_layout_that_a_crash_cut_short_was_never_one(tmp_path: Path) -> None:
    (tmp_path / LAYOUTS_NAME).write_text("1\n3\n1")
    assert read_layouts(tmp_path) == (1, 3)
    assert note_layout(tmp_path, 12) == (1, 3, 12)
    assert (tmp_path / LAYOUTS_NAME).read_text() == "1\n3\n12\n"


def test_layouts_that_are_lost_are_all_that_may_have_been(tmp_path: Path) -> None:
    note_layout(tmp_path, 4)
    for shard in range(4):
        shard_folder(tmp_path, shard).mkdir()
        (shard_folder(tmp_path, shard) / "log").touch()
    (tmp_path / LAYOUTS_NAME).unlink()
    assert read_layouts(tmp_path) == (1, 2, 3, 4)
    assert note_layout(tmp_path, 2) == (1, 2, 3, 4, 2)
    for line in range(50):
        id_ = trajectory_id("run", line, 0)
        assert homes_of(id_, (4,))[0] in homes_of(id_, read_layouts(tmp_path)), "it is found where it was begun"


@pytest.mark.parametrize("text", ["three\n", "0\n", "257\n", "\xff\n"])
def test_layouts_that_are_none_are_said(tmp_path: Path, text: str) -> None:
    (tmp_path / LAYOUTS_NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"memory\.layouts: expected a number of shards up to 256 a line, got"):
        note_layout(tmp_path, 3)
