"""Memory with several shards gives the same answers as memory with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

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
    ReadRunFigures,
    ReadTrajectory,
    RecallExperiences,
    Recollection,
    Reply,
    RunSummary,
    SearchTrajectories,
    TrajectoryRecord,
    TrajectorySummary,
)
from tests.actors.memory_store.records import begun, failed, open_store, run_begun, story

ReplyT = TypeVar("ReplyT", bound=Reply)
SHARDS = 3


class ShardedStores:
    """Stores that answer together, like the shards of a mesh."""

    def __init__(self, stores: list[MemoryStore]) -> None:
        self.stores = stores
        self.asked: list[MemoryRequest[Reply]] = []

    async def ask(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        return await answer_from_all_shards(request, len(self.stores), self._ask)

    async def _ask(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        assert request.shard is not None
        return answer(self.stores[request.shard], request)

    async def trajectories(self, limit: int) -> list[TrajectorySummary]:
        page = await self.ask(ListTrajectories(limit=limit))
        found = [*page.trajectories]
        while page.next is not None:
            page = await self.ask(ListTrajectories(limit=limit, after=page.next))
            found += page.trajectories
        return found

    async def runs(self, limit: int) -> list[RunSummary]:
        page = await self.ask(ListRuns(limit=limit))
        found = [*page.runs]
        while page.next is not None:
            page = await self.ask(ListRuns(limit=limit, before=page.next))
            found += page.runs
        return found


def records() -> Iterator[AnyRecord]:
    """Yield records of four runs, one without `RunBegun`, with ended, failed and running trajectories."""
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
def open_shards(folder: Path, shards: int) -> Iterator[ShardedStores]:
    """Open stores with the same records at the same times, distributed like the router does."""
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
        yield ShardedStores(stores)


async def test_lists_and_counts_are_those_of_one_shard_for_any_page_size(tmp_path: Path) -> None:
    with open_shards(tmp_path, 1) as one, open_shards(tmp_path, SHARDS) as several:
        assert all(store.last for store in several.stores)
        for limit in (1, 3, 7, 100):
            found = await several.trajectories(limit)
            assert sorted(found, key=lambda item: item.began_at) == await one.trajectories(100)
            assert sorted(await several.runs(limit), key=lambda run: run.run) == sorted(
                await one.runs(100), key=lambda run: run.run
            )
        a, b = await one.ask(CountRecords()), await several.ask(CountRecords())
        names = ("records", "archived", "runs", "running", "ended", "failed", "recallable")
        assert [getattr(a, name) for name in names] == [getattr(b, name) for name in names]
        assert (a.shards, b.shards) == (1, SHARDS)


async def test_runs_in_shard_0_are_in_the_order_of_one_shard(tmp_path: Path) -> None:
    with open_shards(tmp_path, 1) as one, open_shards(tmp_path, SHARDS) as several:
        assert [run.run for run in await several.runs(2)] == [run.run for run in await one.runs(100)]


async def test_a_list_is_filtered_in_all_shards(tmp_path: Path) -> None:
    with open_shards(tmp_path, 1) as one, open_shards(tmp_path, SHARDS) as several:
        for request in (
            ListTrajectories(of_run="b", limit=100),
            ListTrajectories(status="failed", limit=100),
            ListTrajectories(prefix=begun("d", 7).trajectory[:9]),
        ):
            a, b = await one.ask(request), await several.ask(request)
            assert a.trajectories == tuple(sorted(b.trajectories, key=lambda item: item.began_at))
            assert a.trajectories
        assert (await several.ask(ListRuns(named=("a", "nothing")))).runs == (
            await one.ask(ListRuns(named=("a",)))
        ).runs
        assert (await several.ask(ListRuns(named=("nothing",)))).runs == ()


async def test_a_search_and_the_figures_of_a_run_are_those_of_one_shard(tmp_path: Path) -> None:
    with open_shards(tmp_path, 1) as one, open_shards(tmp_path, SHARDS) as several:
        everything = (await one.ask(SearchTrajectories(words="fox", limit=1000))).trajectories
        for limit in (1, 3, 100):
            found: list[TrajectorySummary] = []
            page = await several.ask(SearchTrajectories(words="fox", limit=limit))
            while page.next is not None:
                found += page.trajectories
                page = await several.ask(SearchTrajectories(words="fox", limit=limit, before=page.next))
            found += page.trajectories
            assert sorted(found, key=lambda item: item.began_at) == [*reversed(everything)]
        for run in ("a", "b", "d", "nothing"):
            assert await several.ask(ReadRunFigures(of_run=run)) == await one.ask(ReadRunFigures(of_run=run))
        assert (await one.ask(ReadRunFigures(of_run="b"))).ended > 1


async def test_a_run_that_is_not_in_shard_0_is_on_the_first_page(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(tmp_path / f"{shard}")) for shard in range(SHARDS)]
        stores[2].append([begun("far")])
        found = await ShardedStores(stores).ask(ListRuns())
    assert ([run.run for run in found.runs], found.next) == (["far"], None)


async def test_a_trajectory_is_found_in_any_shard(tmp_path: Path) -> None:
    with open_shards(tmp_path, 1) as one, open_shards(tmp_path, SHARDS) as several:
        for line in (0, 3, 6, 9):
            id_ = begun("abcd"[line % 4], line).trajectory
            assert await several.ask(ReadTrajectory(trajectory=id_)) == await one.ask(ReadTrajectory(trajectory=id_))
            assert await several.ask(FindBestAttempt(trajectory=id_)) == await one.ask(FindBestAttempt(trajectory=id_))
        nobody = ReadTrajectory(trajectory="0" * 32)
        assert await several.ask(nobody) == await one.ask(nobody)


async def test_every_record_is_in_the_log_of_one_shard(tmp_path: Path) -> None:
    with open_shards(tmp_path, SHARDS) as several:
        logs = [
            (await several.ask(ReadLog())).records,
            *(answer(several.stores[n], ReadLog(shard=n)).records for n in (1, 2)),
        ]
        assert [{item.shard for item in log} for log in logs] == [{0}, {1}, {2}]
        by_time = sorted((item for log in logs for item in log), key=lambda item: item.at)
        assert [item.record for item in by_time] == [*records()]


async def test_the_most_similar_prompt_of_all_shards_is_recalled_first(tmp_path: Path) -> None:
    with open_shards(tmp_path, SHARDS) as several:
        recalled = await several.ask(RecallExperiences(prompt="a fox number12 in snow"))
        alone = [answer(store, RecallExperiences(prompt="a fox number12 in snow")) for store in several.stores]
        best = max(alone, key=lambda found: found.likeness)
        assert recalled.experiences[0].prompt == "fox number12 in snow"
        assert recalled.likeness == best.likeness == recalled.experiences[0].likeness
        assert recalled.trajectories == sum(
            found.trajectories for found in alone if found.likeness >= 0.25 * best.likeness
        )


def test_empty_recollections_merge_to_an_empty_one() -> None:
    nothing = Recollection(experiences=(), trajectories=0, gained=0)
    assert merge_recollections((nothing, nothing), 3) == nothing
