"""The actor over the store: what waits together is synced together, and a question never waits for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trio

from actors.memory import Memory
from actors.memory_store.index import IndexFailedError
from actors.memory_store.log import LogEntry
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import LogError
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
)
from tests.actors.memory_store.records import begun, run_begun, story


class _Address:
    """All that memory asks of its mesh."""

    address = "ipc:///nowhere"
    role = "memory"
    routers = 1


@asynccontextmanager
async def open_memory(folder: Path) -> AsyncIterator[Memory]:
    memory = Memory(MeshConfig(data_dir=str(folder)), cast(Mesh, _Address()))
    async with memory.open():
        yield memory


def test_records_that_wait_together_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0

    async def main() -> None:
        nonlocal syncs
        async with open_memory(tmp_path) as memory:
            sync = memory._store.live.sync

            def counted() -> None:
                nonlocal syncs
                syncs += 1
                sync()

            monkeypatch.setattr(memory._store.live, "sync", counted)
            places: dict[int, int] = {}

            async def append(line: int) -> None:
                places[line] = (await memory.append(AppendRecord(record=begun("run", line)))).sequence

            async with trio.open_nursery() as nursery:
                for line in range(200):
                    nursery.start_soon(append, line)
            assert sorted(places.values()) == list(range(1, 201))
            assert memory.figures()["records"] == 200

    trio.run(main)
    assert syncs <= 3


def test_a_record_that_cannot_be_kept_is_an_error_for_each_that_waited_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_memory(tmp_path) as memory:
            with monkeypatch.context() as patch:

                def fail(data: bytes) -> int:
                    raise LogError("the disk is full")

                patch.setattr(memory._store.live, "write", fail)
                for _ in range(2):
                    with pytest.raises(LogError, match="the disk is full"):
                        await memory.append(AppendRecord(record=begun()))
            assert (await memory.append(AppendRecord(record=begun()))).sequence == 1

    trio.run(main)


def test_more_records_than_one_commit_holds_wait_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.memory.MAX_COMMIT", 3)

    async def main() -> None:
        async with open_memory(tmp_path) as memory:
            async with trio.open_nursery() as nursery:
                for line in range(20):
                    nursery.start_soon(memory.append, AppendRecord(record=begun("run", line)))
            commits = [found.commit_size for found in memory._store.live.scan() if isinstance(found, LogEntry)]
        assert len(commits) == 20
        assert max(commits) == 3

    trio.run(main)


def test_records_that_belong_together_share_a_commit_and_stand_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.memory.MAX_COMMIT", 7)

    async def main() -> None:
        async with open_memory(tmp_path) as memory:
            stories = [tuple(story("run", line)[-2:]) for line in range(20)]
            async with trio.open_nursery() as nursery:
                for records in stories:
                    nursery.start_soon(memory.append_all, AppendRecords(records=records))
            entries = [found for found in memory._store.live.scan() if isinstance(found, LogEntry)]
            kept = [decode_record(entry.body) for entry in entries]
        pairs = [tuple(kept[place : place + 2]) for place in range(0, len(kept), 2)]
        assert len(pairs) == 20
        assert all(pair in stories for pair in pairs)
        assert {entry.commit_size for entry in entries} <= {2, 4, 6}

    trio.run(main)


def test_memory_says_of_a_record_whether_anything_else_is_known_of_its_trajectory(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_memory(tmp_path) as memory:
            first, *others = story("run", 0)
            kept = [await memory.append(AppendRecord(record=record)) for record in (first, first, *others)]
            assert [appended.is_first for appended in kept] == [True, *(False for _ in (first, *others))]
            assert not (await memory.append(AppendRecord(record=run_begun("run")))).is_first

    trio.run(main)


def test_who_follows_the_log_is_told_of_a_record_as_soon_as_it_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_memory(tmp_path) as memory, trio.open_nursery() as nursery:
            found: list[int] = []

            async def follow() -> None:
                while len(found) < 20:
                    reply = await memory.read_log(ReadLog(since=len(found), wait_s=30))
                    found.extend(item.sequence for item in reply.records)

            nursery.start_soon(follow)
            for line in range(20):
                await memory.append(AppendRecord(record=begun("run", line)))
        assert found == list(range(1, 21))

    trio.run(main)


def test_who_follows_a_log_that_does_not_grow_is_answered_after_the_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_memory(tmp_path) as memory:
            began = trio.current_time()
            reply = await memory.read_log(ReadLog(since=0, wait_s=0.05))
            assert (reply.records, reply.last) == ((), 0)
            assert trio.current_time() - began >= 0.05

    trio.run(main)


def test_an_index_that_fails_ends_the_actor_and_leaves_the_question_for_its_successor(tmp_path: Path) -> None:
    answered = False

    async def ask_a_broken_index() -> None:
        nonlocal answered
        async with open_memory(tmp_path) as memory:
            await memory.append(AppendRecord(record=begun()))
            memory._store.index.connection.close()
            await memory.list_runs(ListRuns())
            answered = True

    async def main() -> None:
        with pytest.raises(IndexFailedError, match="will be rebuilt"):
            await ask_a_broken_index()
        assert not answered
        async with open_memory(tmp_path) as memory:
            assert (await memory.read(ReadTrajectory(trajectory=begun().trajectory))).task == begun().task

    trio.run(main)


def test_memory_answers_all_its_questions_over_a_mesh(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_test_mesh(Memory, config=MeshConfig(data_dir=str(tmp_path))) as mesh:
            records: list[AnyRecord] = [run_begun(), *story(), *story("run", 1, prompt="a red fox in snow")]
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

    trio.run(main)
