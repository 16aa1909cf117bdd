"""The warm parent with real children: what they get, how their ends are told, and that nobody stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from gems_actors.config import MeshConfig, load_config
from gems_actors.supervision.zygote import Spawn, decode_command, encode
from gems_actors.supervision.zygote_client import ChildProcess, Zygote
from tests.processes import await_gone

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@asynccontextmanager
async def open_zygote() -> AsyncIterator[Zygote]:
    async with trio.open_nursery() as nursery:
        zygote = Zygote()
        nursery.start_soon(zygote.serve)
        try:
            yield zygote
        finally:
            zygote.release()


def run(test: Callable[[Zygote], Awaitable[None]]) -> None:
    """Run a test with a zygote, and see that nothing is left of it."""

    async def main() -> int:
        with trio.fail_after(20):
            async with open_zygote() as zygote:
                await test(zygote)
            return zygote.pid

    assert not await_gone({trio.run(main)})


async def spawn(
    zygote: Zygote, entry: str, *, name: str = "verifier-1", role: str = "verifier", address: str = ""
) -> ChildProcess:
    config = load_config(settings=["draw.max_rounds=3"], environment={})
    return await zygote.spawn(
        Spawn(name=name, role=role, address=address, config=config, entry=f"tests.gems_actors.child_entries:{entry}")
    )


async def code_of(child: ChildProcess) -> int | None:
    await child.ended.wait()
    return child.code


def test_a_child_gets_its_orders_and_inherits_nothing_of_the_zygote(tmp_path: Path) -> None:
    async def test(zygote: Zygote) -> None:
        child = await spawn(zygote, "repeat_its_orders", name="verifier-1.3f2a", address=str(tmp_path / "seen"))
        assert await code_of(child) == 7
        seen = json.loads((tmp_path / "seen").read_text())
        descriptors = seen.pop("descriptors")
        assert descriptors[:3] == [0, 1, 2]
        assert len(descriptors) == 5  # the life pipe, and the one that lists the folder
        assert seen == {
            "role": "verifier",
            "name": "verifier-1.3f2a",
            "max_rounds": 3,
            "leads_its_session": True,
            "comm": "gems-verifier",
            "command_line": "gems-actors: verifier verifier-1.3f2a",
            "handles_term": False,
            "handles_int": True,
            "blocked": 0,
        }

    run(test)


def test_the_zygote_has_one_thread_and_holds_what_the_roles_need() -> None:
    seen: dict[str, object] = {}

    def look(pid: int) -> None:
        seen["threads"] = len([*Path(f"/proc/{pid}/task").iterdir()])
        seen["maps"] = Path(f"/proc/{pid}/maps").read_text()

    async def test(zygote: Zygote) -> None:
        await spawn(zygote, "sleep")
        look(zygote.pid)

    run(test)
    assert seen["threads"] == 1
    assert all(library in str(seen["maps"]) for library in ("/zmq/", "/PIL/", "/apsw/"))


def test_an_end_is_told_with_its_exit_code_or_signal() -> None:
    async def test(zygote: Zygote) -> None:
        assert await code_of(await spawn(zygote, "end_at_once", name="a")) == 0
        assert await code_of(await spawn(zygote, "crash", name="b")) == 1
        assert await code_of(await spawn(zygote, "no_such_function", name="c")) == 1
        sleeper = await spawn(zygote, "sleep", name="d")
        await zygote.signal("d", signal.SIGTERM)
        assert await code_of(sleeper) == -signal.SIGTERM

    run(test)


def test_no_end_is_missed_when_many_come_at_once() -> None:
    async def test(zygote: Zygote) -> None:
        children = [await spawn(zygote, "sleep", name=f"verifier-{number}") for number in range(40)]
        for child in children:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        assert [await code_of(child) for child in children] == [-signal.SIGKILL] * 40

    run(test)


def test_a_signal_to_a_child_that_has_ended_does_nothing() -> None:
    async def test(zygote: Zygote) -> None:
        await code_of(await spawn(zygote, "end_at_once", name="a"))
        await zygote.signal("a", signal.SIGKILL, group=True)
        assert await code_of(await spawn(zygote, "end_at_once", name="b")) == 0

    run(test)


def test_a_signal_reaches_a_child_that_was_asked_for_a_moment_ago() -> None:
    async def test(zygote: Zygote) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spawn, zygote, "sleep")
            await trio.testing.wait_all_tasks_blocked()
            await zygote.signal("verifier-1", signal.SIGKILL, group=True)

    run(test)


def test_what_a_child_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    async def test(zygote: Zygote) -> None:
        await code_of(await spawn(zygote, "leave_a_grandchild", address=str(tmp_path / "pid")))
        assert not await_gone({int((tmp_path / "pid").read_text())})

    run(test)


def test_children_end_with_a_zygote_that_is_killed() -> None:
    async def test(zygote: Zygote) -> None:
        children = [await spawn(zygote, "sleep", name="a"), await spawn(zygote, "sleep", name="b", role="deaf")]
        os.kill(zygote.pid, signal.SIGKILL)
        assert [await code_of(child) for child in children] == [None, None]
        assert zygote.gone.is_set()
        assert not await_gone({child.pid for child in children if child.pid is not None})
        lost = await spawn(zygote, "sleep", name="c")
        assert lost.pid is None
        assert lost.ended.is_set()

    run(test)


def test_children_end_with_a_zygote_that_is_released() -> None:
    pids: list[int] = []

    async def test(zygote: Zygote) -> None:
        child = await spawn(zygote, "sleep")
        assert child.pid is not None
        pids.append(child.pid)

    run(test)
    assert not await_gone({*pids})


def test_a_role_that_cannot_be_imported_is_said_in_one_line_with_exit_code_78(tmp_path: Path) -> None:
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "__init__.py").write_text("")
    command = [sys.executable, "-P", "-m", "gems_actors.supervision.zygote", "3", "4", str(os.getpid())]
    ended = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 78
    assert ended.stderr == "gems: zygote: ModuleNotFoundError: No module named 'actors.conductor'\n"


def test_all_settings_survive_the_way_to_the_child() -> None:
    command = Spawn(name="a", role="b", address="c", config=MeshConfig(data_dir="/d"), entry="e:f")
    assert decode_command(encode(command)) == command
