"""The memory actor: group commit, failures of disk and index, and queries that wait."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import cast

import apsw
import pytest
import trio

from actors.memory import Memory
from actors.memory_store.index import IndexFailedError
from actors.memory_store.log import LogEntry, open_log_file
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import LogError, RefusedError
from gems_actors.testing import open_test_mesh
from protocol.codec import decode_record
from protocol.identity import trajectory_id
from protocol.messages import (
    AnyRecord,
    AppendRecord,
    AppendRecords,
    CountRecords,
    ListRuns,
    ReadLog,
    ReadTrajectory,
    RecallExperiences,
    RecordsLost,
    Runs,
)
from tests.actors.memory_store.records import begun, run_begun, story


class _Address:
    """The part of a mesh that memory uses when it opens."""

    address = "ipc:///nowhere"
    role = "memory"
    routers = 1


@asynccontextmanager
async def open_memory(folder: Path, *, max_commit: int = Memory.max_commit) -> AsyncIterator[Memory]:
    kind = type("SmallCommits", (Memory,), {"max_commit": max_commit})
    memory = kind(MeshConfig(data_dir=str(folder)), cast(Mesh, _Address()))
    async with memory.open():
        yield memory


def entries_of(folder: Path) -> list[LogEntry]:
    with closing(open_log_file(folder / "memory" / "log")) as log:
        return [found for found in log.scan() if isinstance(found, LogEntry)]


def count_syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the descriptors of all syncs from now on, a list that grows."""
    found: list[int] = []
    sync = os.fdatasync

    def counted(descriptor: int) -> None:
        found.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    return found


async def test_records_that_wait_together_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences: list[int] = []
    async with open_memory(tmp_path) as memory:
        syncs = count_syncs(monkeypatch)

        async def append(line: int) -> None:
            sequences.append((await memory.append(AppendRecord(record=begun("run", line)))).sequence)

        async with trio.open_nursery() as nursery:
            for line in range(200):
                nursery.start_soon(append, line)
        assert memory.figures()["records"] == 200
    assert sorted(sequences) == list(range(1, 201))
    assert 1 <= len(syncs) <= 3


async def test_a_commit_waits_for_records_that_are_still_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_memory(tmp_path) as memory:
        syncs = count_syncs(monkeypatch)

        async def append(turns: int) -> None:
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            await memory.append(AppendRecord(record=begun("run", turns)))

        async with trio.open_nursery() as nursery:
            for turns in range(40):
                nursery.start_soon(append, turns)
    assert len(syncs) <= 2


async def test_no_client_can_say_that_records_were_lost_which_would_hide_that_they_are_missing(tmp_path: Path) -> None:
    lost = RecordsLost(first=0, last=2**53 - 1, reason="none")
    async with open_memory(tmp_path) as memory:
        with pytest.raises(RefusedError, match="RecordsLost: expected a record of a run"):
            await memory.append(AppendRecord(record=lost))
        with pytest.raises(RefusedError, match="RecordsLost: expected a record of a run"):
            await memory.append_all(AppendRecords(records=(begun(), lost)))
    assert entries_of(tmp_path) == []


async def test_on_a_full_disk_every_waiting_append_fails_and_later_ones_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        f_bavail, f_frsize = 0, 4096

    async with open_memory(tmp_path) as memory:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstatvfs", lambda descriptor: FullDisk)
            for _ in range(2):
                with pytest.raises(LogError, match=r"expected at least 32 MiB free on its disk, got 0\.0"):
                    await memory.append(AppendRecord(record=begun()))
        assert (await memory.append(AppendRecord(record=begun()))).sequence == 1


async def test_records_beyond_the_limit_of_a_commit_wait_for_the_next_one(tmp_path: Path) -> None:
    async with open_memory(tmp_path, max_commit=3) as memory, trio.open_nursery() as nursery:
        for line in range(20):
            nursery.start_soon(memory.append, AppendRecord(record=begun("run", line)))
    sizes = [entry.commit_size for entry in entries_of(tmp_path)]
    assert len(sizes) == 20
    assert max(sizes) == 3


