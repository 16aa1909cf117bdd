"""Memory of several shards answers as memory of one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from actors.memory_store.queries import answer
from actors.memory_store.scatter_gather import answer_from_all_shards, merge_recollections
from actors.memory_store.store import MemoryStore, open_memory_store
from protocol.identity import shard_of
from protocol.messages import (
    AnyRecord,
    CountRecords,
    FindBestAttempt,
    ListRuns,
    ListTrajectories,
    MemoryRequest,
    ReadLog,
    ReadTrajectory,
    RecallExperiences,
    Recollection,
    Reply,
    RunSummary,
    TrajectoryRecord,
    TrajectorySummary,
)
from tests.actors.memory_store.records import begun, failed, open_store, run_begun, story

ReplyT = TypeVar("ReplyT", bound=Reply)
SHARDS = 3


class Whole:
    """Stores that are asked together, as shards are over a mesh."""

    def __init__(self, stores: list[MemoryStore]) -> None:
        self.stores = stores
        self.asked: list[MemoryRequest[Reply]] = []

    def ask(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        return trio.run(answer_from_all_shards, request, len(self.stores), self._ask)

    async def _ask(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        assert request.shard is not None
        return answer(self.stores[request.shard], request)

    def trajectories(self, limit: int) -> list[TrajectorySummary]:
        page = self.ask(ListTrajectories(limit=limit))
        found = [*page.trajectories]
        while page.next is not None:
            page = self.ask(ListTrajectories(limit=limit, after=page.next))
            found += page.trajectories
        return found

    def runs(self, limit: int) -> list[RunSummary]:
        page = self.ask(ListRuns(limit=limit))
        found = [*page.runs]
        while page.next is not None:
            page = self.ask(ListRuns(limit=limit, before=page.next))
            found += page.runs
        return found


def records() -> Iterator[AnyRecord]:
    """Yield records of four runs, of which one was never begun, with trajectories that ended, failed and are open."""
    for run in ("a", "b", "c"):
        yield run_begun(run)
    for line in range(24):
        run = "abcd"[line % 4]
        match line % 3:
            case 0:
                yield from story(run, line, prompt=f"fox number{line} in snow")
            case 1:
                yield begun(run, line)
                yield failed(run, line)
            case _:
                yield begun(run, line)


@contextmanager
def open_whole(folder: Path, shards: int) -> Iterator[Whole]:
    """Open stores with the same records at the same times, shared out as the router does."""
    with ExitStack() as stack:
        now = 1000.0
        stores = [
            stack.enter_context(open_memory_store(folder / f"{shards}-{shard}", clock=lambda: now))
            for shard in range(shards)
        ]
        for record in records():
            now += 1.0
            owner = bytes.fromhex(record.trajectory) if isinstance(record, TrajectoryRecord) else bytes(16)
            store = stores[shard_of(owner, shards)]
            store.append([record])
        yield Whole(stores)


def test_lists_and_counts_of_several_shards_are_those_of_one_whatever_the_size_of_a_page(tmp_path: Path) -> None:
    with open_whole(tmp_path, 1) as one, open_whole(tmp_path, SHARDS) as several:
        assert all(store.last for store in several.stores)
        for limit in (1, 3, 7, 100):
            found = several.trajectories(limit)
            assert sorted(found, key=lambda item: item.began_at) == one.trajectories(100)
            assert sorted(several.runs(limit), key=lambda run: run.run) == sorted(
                one.runs(100), key=lambda run: run.run
            )
        a, b = one.ask(CountRecords()), several.ask(CountRecords())
        names = ("records", "archived", "runs", "running", "ended", "failed", "recallable")
        assert [getattr(a, name) for name in names] == [getattr(b, name) for name in names]
        assert (a.shards, b.shards) == (1, SHARDS)


def test_runs_that_shard_0_knows_come_in_the_order_of_one_shard(tmp_path: Path) -> None:
    with open_whole(tmp_path, 1) as one, open_whole(tmp_path, SHARDS) as several:
        assert [run.run for run in several.runs(2)] == [run.run for run in one.runs(100)]


def test_a_list_is_filtered_in_all_shards(tmp_path: Path) -> None:
    with open_whole(tmp_path, 1) as one, open_whole(tmp_path, SHARDS) as several:
        for request in (
            ListTrajectories(of_run="b", limit=100),
            ListTrajectories(status="failed", limit=100),
            ListTrajectories(prefix=begun("d", 7).trajectory[:9]),
        ):
            a, b = one.ask(request), several.ask(request)
            assert a.trajectories == tuple(sorted(b.trajectories, key=lambda item: item.began_at))
            assert a.trajectories
        assert several.ask(ListRuns(named=("a", "nothing"))).runs == one.ask(ListRuns(named=("a",))).runs
        assert several.ask(ListRuns(named=("nothing",))).runs == ()


def test_a_run_that_shard_0_does_not_know_is_on_the_first_page(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(tmp_path / f"{shard}")) for shard in range(SHARDS)]
        stores[2].append([begun("far")])
        found = Whole(stores).ask(ListRuns())
    assert ([run.run for run in found.runs], found.next) == (["far"], None)


def test_a_trajectory_is_found_in_whichever_shard_has_it(tmp_path: Path) -> None:
    with open_whole(tmp_path, 1) as one, open_whole(tmp_path, SHARDS) as several:
        for line in (0, 3, 6, 9):
            id_ = begun("abcd"[line % 4], line).trajectory
            assert several.ask(ReadTrajectory(trajectory=id_)) == one.ask(ReadTrajectory(trajectory=id_))
            assert several.ask(FindBestAttempt(trajectory=id_)) == one.ask(FindBestAttempt(trajectory=id_))
        nobody = ReadTrajectory(trajectory="0" * 32)
        assert several.ask(nobody) == one.ask(nobody)


def test_every_record_is_in_the_log_of_one_shard(tmp_path: Path) -> None:
    with open_whole(tmp_path, SHARDS) as several:
        logs = [several.ask(ReadLog()).records, *(answer(several.stores[n], ReadLog(shard=n)).records for n in (1, 2))]
        assert [{item.shard for item in log} for log in logs] == [{0}, {1}, {2}]
        by_time = sorted((item for log in logs for item in log), key=lambda item: item.at)
        assert [item.record for item in by_time] == [*records()]


def test_the_most_alike_of_all_shards_is_recalled_first_and_what_is_hardly_alike_is_no_evidence(tmp_path: Path) -> None:
    with open_whole(tmp_path, SHARDS) as several:
        recalled = several.ask(RecallExperiences(prompt="a fox number12 in snow"))
        alone = [answer(store, RecallExperiences(prompt="a fox number12 in snow")) for store in several.stores]
        best = max(alone, key=lambda found: found.likeness)
        assert recalled.experiences[0].prompt == "fox number12 in snow"
        assert recalled.likeness == best.likeness == recalled.experiences[0].likeness
        assert recalled.trajectories == sum(
            found.trajectories for found in alone if found.likeness >= 0.25 * best.likeness
        )


def test_shards_that_recall_nothing_recall_nothing_together() -> None:
    nothing = Recollection(experiences=(), trajectories=0, gained=0)
    assert merge_recollections((nothing, nothing), 3) == nothing
