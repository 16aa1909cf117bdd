"""The fork server with real children: what they inherit, how their ends are reported, and that none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from gems_actors.config import MeshConfig, load_config
from gems_actors.supervision.zygote import Spawn, decode_command, encode
from gems_actors.supervision.zygote_client import ChildProcess, Zygote
from gems_actors.supervision.zygote_process import start_zygote
from tests.processes import await_gone

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _children_can_import_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@asynccontextmanager
async def open_zygote() -> AsyncIterator[Zygote]:
    """Start a zygote, and check afterwards that it is gone."""
    async with trio.open_nursery() as nursery:
        zygote = Zygote(start_zygote())
        nursery.start_soon(zygote.serve)
        try:
            yield zygote
        finally:
            zygote.release()
    assert not await_gone({zygote.pid})


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


@pytest.mark.slow
async def test_a_child_gets_its_arguments_and_inherits_nothing_else(tmp_path: Path) -> None:
    async with open_zygote() as zygote:
        child = await spawn(zygote, "write_what_it_inherited", name="verifier-1.3f2a", address=str(tmp_path / "seen"))
        assert await code_of(child) == 7
        seen = json.loads((tmp_path / "seen").read_text())
        descriptors = seen.pop("descriptors")
        assert descriptors[:3] == [0, 1, 2]
        assert len(descriptors) == 5  # the life pipe, and the one that lists /proc/self/fd
        assert seen == {
            "role": "verifier",
            "name": "verifier-1.3f2a",
            "max_rounds": 3,
            "leads_its_session": True,
            "comm": "gems-verifier",
            "command_line": "gems-actors: verifier verifier-1.3f2a",
            "handles_term": False,
            "handles_int": True,
            "has_rich": False,
            "blocked": 0,
        }


@pytest.mark.slow
async def test_the_zygote_has_one_thread_and_preloads_what_roles_need() -> None:
    async with open_zygote() as zygote:
        await spawn(zygote, "sleep")
        process = Path(f"/proc/{zygote.pid}")
        assert len([*(process / "task").iterdir()]) == 1
        maps = (process / "maps").read_text()
        assert all(library in maps for library in ("/zmq/", "/PIL/", "/apsw/"))


@pytest.mark.slow
async def test_an_end_is_reported_with_exit_code_or_signal() -> None:
    async with open_zygote() as zygote:
        assert await code_of(await spawn(zygote, "end_at_once", name="a")) == 0
        assert await code_of(await spawn(zygote, "crash", name="b")) == 1
        assert await code_of(await spawn(zygote, "no_such_function", name="c")) == 1
        sleeper = await spawn(zygote, "sleep", name="d")
        await zygote.signal("d", signal.SIGTERM)
        assert await code_of(sleeper) == -signal.SIGTERM


@pytest.mark.slow
async def test_no_end_is_missed_when_many_children_end_at_once() -> None:
    async with open_zygote() as zygote:
        children = [await spawn(zygote, "sleep", name=f"verifier-{number}") for number in range(40)]
        for child in children:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        assert [await code_of(child) for child in children] == [-signal.SIGKILL] * 40


@pytest.mark.slow
async def test_a_signal_to_a_child_that_has_ended_does_nothing() -> None:
    async with open_zygote() as zygote:
        await code_of(await spawn(zygote, "end_at_once", name="a"))
        await zygote.signal("a", signal.SIGKILL, group=True)
        assert await code_of(await spawn(zygote, "end_at_once", name="b")) == 0


@pytest.mark.slow
async def test_a_signal_sent_right_after_a_spawn_reaches_the_child() -> None:
    async with open_zygote() as zygote, trio.open_nursery() as nursery:
        nursery.start_soon(spawn, zygote, "sleep")
        await trio.testing.wait_all_tasks_blocked()
        await zygote.signal("verifier-1", signal.SIGKILL, group=True)


@pytest.mark.slow
async def test_grandchildren_end_with_their_child(tmp_path: Path) -> None:
    async with open_zygote() as zygote:
        await code_of(await spawn(zygote, "leave_a_grandchild", address=str(tmp_path / "pid")))
        assert not await_gone({int((tmp_path / "pid").read_text())})


@pytest.mark.slow
async def test_children_end_with_a_zygote_that_is_killed() -> None:
    async with open_zygote() as zygote:
        children = [await spawn(zygote, "sleep", name="a"), await spawn(zygote, "sleep", name="b", role="deaf")]
        os.kill(zygote.pid, signal.SIGKILL)
        assert [await code_of(child) for child in children] == [None, None]
        assert zygote.gone.is_set()
        assert not await_gone({child.pid for child in children if child.pid is not None})
        lost = await spawn(zygote, "sleep", name="c")
        assert lost.pid is None
        assert lost.ended.is_set()


@pytest.mark.slow
async def test_children_end_with_a_zygote_that_is_released() -> None:
    async with open_zygote() as zygote:
        child = await spawn(zygote, "sleep")
        assert child.pid is not None
    assert not await_gone({child.pid})


@pytest.mark.slow
def test_a_role_that_cannot_be_imported_is_reported_in_one_line_with_exit_code_78(tmp_path: Path) -> None:
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


def test_settings_survive_encoding() -> None:
    command = Spawn(name="a", role="b", address="c", config=MeshConfig(data_dir="/d"), entry="e:f")
    assert decode_command(encode(command)) == command