async def test_records_that_belong_together_share_a_commit_in_their_order(tmp_path: Path) -> None:
    stories = [tuple(story("run", line)[-2:]) for line in range(20)]
    async with open_memory(tmp_path, max_commit=7) as memory, trio.open_nursery() as nursery:
        for records in stories:
            nursery.start_soon(memory.append_all, AppendRecords(records=records))
    entries = entries_of(tmp_path)
    kept = [decode_record(entry.body) for entry in entries]
    pairs = [tuple(kept[first : first + 2]) for first in range(0, len(kept), 2)]
    assert len(pairs) == 20
    assert all(pair in stories for pair in pairs)
    assert {entry.commit_size for entry in entries} <= {2, 4, 6}


async def test_a_reply_says_whether_a_record_is_the_first_of_its_trajectory(tmp_path: Path) -> None:
    async with open_memory(tmp_path) as memory:
        first, *others = story("run", 0)
        kept = [await memory.append(AppendRecord(record=record)) for record in (first, first, *others)]
        assert [appended.is_first for appended in kept] == [True, *(False for _ in (first, *others))]
        assert not (await memory.append(AppendRecord(record=run_begun("run")))).is_first


async def test_a_follower_of_the_log_gets_each_record_as_soon_as_it_is_kept(tmp_path: Path) -> None:
    found: list[int] = []
    async with open_memory(tmp_path) as memory, trio.open_nursery() as nursery:

        async def follow() -> None:
            while len(found) < 20:
                reply = await memory.read_log(ReadLog(since=len(found), wait_s=30))
                found.extend(item.sequence for item in reply.records)

        nursery.start_soon(follow)
        for line in range(20):
            await memory.append(AppendRecord(record=begun("run", line)))
    assert found == list(range(1, 21))


async def test_a_follower_of_a_log_that_does_not_grow_is_answered_after_the_wait(tmp_path: Path) -> None:
    async with open_memory(tmp_path) as memory:
        began = trio.current_time()
        reply = await memory.read_log(ReadLog(since=0, wait_s=0.05))
        assert (reply.records, reply.last) == ((), 0)
        assert trio.current_time() - began >= 0.05


async def test_an_index_that_fails_ends_the_actor_and_its_successor_rebuilds_it(tmp_path: Path) -> None:
    answered: list[Runs] = []

    async def list_runs_of_a_broken_index() -> None:
        async with open_memory(tmp_path) as memory:
            await memory.append(AppendRecord(record=begun()))
            with closing(apsw.Connection(str(tmp_path / "memory" / "index.db"))) as other:
                other.execute("DROP TABLE runs")
            answered.append(await memory.list_runs(ListRuns()))

    with pytest.raises(IndexFailedError, match="will be rebuilt"):
        await list_runs_of_a_broken_index()
    assert not answered
    async with open_memory(tmp_path) as memory:
        assert (await memory.read(ReadTrajectory(trajectory=begun().trajectory))).task == begun().task


async def test_memory_answers_all_requests_over_a_mesh(tmp_path: Path) -> None:
    records: list[AnyRecord] = [run_begun(), *story(), *story("run", 1, prompt="a red fox in snow")]
    async with open_test_mesh(Memory, config=MeshConfig(data_dir=str(tmp_path))) as mesh:
        for record in records:
            await mesh.ask(AppendRecord(record=record))
        state = await mesh.ask(ReadTrajectory(trajectory=trajectory_id("run", 1, 0)))
        assert state.prompt_of(2) == "a red fox in snow, again"
        (run,) = (await mesh.ask(ListRuns())).runs
        assert (run.what, run.ended) == ("run.txt", 2)
        recalled = await mesh.ask(RecallExperiences(prompt="a fox"))
        assert recalled.trajectories == 2
        assert (await mesh.ask(CountRecords())).records == len(records)
        log = await mesh.ask(ReadLog(limit=1000))
        assert [item.record for item in log.records] == records


async def test_appends_never_wait_for_readers_however_many_wait_for_records(tmp_path: Path) -> None:
    config = MeshConfig(data_dir=str(tmp_path))
    async with open_test_mesh(Memory, config=config) as mesh, trio.open_nursery() as nursery:
        for _ in range(1_100):
            nursery.start_soon(mesh.ask, ReadLog(since=1, wait_s=300))
        await mesh.ask(CountRecords())  # behind those readers
        appended = await mesh.ask(AppendRecord(record=run_begun()))
        nursery.cancel_scope.cancel()
    assert appended.sequence == 1
