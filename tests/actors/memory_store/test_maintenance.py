"""Maintenance of a log: check, archive, repair, garbage; never a record less."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import structs

from actors.memory_store.index import StoreLimits
from actors.memory_store.index_db import remove_index
from actors.memory_store.log import HEADER_BYTES
from actors.memory_store.maintenance import (
    Garbage,
    archive_runs,
    check_images,
    check_log,
    collect_garbage,
    export_records,
    rebuild_index,
    repair_log,
)
from gems_actors.blobs import BlobFolder
from gems_actors.errors import ConfigError, LogError
from protocol.identity import trajectory_id
from protocol.messages import AnyRecord, AttemptVerified, ImageRef, LoggedRecord, RecordsLost, RunBegun
from tests.actors.fakes import attempt
from tests.actors.memory_store.records import begun, failed, open_store, reopened, run_begun, story


def records(folder: Path, run: str | None = None) -> list[AnyRecord]:
    found = list(export_records(folder, run=run))
    assert all(isinstance(item, LoggedRecord) for item in found), found
    return [item.record for item in found if isinstance(item, LoggedRecord)]


def fill(folder: Path) -> list[AnyRecord]:
    """Write three interleaved runs: `old` and `new` are finished, `open` is not."""
    written: list[AnyRecord] = []
    with open_store(folder) as store:
        runs = (story("old", 0), story("new", 0), story("open", 0)[:-1])
        batches: list[list[AnyRecord]] = [[run_begun("old"), run_begun("new")]]
        batches += [[run[n] for run in runs if n < len(run)] for n in range(8)]
        batches.append([begun("old", 1), failed("old", 1)])
        for batch in batches:
            store.append(batch)
            written += batch
        store.append([begun("new", 1)])
        store.append([failed("new", 1)])
        written += [begun("new", 1), failed("new", 1)]
    return written


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# ------------------------------------------------------------------------------------------------------- check


def test_an_intact_log_has_no_problems(tmp_path: Path) -> None:
    written = fill(tmp_path)
    told: list[tuple[int, int]] = []
    found = check_log(tmp_path, report_progress=lambda done, total: told.append((done, total)))
    assert (found.records, found.problems, found.notes) == (len(written), [], [])
    assert found.log_bytes == (tmp_path / "log").stat().st_size


@pytest.mark.slow
def test_a_check_finds_every_flipped_byte_and_records_before_it_are_exported(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for record in story()[:3]:
            store.append([record])
        ends = [place.offset for place in store.index.locations(trajectory_id("run", 0, 0))] + [store.live.end]
    data = (tmp_path / "log").read_bytes()
    for at in range(HEADER_BYTES, len(data)):
        flip(tmp_path / "log", at)
        number = max(n for n, end in enumerate(ends) if end <= at)
        problems = check_log(tmp_path).problems
        assert any(f"at byte {ends[number]}," in problem for problem in problems), (at, problems)
        exported = list(export_records(tmp_path))
        assert [item.record for item in exported[:number] if isinstance(item, LoggedRecord)] == story()[:number]
        assert sum(isinstance(item, str) for item in exported) == 1
        (tmp_path / "log").write_bytes(data)
    assert check_log(tmp_path).problems == []


def test_a_log_that_is_shorter_than_its_index_says_is_a_problem(tmp_path: Path) -> None:
    written = fill(tmp_path)
    with open_store(tmp_path) as store:
        place = store.index.locations(trajectory_id("new", 1, 0))[-1]
    os.truncate(tmp_path / "log", place.offset)
    (problem,) = check_log(tmp_path).problems
    assert f"expected records {len(written)} to {len(written)}, which are in no file" in problem


def test_a_commit_that_is_being_written_is_only_a_note(tmp_path: Path) -> None:
    written = fill(tmp_path)
    with (tmp_path / "log").open("ab") as file:
        file.write(b"\xf1GEM half")
    found = check_log(tmp_path)
    assert found.problems == []
    assert "9 bytes after byte" in found.notes[0]
    assert records(tmp_path) == written


def test_a_log_can_be_checked_while_it_is_written(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story())
        assert check_log(tmp_path).records == 8
        assert records(tmp_path) == story()


def test_one_run_alone_can_be_exported(tmp_path: Path) -> None:
    fill(tmp_path)
    assert records(tmp_path, "old") == [run_begun("old"), *story("old", 0), begun("old", 1), failed("old", 1)]


@pytest.mark.parametrize("look", [check_log, lambda folder: list(export_records(folder)), rebuild_index])
def test_a_folder_without_a_log_is_refused_and_left_unchanged(tmp_path: Path, look) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=f"{tmp_path / 'nothing'}: expected a memory log, got none"):
        look(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# ------------------------------------------------------------------------------------------------------- pictures


async def put(blobs: BlobFolder, data: bytes) -> ImageRef:
    return await blobs.put(data, media_type="image/png", width_px=32, height_px=16)


async def fill_with_images(folder: Path, blobs: BlobFolder) -> list[ImageRef]:
    refs = [await put(blobs, f"picture {number}".encode()) for number in range(3)]
    first = begun()
    with open_store(folder) as store:
        store.append([first])
        store.append(
            [
                AttemptVerified(trajectory=first.trajectory, attempt=attempt(round_, "m", image=ref))
                for round_, ref in enumerate(refs, 1)
            ]
        )
    return refs


async def test_missing_and_damaged_pictures_are_listed(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    refs = await fill_with_images(tmp_path / "memory", blobs)
    assert await check_images(tmp_path / "memory", blobs) == []
    blobs.path_of(refs[0].digest).unlink()
    flip(blobs.path_of(refs[1].digest), 3)
    problems = await check_images(tmp_path / "memory", blobs)
    assert ["No such file" in problems[0], "digest of the picture's name" in problems[1], len(problems)] == [
        True,
        True,
        2,
    ]


async def test_garbage_is_counted_in_a_dry_run_and_removed_otherwise(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    refs = await fill_with_images(tmp_path / "memory", blobs)
    stray = await put(blobs, b"nobody's picture")
    (tmp_path / "blobs" / "partial" / "left").write_bytes(b"half")
    for is_dry_run in (True, False):
        found = collect_garbage([tmp_path / "memory"], blobs, is_dry_run=is_dry_run)
        assert (found.blobs, found.bytes, found.kept) == (2, len(b"nobody's picture") + 4, 3)
    assert not blobs.path_of(stray.digest).exists()
    assert await check_images(tmp_path / "memory", blobs) == []
    assert all(blobs.path_of(ref.digest).exists() for ref in refs)


async def test_a_picture_that_one_of_several_logs_names_is_kept(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    await fill_with_images(tmp_path / "memory", blobs)
    with open_store(tmp_path / "memory-1") as store:
        picture = attempt(1, "m", image=await put(blobs, b"named in another log"))
        store.append([begun("other"), AttemptVerified(trajectory=begun("other").trajectory, attempt=picture)])
    folders = [tmp_path / "memory", tmp_path / "memory-1"]
    assert collect_garbage(folders, blobs, is_dry_run=False) == Garbage(blobs=0, bytes=0, kept=4)


async def test_pictures_that_tasks_were_given_are_kept_and_told_when_they_are_lost(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    refs = await fill_with_images(tmp_path / "memory", blobs)
    of_begun, of_reopened, of_attempt = [await put(blobs, name.encode()) for name in ("begun", "reopened", "attempt")]
    first, again = begun("edits"), reopened("edits")
    first = structs.replace(first, task=structs.replace(first.task, references=(of_begun, refs[0])))
    again = structs.replace(again, task=structs.replace(again.task, references=(of_reopened,)))
    drawn = structs.replace(attempt(1, "m", image=refs[1]), references=(of_attempt,))
    waiting = RunBegun(run="waiting", references=(await put(blobs, b"of a job that waits"),))
    with open_store(tmp_path / "memory") as store:
        store.append([first, AttemptVerified(trajectory=first.trajectory, attempt=drawn), *story("edits")[-1:], again])
        store.append([waiting])
    assert collect_garbage([tmp_path / "memory"], blobs, is_dry_run=False) == Garbage(blobs=0, bytes=0, kept=7)
    assert await check_images(tmp_path / "memory", blobs) == []
    for lost, is_given in ((of_begun, True), (refs[0], False)):
        blobs.path_of(lost.digest).unlink()
        *_, problem = await check_images(tmp_path / "memory", blobs)
        assert lost.digest.removeprefix("sha256:") in problem
        assert problem.endswith("; it was given to a task: give the same file again") == is_given
        await put(blobs, {of_begun.digest: b"begun"}.get(lost.digest, b"picture 0"))


async def test_pictures_of_archived_runs_are_kept(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    await fill_with_images(tmp_path / "memory", blobs)
    with open_store(tmp_path / "memory") as store:
        store.append([story()[-1]])
    assert archive_runs(tmp_path / "memory", 1e12, is_dry_run=False).records == 5
    assert collect_garbage([tmp_path / "memory"], blobs, is_dry_run=False).blobs == 0
    (tmp_path / "memory" / "archive" / "0001.log").rename(tmp_path / "elsewhere.log")
    with pytest.raises(LogError, match=r"0001\.log: is missing"):
        collect_garbage([tmp_path / "memory"], blobs, is_dry_run=False)


async def test_no_picture_is_removed_while_a_record_is_unreadable_or_a_mesh_runs(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    await fill_with_images(tmp_path / "memory", blobs)
    with (
        open_store(tmp_path / "memory"),
        pytest.raises(ConfigError, match="held by process"),
    ):
        collect_garbage([tmp_path / "memory"], blobs, is_dry_run=False)
    flip(tmp_path / "memory" / "log", 80)
    with pytest.raises(LogError, match="expected to read every record before any picture is removed"):
        collect_garbage([tmp_path / "memory"], blobs, is_dry_run=False)


# ------------------------------------------------------------------------------------------------------- archives


def test_finished_runs_move_to_an_archive_and_can_still_be_read(tmp_path: Path) -> None:
    written = fill(tmp_path)
    with open_store(tmp_path) as store:
        before = {id_: store.read(id_) for id_ in {getattr(record, "trajectory", "") for record in written} if id_}
    planned = archive_runs(tmp_path, 1010.0, is_dry_run=True)
    assert (planned.path, planned.runs, planned.records) == (None, ["old"], 11)
    assert planned.kept == ["open: 1 trajectories are not finished"]
    moved = archive_runs(tmp_path, 1010.0, is_dry_run=False)
    assert (moved.path, moved.runs, moved.records) == (tmp_path / "archive" / "0001.log", ["old"], 11)
    assert moved.live_bytes_after == (tmp_path / "log").stat().st_size < moved.live_bytes_before
    assert records(tmp_path) == written
    found = check_log(tmp_path)
    assert (found.records, found.archived, found.problems, found.notes) == (len(written), 11, [], [])
    with open_store(tmp_path) as store:
        assert {id_: store.read(id_) for id_ in before} == before
        assert store.append(story("old", 0)[:1]) == [(3, False)]
        assert store.append([begun("later", 0)]) == [(len(written) + 1, True)]
        assert [item.sequence for item in store.read_since(0, 1000, 10**9)] == list(range(1, len(written) + 2))
        expected = store.index.contents()
    rebuild_index(tmp_path)
    with open_store(tmp_path) as store:
        assert store.index.contents() == expected


def test_runs_can_be_archived_repeatedly(tmp_path: Path) -> None:
    written = fill(tmp_path)
    archive_runs(tmp_path, 1010.0, is_dry_run=False)
    assert archive_runs(tmp_path, 1010.0, is_dry_run=False).path is None
    assert archive_runs(tmp_path, 1e12, is_dry_run=False).runs == ["new"]
    with open_store(tmp_path) as store:
        store.append([story("open", 0)[-1]])
    assert archive_runs(tmp_path, 1e12, is_dry_run=False).runs == ["open"]
    assert (tmp_path / "log").stat().st_size == HEADER_BYTES
    assert records(tmp_path) == [*written, story("open", 0)[-1]]
    assert check_log(tmp_path).problems == []
    with open_store(tmp_path) as store:
        assert store.append([begun("later", 0)]) == [(len(written) + 2, True)]


@pytest.mark.slow
@pytest.mark.parametrize("crash_at", range(1, 7))
def test_a_move_that_is_interrupted_anywhere_loses_and_duplicates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    written = fill(tmp_path)
    calls = 0
    sync = os.fsync

    def crash(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        sync(descriptor)
        if calls == crash_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            archive_runs(tmp_path, 1010.0, is_dry_run=False)
    assert records(tmp_path) == written
    assert check_log(tmp_path).problems == []
    with open_store(tmp_path) as store:
        assert len(store.read(trajectory_id("old", 0, 0))) == 8
    archive_runs(tmp_path, 1010.0, is_dry_run=False)
    assert records(tmp_path) == written
    found = check_log(tmp_path)
    assert (found.problems, found.notes, found.archived) == ([], [], 11)


def test_damage_in_an_archive_loses_only_the_damaged_records(tmp_path: Path) -> None:
    fill(tmp_path)
    archive_runs(tmp_path, 1010.0, is_dry_run=False)
    flip(tmp_path / "archive" / "0001.log", 80)
    assert "archive/0001.log: expected a record after record 0 at byte 32" in check_log(tmp_path).problems[0]
    remove_index(tmp_path / "index.db")
    with open_store(tmp_path) as store:
        assert len(store.read(trajectory_id("new", 0, 0))) == 8
        assert len(store.read(trajectory_id("old", 0, 0))) == 8


def test_an_archive_of_another_log_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fill(tmp_path / name)
        archive_runs(tmp_path / name, 1e12, is_dry_run=False)
    (tmp_path / "one" / "archive" / "0001.log").rename(tmp_path / "two" / "archive" / "0002.log")
    with pytest.raises(ConfigError, match=r"0002\.log: expected an archive of the log"):
        open_store(tmp_path / "two").__enter__()


# ------------------------------------------------------------------------------------------------------- repair


def test_a_log_without_damage_is_left_unchanged(tmp_path: Path) -> None:
    written = fill(tmp_path)
    before = (tmp_path / "log").read_bytes()
    assert repair_log(tmp_path, is_dry_run=False) == (None, len(written), [])
    assert (tmp_path / "log").read_bytes() == before


@pytest.mark.parametrize("has_index", [True, False])
def test_a_repaired_log_has_all_intact_records_and_records_what_is_lost(tmp_path: Path, has_index: bool) -> None:
    written = fill(tmp_path)
    with open_store(tmp_path) as store:
        place = store.index.locations(trajectory_id("new", 0, 0))[3]
    flip(tmp_path / "log", place.offset + 40)
    damaged = (tmp_path / "log").read_bytes()
    if not has_index:
        remove_index(tmp_path / "index.db")
    with pytest.raises(ConfigError, match="gems memory repair"):
        open_store(tmp_path).__enter__()
    planned = repair_log(tmp_path, is_dry_run=True)
    assert (tmp_path / "log").read_bytes() == damaged
    done = repair_log(tmp_path, is_dry_run=False)
    assert done.lost == planned.lost == [f"record {place.sequence}"]
    assert done.records == len(written) - 1
    assert done.set_aside is not None
    assert done.set_aside.read_bytes() == damaged
    *kept, last = records(tmp_path)
    assert kept == [record for n, record in enumerate(written, 1) if n != place.sequence]
    assert isinstance(last, RecordsLost)
    assert (last.first, last.last) == (place.sequence, place.sequence)
    found = check_log(tmp_path)
    assert found.problems == []
    assert found.notes == [f"records {place.sequence} to {place.sequence} were lost, and the log was repaired"]
    with open_store(tmp_path) as store:
        assert len(store.read(trajectory_id("new", 0, 0))) == 7
        assert store.append([written[place.sequence - 1]]) == [(len(written) + 2, True)]


def test_a_truncated_log_is_repaired_without_reusing_a_sequence(tmp_path: Path) -> None:
    written = fill(tmp_path)
    with open_store(tmp_path) as store:
        place = store.index.locations(trajectory_id("new", 1, 0))[0]
    os.truncate(tmp_path / "log", place.offset + 10)
    done = repair_log(tmp_path, is_dry_run=False)
    assert done.lost == [f"records {len(written) - 1} to {len(written)}"]
    with open_store(tmp_path) as store:
        assert store.append([begun("new", 1)]) == [(len(written) + 2, True)]
    assert check_log(tmp_path).problems == []


@pytest.mark.parametrize("has_index", [True, False])
def test_a_log_with_a_damaged_header_is_repaired(tmp_path: Path, has_index: bool) -> None:
    written = fill(tmp_path)
    flip(tmp_path / "log", 12)
    if not has_index:
        remove_index(tmp_path / "index.db")
    done = repair_log(tmp_path, is_dry_run=False)
    assert (done.records, done.lost) == (len(written), [])
    assert records(tmp_path) == written
    assert check_log(tmp_path).problems == []


def test_maintenance_refuses_a_folder_that_a_mesh_holds(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story())
        for work in (
            lambda: rebuild_index(tmp_path),
            lambda: repair_log(tmp_path, is_dry_run=False),
            lambda: archive_runs(tmp_path, 1e12, is_dry_run=False),
        ):
            with pytest.raises(ConfigError, match="held by process"):
                work()
        assert len(store.read(trajectory_id("run", 0, 0))) == 8


def test_records_of_a_rewritten_log_are_read_extent_by_extent(tmp_path: Path) -> None:
    written = fill(tmp_path)
    archive_runs(tmp_path, 1010.0, is_dry_run=False)
    remove_index(tmp_path / "index.db")
    with open_store(tmp_path, limits=StoreLimits(extent_bytes=600)) as store:
        assert len(store.index.extents(1)) > 3
        for since in range(len(written)):
            found = store.read_since(since, 3, 10**9)
            assert [item.sequence for item in found] == list(range(since + 1, min(since + 4, len(written) + 1)))
