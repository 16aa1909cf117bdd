"""Shards of memory over a mesh: each trajectory is kept in one place, also when the number of shards changes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.memory import Memory
from actors.memory_store.maintenance import export_records
from actors.memory_store.sharding import shard_folder
from gems_actors.actor import serve_actor
from gems_actors.call_context import Call, answering
from gems_actors.client import Mesh, open_client
from gems_actors.config import MemoryConfig, MeshConfig, RoleConfig
from gems_actors.errors import ConfigError, RefusedError
from gems_actors.router.server import serve_router
from gems_actors.shards import homes_of, role_of_shard
from gems_actors.tasks import open_background
from gems_actors.testing import open_test_mesh
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes, trajectory_id
from protocol.messages import (
    AnyRecord,
    AppendRecord,
    ControlRun,
    CountRecords,
    FindBestAttempt,
    ListRuns,
    ListTrajectories,
    LoggedRecord,
    MemoryRequest,
    ReadLog,
    ReadStatus,
    ReadTrajectory,
    RunBegun,
    TrajectoryRecord,
)
from tests.actors.memory_store.records import begun, run_begun, story

LINES = 30


def settings(folder: Path, shards: int, capacity: int | None = None) -> MeshConfig:
    roles = {"memory": RoleConfig(capacity=capacity)}
    return MeshConfig(data_dir=str(folder), memory=MemoryConfig(shards=shards), roles=roles)


def keepers(folder: Path, shards: int) -> dict[str, list[int]]:
    """Return the shards that have records of each trajectory, and those that have the beginning of each run."""
    found: dict[str, set[int]] = {}
    for shard in range(shards):
        for item in export_records(shard_folder(folder, shard)):
            assert isinstance(item, LoggedRecord)
            match item.record:
                case TrajectoryRecord(trajectory=name) | RunBegun(run=name):
                    found.setdefault(name, set()).add(shard)
    return {name: sorted(shards) for name, shards in found.items()}


async def append(mesh: Mesh, records: Sequence[AnyRecord]) -> list[bool]:
    return [(await mesh.ask(AppendRecord(record=record))).is_new for record in records]


async def append_all(mesh: Mesh, stories: Sequence[Sequence[AnyRecord]]) -> None:
    async with trio.open_nursery() as nursery:
        for records in stories:
            nursery.start_soon(append, mesh, records)


def test_each_trajectory_is_in_one_log_and_all_logs_are_used(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, 3)) as mesh:
            await append(mesh, [run_begun()])
            await append_all(mesh, [story("run", line) for line in range(LINES)])
            roles = {status.role: status for status in (await mesh.ask(ReadStatus())).roles}
            assert {"memory", "memory_1", "memory_2"} <= roles.keys()
            (run,) = (await mesh.ask(ListRuns())).runs
            assert (run.ended, run.total) == (LINES, 2)
            assert len((await mesh.ask(ListTrajectories(limit=1000))).trajectories) == LINES
            assert (await mesh.ask(CountRecords())).records == 1 + LINES * len(story())
            handled = [actor.handled for name in ("memory", "memory_1", "memory_2") for actor in roles[name].actors]
            assert sum(handled) == 1 + LINES * len(story())  # nothing was passed on

    trio.run(main)
    found = keepers(tmp_path, 3)
    assert found.pop("run") == [0]
    assert found == {id_: homes_of(id_, (3,)) for id_ in (trajectory_id("run", line, 0) for line in range(LINES))}
    assert {shards[0] for shards in found.values()} == {0, 1, 2}


def test_what_was_begun_in_other_layouts_is_read_and_goes_on_where_it_is(tmp_path: Path) -> None:
    layouts = (1, 3, 2, 5)

    async def stage(place: int, shards: int) -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, shards)) as mesh:
            for before in range(place):
                for line in range(6):
                    records = story(f"run-{before}", line)
                    id_ = trajectory_id(f"run-{before}", line, 0)
                    assert (await mesh.ask(ReadTrajectory(trajectory=id_))).task is not None
                    assert (await mesh.ask(FindBestAttempt(trajectory=id_))).attempt is not None
                    done = before + 4 + place - before - 1
                    assert await append(mesh, records[: done + 1]) == [False] * done + [True]
            for line in range(6):
                await append(mesh, story(f"run-{place}", line)[: place + 4])
            assert (await mesh.ask(CountRecords())).shards == max(layouts[: place + 1])
            assert sorted(run.run for run in (await mesh.ask(ListRuns())).runs) == [
                f"run-{n}" for n in range(place + 1)
            ]

    for place, shards in enumerate(layouts):
        trio.run(stage, place, shards)
    found = keepers(tmp_path, 5)
    assert len(found) == 6 * len(layouts)
    for place, shards in enumerate(layouts):
        for line in range(6):
            id_ = trajectory_id(f"run-{place}", line, 0)
            assert found[id_] == homes_of(id_, (shards,))


def test_a_shard_that_is_away_delays_its_own_trajectories_and_what_is_asked_of_all(tmp_path: Path) -> None:
    config = settings(tmp_path, 3)
    homes = {homes_of(trajectory_id("run", line, 0), (3,))[0]: begun("run", line) for line in range(LINES)}
    address = f"ipc://{tmp_path}/router.ipc"

    async def main() -> None:
        async with open_background() as nursery:

            def start(shard: int) -> None:
                serve = partial(serve_actor, partial(Memory, config), address, f"memory-{shard}")
                nursery.start_soon(partial(serve, role=role_of_shard(shard)))

            await nursery.start(serve_router, [address], config.router, 3)
            start(0)
            start(2)
            async with open_client(address) as mesh:
                for shard in (0, 2):
                    assert (await mesh.ask(AppendRecord(record=homes[shard]))).is_new
                waiting: list[MemoryRequest[Any]] = [AppendRecord(record=homes[1]), ListTrajectories()]
                for request in waiting:
                    with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
                        await mesh.ask(request)
                start(1)
                assert await append(mesh, [homes[1]]) == [True]
                assert len((await mesh.ask(ListTrajectories())).trajectories) == 3

    trio.run(main)


def test_shards_that_pass_on_more_than_they_may_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    stories = [story("run", line) for line in range(40)]

    async def begin() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, 2)) as mesh:
            await append_all(mesh, [records[:1] for records in stories])

    async def go_on() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, 5, capacity=2)) as mesh:
            with trio.fail_after(20):
                await append_all(mesh, [records[:2] for records in stories])
            assert (await mesh.ask(CountRecords())).records == 2 * len(stories)

    trio.run(begin)
    trio.run(go_on)


def test_what_was_done_in_a_run_that_is_paused_is_kept_by_every_shard(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, 3)) as mesh:
            await mesh.ask(ControlRun(run="run", action="pause"))
            with trio.fail_after(10), answering(Call(Header(Kind.REQUEST, run=run_bytes("run")))):
                await append_all(mesh, [story("run", line)[:1] for line in range(LINES)])
            assert (await mesh.ask(CountRecords())).records == LINES

    trio.run(main)


def test_a_shard_that_can_pass_on_nothing_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, 2, capacity=1)):
            pass

    with pytest.raises((ConfigError, ExceptionGroup)) as caught:
        trio.run(main)
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert str(error) == "roles.memory.capacity: expected at least 2 where memory is several shards, got 1"


@pytest.mark.parametrize("shards", [1, 3])
def test_a_shard_that_is_none_is_refused(tmp_path: Path, shards: int) -> None:
    async def main() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, shards)) as mesh:
            requests: list[MemoryRequest[Any]] = [ReadLog(shard=9), CountRecords(shard=9)]
            requests.append(ReadTrajectory(trajectory="0" * 32, shard=9))
            for request in requests:
                with pytest.raises(RefusedError, match=f"expected a number below {shards}, got 9"):
                    await mesh.ask(request)

    trio.run(main)


def test_the_log_of_each_shard_is_followed_by_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_test_mesh(Memory, config=settings(tmp_path, 3)) as mesh:
            found: list[AnyRecord] = []
            wanted = LINES * len(story())

            async def follow(shard: int, enough: trio.CancelScope) -> None:
                since = 0
                while True:
                    for item in (await mesh.ask(ReadLog(shard=shard, since=since, wait_s=30))).records:
                        assert (item.shard, item.sequence) == (shard, since + 1)
                        since = item.sequence
                        found.append(item.record)
                    if len(found) == wanted:
                        enough.cancel()

            async with trio.open_nursery() as nursery:
                for shard in range(3):
                    nursery.start_soon(partial(follow, shard, nursery.cancel_scope))
                await append_all(mesh, [story("run", line) for line in range(LINES)])
            assert len({(getattr(r, "trajectory", ""), repr(r)) for r in found}) == wanted

    trio.run(main)
