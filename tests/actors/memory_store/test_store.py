"""Log and index together, on a real disk: acknowledged records are kept once, and never lost silently."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import apsw
import msgpack
import pytest
from structlog.testing import capture_logs

from actors.memory_store.index import IndexFailedError, StoreLimits
from actors.memory_store.index_db import remove_index
from actors.memory_store.log import HEADER_BYTES, pack_commit
from actors.memory_store.log_folder import INDEX_NAME
from actors.memory_store.store import open_memory_store
from gems_actors.errors import ConfigError, LogError
from protocol.identity import trajectory_id
from protocol.messages import AnyRecord, Experience, ExperienceKept, ListRuns, PromptPlanned
from tests.actors.memory_store.records import begun, failed, open_store, run_begun, story

ID = trajectory_id("run", 0, 0)


def records_of(folder: Path, trajectory: str = ID) -> list[AnyRecord]:
    with open_store(folder) as store:
        return [logged.record for logged in store.read(trajectory)]


def test_records_come_back_in_order_after_reopening(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.append(story()[:2]) == [(1, True), (2, True)]
        assert store.append(story()[2:3]) == [(3, True)]
        assert [logged.at for logged in store.read(ID)] == [1000.0, 1000.0, 1001.0]
    with open_store(tmp_path) as store:
        assert [logged.record for logged in store.read(ID)] == story()[:3]
        assert store.last == 3
        assert store.read(trajectory_id("other", 1, 0)) == []


def test_a_step_is_kept_once_even_within_one_batch_and_after_reopening(tmp_path: Path) -> None:
    planned, other = (PromptPlanned(trajectory=ID, prompt=prompt) for prompt in ("first", "second"))
    with open_store(tmp_path) as store:
        assert store.append([run_begun(), planned, other, run_begun()]) == [
            (1, True),
            (2, True),
            (2, False),
            (1, False),
        ]
    with open_store(tmp_path) as store:
        assert store.append([other, run_begun()]) == [(2, False), (1, False)]
        assert [logged.record for logged in store.read(ID)] == [planned]
        assert store.last == 2


def test_a_step_is_recognised_after_its_trajectory_left_the_cache(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path, limits=StoreLimits(max_cached=4)) as store:
        for line in range(20):
            store.append([*story(f"run {line}", 0), begun(f"run {line}", 1)])
        assert store.append(story("run 0", 0)) == [(sequence, False) for sequence in range(1, 9)]
        assert store.last == 20 * 9
        for line in range(20):
            store.append([failed(f"run {line}", 1)])
        assert {(run.running, run.ended, run.failed) for run in store.index.list_runs(ListRuns()).runs} == {(0, 1, 1)}
        expected = store.index.contents()
    remove_index(tmp_path / "index.db")
    with open_store(tmp_path) as store:
        assert store.index.contents() == expected


def test_failures_and_lessons_of_different_rounds_are_different_steps(tmp_path: Path) -> None:
    lessons = [ExperienceKept(trajectory=ID, experience=Experience(round=n, text="be bold")) for n in (1, 2)]
    with open_store(tmp_path) as store:
        store.append([failed(), *lessons, failed()])
    assert records_of(tmp_path) == [failed(), *lessons, failed()]


@pytest.mark.parametrize("call", ["update", "delete", "remove", "clear", "truncate", "__setitem__", "__delitem__"])
def test_there_is_no_call_that_changes_or_removes_a_record(tmp_path: Path, call: str) -> None:
    with open_store(tmp_path) as store:
        assert not hasattr(store, call)
        assert not hasattr(store.live, call)


def test_written_bytes_never_change(tmp_path: Path) -> None:
    before = b""
    for line in range(3):
        with open_store(tmp_path) as store:
            store.append(story("run", line))
            store.append(story("run", line))
        data = (tmp_path / "log").read_bytes()
        assert data.startswith(before)
        assert len(data) > len(before)
        before = data


def test_a_second_writer_is_refused_and_told_which_process_holds_the_log(tmp_path: Path) -> None:
    with (
        open_memory_store(tmp_path, note="ipc:///somewhere"),
        pytest.raises(ConfigError, match=r"expected a log that no process writes, got one held by process \d+"),
        open_memory_store(tmp_path),
    ):
        pass


def test_a_deleted_index_is_rebuilt_and_equal(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append([run_begun(), run_begun("other"), *story("run", 0)])
        for line in range(1, 40):
            store.append([*story("run" if line % 2 else "other", line, prompt=f"fox number {line}"), failed("run", 99)])
        store.append([begun("run", 100), failed("run", 100)])
        before = store.index.contents()
    assert len(before["words"]) > 40
    remove_index(tmp_path / "index.db")
    with open_store(tmp_path) as store:
        assert store.index.contents() == before


def test_an_index_from_before_the_last_records_catches_up(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story("run", 0))
    before = (tmp_path / "index.db").read_bytes()
    with open_store(tmp_path) as store:
        store.append([*story("run", 1), failed("run", 2)])
        expected = store.index.contents()
    (tmp_path / "index.db").write_bytes(before)
    with open_store(tmp_path) as store:
        assert store.index.contents() == expected
        assert store.append(story("run", 1)[:1]) == [(9, False)]


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 20, 30, 100, 5000, -5000, -1])
def test_an_index_with_a_flipped_byte_is_never_used(tmp_path: Path, at: int) -> None:
    with open_store(tmp_path) as store:
        for line in range(60):
            store.append(story("run", line, prompt=f"fox number {line}"))
        expected = store.index.contents()
    path = tmp_path / "index.db"
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    for _ in range(2):  # if the damaged page is read only later, the next opening rebuilds the index
        with suppress(IndexFailedError), open_store(tmp_path) as store:
            assert store.index.contents() == expected
            return
    raise AssertionError("the index was not rebuilt")


def test_an_index_of_another_log_is_not_used(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with open_store(tmp_path / name) as store:
            store.append(story(name))
    (tmp_path / "one" / "index.db").replace(tmp_path / "two" / "index.db")
    with open_store(tmp_path / "two") as store:
        assert len(store.read(trajectory_id("two", 0, 0))) == 8
        assert store.read(trajectory_id("one", 0, 0)) == []


def test_a_torn_last_commit_is_cut_off_saved_and_logged(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story()[:3])
        end = store.live.end
        store.index.commit()
        store.append(story()[3:])
        whole = (tmp_path / "log").read_bytes()
    for size in (end + 1, end + 40, len(whole) - 1):
        remove_index(tmp_path / "index.db")
        (tmp_path / "log").write_bytes(whole[:size])
        with capture_logs() as said, open_store(tmp_path) as store:
            assert store.last == 3
        (line,) = [line for line in said if line["event"] == "log_tail_cut"]
        assert (line["offset"], line["size"], line["after_record"]) == (end, size - end, 3)
        assert Path(line["put_aside"]).read_bytes() == whole[end:size]
        assert (tmp_path / "log").stat().st_size == end
    assert records_of(tmp_path) == story()[:3]


@pytest.mark.slow
def test_a_file_without_acknowledged_records_is_refused_with_the_offset(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for record in story()[:3]:
            store.append([record])
    data = (tmp_path / "log").read_bytes()
    for size in range(HEADER_BYTES, len(data)):
        (tmp_path / "log").write_bytes(data[:size])
        with pytest.raises(ConfigError, match=rf"record 3 to end at byte {len(data)}, got the end .* at byte {size}"):
            open_store(tmp_path).__enter__()


@pytest.mark.slow
def test_any_flipped_byte_is_reported_with_its_offset_when_the_log_is_opened(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for record in story()[:3]:
            store.append([record])
        ends = [place.offset for place in store.index.locations(ID)] + [store.live.end]
    path = tmp_path / "log"
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :])
        with pytest.raises(ConfigError) as caught:
            open_store(tmp_path).__enter__()
        assert str(path) in str(caught.value)
        if at >= HEADER_BYTES:
            place = max(end for end in ends if end <= at)
            assert f"at byte {place}," in str(caught.value)
            assert f"after record {ends.index(place)} " in str(caught.value)
    path.write_bytes(data)
    assert len(records_of(tmp_path)) == 3


def test_damage_before_a_later_commit_is_refused_even_without_an_index(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for record in story()[:4]:
            store.append([record])
        place = store.index.locations(ID)[1]
    path = tmp_path / "log"
    data = bytearray(path.read_bytes())
    data[place.offset + 50] ^= 1
    path.write_bytes(data)
    remove_index(tmp_path / "index.db")
    with pytest.raises(ConfigError, match=rf"after record 1 at byte {place.offset}, .* `gems memory repair`"):
        open_store(tmp_path).__enter__()


def test_a_record_that_is_damaged_while_the_log_is_open_is_an_error(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story())
        place = store.index.locations(ID)[3]
        with (tmp_path / "log").open("r+b") as file:
            file.seek(place.offset + 60)
            file.write(b"\xff")
        with pytest.raises(LogError, match=rf"expected record 4 at byte {place.offset}, .* checksum is wrong"):
            store.read(ID)
        store.index.close()


def test_a_trajectory_continues_despite_a_damaged_record(tmp_path: Path) -> None:
    with open_store(tmp_path, limits=StoreLimits(max_cached=2)) as store:
        store.append(story()[:4])
        place = store.index.locations(ID)[1]
        store.append([begun("run", line) for line in range(1, 4)])  # which drops the first trajectory from the cache
        with (tmp_path / "log").open("r+b") as file:
            file.seek(place.offset + 60)
            file.write(b"\xff")
        assert store.append(story()[3:5]) == [(4, False), (8, True)]
        store.index.close()


def test_a_record_of_a_later_version_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story()[:2])
        end = store.live.end
    with (tmp_path / "log").open("ab") as file:
        file.write(b"".join(pack_commit([msgpack.packb({"type": "DreamKept"})], [3], 0.0)))
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(ConfigError, match=rf"record 3 at byte {end}: expected a record, got .*DreamKept"):
        open_store(tmp_path).__enter__()
    assert (tmp_path / "log").read_bytes() == before


def test_large_logs_are_verified_newest_first_and_the_rest_later(
    tmp_path: Path,
) -> None:
    limits = StoreLimits(extent_bytes=2000, verified_at_open_bytes=4000)
    with open_store(tmp_path, limits=limits) as store:
        for line in range(20):
            store.append(story("run", line))
        size = store.live.end
    path = tmp_path / "log"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with open_store(tmp_path, limits=limits) as store:
        assert store.unverified[-1].offset == HEADER_BYTES
        assert all(store.damage_in(extent) == "" for extent in store.unverified[:-1])
        assert "byte 32" in store.damage_in(store.unverified[-1])
        verified = size - sum(extent.end - extent.offset for extent in store.unverified) - HEADER_BYTES
        assert 4000 <= verified < 10_000


def test_records_after_a_sequence_come_in_order_and_within_limits(tmp_path: Path) -> None:
    with open_store(tmp_path, limits=StoreLimits(extent_bytes=1500)) as store:
        for line in range(6):
            store.append(story("run", line))
        for since in range(49):
            found = store.read_since(since, 100, 10**9)
            assert [logged.sequence for logged in found] == list(range(since + 1, 49))
        assert [logged.sequence for logged in store.read_since(7, 2, 10**9)] == [8, 9]
        assert [logged.sequence for logged in store.read_since(7, 100, 1)] == [8]


def test_a_sqlite_library_that_can_lose_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("3.51.2", "3.40.1"):
        monkeypatch.setattr(apsw, "sqlite_lib_version", lambda version=version: version)
        with pytest.raises(ConfigError, match=rf"SQLite: expected 3\.51\.3 or later, .*, got {version}"):
            open_store(tmp_path).__enter__()


def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected a writable folder for memory: Not a directory"):
        open_store(tmp_path / "file" / "memory").__enter__()


def test_an_sqlite_file_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log") as connection:
        connection.execute("CREATE TABLE other (a)")
    connection.close()
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(ConfigError, match="begins with b'GEMSLOG1', got b'SQLite f'"):
        open_store(tmp_path).__enter__()
    assert (tmp_path / "log").read_bytes() == before


def test_an_index_that_another_process_locks_is_opened_once_it_is_free(tmp_path: Path) -> None:
    with open_memory_store(tmp_path):
        pass
    holder = apsw.Connection(str(tmp_path / INDEX_NAME))
    holder.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.2, holder.execute, ("ROLLBACK",))
    letting_go.start()
    with open_memory_store(tmp_path) as store:
        store.append([begun()])
        store.index.commit()
    letting_go.join()
    holder.close()
