"""The newest records are shown in order, and then those that are appended."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import trio

from actors.memory import Memory
from gems_actors.app.memory.access import MemoryLocation, MeshMemory, open_memory
from gems_actors.app.memory.tail import tail_log
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.testing import open_test_mesh
from protocol.messages import AnyRecord, AppendRecord, LoggedRecord
from tests.actors.memory_store.records import begun, failed, run_begun


async def append(mesh: Mesh, records: Iterable[AnyRecord]) -> None:
    for record in records:
        await mesh.ask(AppendRecord(record=record))


async def test_records_are_followed_as_they_are_appended(tmp_path: Path) -> None:
    config = MeshConfig(data_dir=str(tmp_path))
    send, receive = trio.open_memory_channel[LoggedRecord](100)
    async with (
        open_test_mesh(Memory, config=config) as mesh,
        open_memory(MemoryLocation(config, mesh.address)) as memory,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(memory, MeshMemory)
        await append(mesh, [run_begun("a"), run_begun("b"), begun("a")])
        nursery.start_soon(partial(tail_log, memory, 2, send.send_nowait, is_following=True))
        assert [(await receive.receive()).sequence for _ in range(2)] == [2, 3]
        await append(mesh, [failed("a"), run_begun("c")])
        assert [(await receive.receive()).record for _ in range(2)] == [failed("a"), run_begun("c")]
        nursery.cancel_scope.cancel()


async def test_only_the_records_of_one_run_are_shown(tmp_path: Path) -> None:
    config = MeshConfig(data_dir=str(tmp_path))
    shown: list[LoggedRecord] = []
    async with (
        open_test_mesh(Memory, config=config) as mesh,
        open_memory(MemoryLocation(config, mesh.address)) as memory,
    ):
        await append(mesh, [run_begun("a"), run_begun("b"), begun("a"), begun("b", 1), failed("b", 1)])
        await tail_log(memory, 2, shown.append, run="b")
        assert [logged.record for logged in shown] == [begun("b", 1), failed("b", 1)]
        shown.clear()
        await tail_log(memory, 100, shown.append, run="a")
        assert [logged.record for logged in shown] == [run_begun("a"), begun("a")]
