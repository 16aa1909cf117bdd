"""Shards of memory over a mesh: each trajectory is in one shard, also after the number of shards changes."""

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
    Appended,
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
    Reply,
    RunBegun,
    Trajectories,
    TrajectoryRecord,
)
from tests.actors.memory_store.records import begun, run_begun, story

LINES = 30


def settings(folder: Path, shards: int, capacity: int | None = None) -> MeshConfig:
    roles = {"memory": RoleConfig(capacity=capacity)}
    return MeshConfig(data_dir=str(folder), memory=MemoryConfig(shards=shards), roles=roles)


def owners(folder: Path, shards: int) -> dict[str, list[int]]:
    """Return the shards that have records of each trajectory, and those with the beginning of each run."""
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


async def test_each_trajectory_is_in_one_log_and_all_logs_are_used(tmp_path: Path) -> None:
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
        assert sum(handled) == 1 + LINES * len(story())  # nothing was forwarded
    found = owners(tmp_path, 3)
    assert found.pop("run") == [0]
    assert found == {id_: homes_of(id_, (3,)) for id_ in (trajectory_id("run", line, 0) for line in range(LINES))}
    assert {shards[0] for shards in found.values()} == {0, 1, 2}


@pytest.mark.slow
async def test_trajectories_of_earlier_layouts_are_read_and_continued_where_they_are(tmp_path: Path) -> None:
    layouts = (1, 3, 2, 5)

    for stage, shards in enumerate(layouts):
        async with open_test_mesh(Memory, config=settings(tmp_path, shards)) as mesh:
            done = stage + 3
            for run in (f"run-{before}" for before in range(stage)):
                for line in range(6):
                    id_ = trajectory_id(run, line, 0)
                    assert (await mesh.ask(ReadTrajectory(trajectory=id_))).task is not None
                    assert (await mesh.ask(FindBestAttempt(trajectory=id_))).attempt is not None
                    assert await append(mesh, story(run, line)[: done + 1]) == [False] * done + [True]
            for line in range(6):
                await append(mesh, story(f"run-{stage}", line)[: done + 1])
            assert (await mesh.ask(CountRecords())).shards == max(layouts[: stage + 1])
            runs = sorted(run.run for run in (await mesh.ask(ListRuns())).runs)
            assert runs == [f"run-{n}" for n in range(stage + 1)]
    found = owners(tmp_path, 5)
    assert len(found) == 6 * len(layouts)
    for stage, shards in enumerate(layouts):
        for line in range(6):
            id_ = trajectory_id(f"run-{stage}", line, 0)
            assert found[id_] == homes_of(id_, (shards,))


async def test_requests_wait_for_a_missing_shard_if_they_need_it(tmp_path: Path) -> None:
    config = settings(tmp_path, 3)
    homes = {homes_of(trajectory_id("run", line, 0), (3,))[0]: begun("run", line) for line in range(LINES)}
    address = f"ipc://{tmp_path}/router.ipc"

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
            found: list[Reply] = []

            async def ask(request: MemoryRequest[Any]) -> None:
                found.append(await mesh.ask(request))

            async with trio.open_nursery() as waiting:
                waiting.start_soon(ask, AppendRecord(record=homes[1]))
                waiting.start_soon(ask, ListTrajectories())
                while not any(role.queued == 2 for role in (await mesh.ask(ReadStatus())).roles):
                    pass
                assert not found
                start(1)
            assert {type(reply) for reply in found} == {Appended, Trajectories}
            assert len((await mesh.ask(ListTrajectories())).trajectories) == 3


@pytest.mark.slow
async def test_shards_that_forward_as_much_as_they_may_do_not_deadlock(tmp_path: Path) -> None:
    stories = [story("run", line) for line in range(40)]

    async with open_test_mesh(Memory, config=settings(tmp_path, 2)) as mesh:
        await append_all(mesh, [records[:1] for records in stories])
    async with open_test_mesh(Memory, config=settings(tmp_path, 5, capacity=2)) as mesh:
        await append_all(mesh, [records[:2] for records in stories])
        assert (await mesh.ask(CountRecords())).records == 2 * len(stories)


async def test_records_of_a_paused_run_are_kept_by_every_shard(tmp_path: Path) -> None:
    async with open_test_mesh(Memory, config=settings(tmp_path, 3)) as mesh:
        await mesh.ask(ControlRun(run="run", action="pause"))
        with answering(Call(Header(Kind.REQUEST, run=run_bytes("run")))):
            await append_all(mesh, [story("run", line)[:1] for line in range(LINES)])
        assert (await mesh.ask(CountRecords())).records == LINES


async def test_a_shard_whose_capacity_allows_no_forwarding_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ExceptionGroup)) as caught:
        async with open_test_mesh(Memory, config=settings(tmp_path, 2, capacity=1)):
            await trio.sleep_forever()  # until a shard fails
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert str(error) == "roles.memory.capacity: expected at least 2 with several shards, got 1"


@pytest.mark.parametrize("shards", [1, 3])
async def test_a_request_to_an_unknown_shard_is_refused(tmp_path: Path, shards: int) -> None:
    async with open_test_mesh(Memory, config=settings(tmp_path, shards)) as mesh:
        requests: list[MemoryRequest[Any]] = [ReadLog(shard=9), CountRecords(shard=9)]
        requests.append(ReadTrajectory(trajectory="0" * 32, shard=9))
        for request in requests:
            with pytest.raises(RefusedError, match=f"expected a number below {shards}, got 9"):
                await mesh.ask(request)


async def test_the_log_of_each_shard_is_followed_separately(tmp_path: Path) -> None:
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
