"""A fork server that a command forks ahead: it equals one that was started, and has nothing else of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import await_gone, environment

ROOT = Path(__file__).parents[3]

_BEGIN = """
import os, signal, sys, threading
from gems_actors.config import load_config
from gems_actors.supervision.zygote import Spawn
from gems_actors.supervision.zygote_process import forked_zygote

def spawn(*arguments):
    import trio
    return trio.run(_spawn, *arguments)

async def _spawn(process, entry, address=""):
    import trio
    from gems_actors.supervision.zygote_client import Zygote
    config = load_config(settings=["draw.max_rounds=3"], environment={})
    entry = f"tests.gems_actors.child_entries:{entry}"
    async with trio.open_nursery() as nursery:
        zygote = Zygote(process)
        nursery.start_soon(zygote.serve)
        child = await zygote.spawn(
            Spawn(name="verifier-1.3f2a", role="verifier", address=address, config=config, entry=entry)
        )
        await child.ended.wait()
        zygote.release()
    return child.code

def is_there(process):
    return os.path.exists(f"/proc/{process.process.pid}")
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in its own process, because the one that runs tests has threads."""
    return subprocess.run(
        [sys.executable, "-P", "-c", _BEGIN + code, *arguments],
        env={**environment(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_a_child_gets_its_arguments_and_inherits_nothing_else(tmp_path: Path) -> None:
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: None)
os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
sys.stdout.write("written once")
with forked_zygote() as process:
    assert spawn(process, "write_what_it_inherited", sys.argv[1]) == 7
assert not is_there(process)
""",
        str(tmp_path / "seen"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "written once", "")
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
def test_what_children_write_goes_where_the_standard_error_of_the_command_went_in_the_meantime(tmp_path: Path) -> None:
    done = run(
        """
with forked_zygote() as process:
    original = os.dup(2)
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)
    process.redirect()
    assert spawn(process, "no_such_function") == 1
    os.dup2(original, 2)
""",
        str(tmp_path / "log"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "no_such_function" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_a_fork_server_that_no_supervisor_took_over_ends_with_the_block() -> None:
    done = run(
        """
with forked_zygote() as process:
    assert is_there(process)
assert not is_there(process)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_server_ends_with_a_command_that_is_killed() -> None:
    done = run(
        """
with forked_zygote() as process:
    print(process.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert done.returncode == -9
    assert not await_gone({int(done.stdout)})


@pytest.mark.slow
def test_a_process_with_other_threads_is_not_forked() -> None:
    done = run(
        """
done = threading.Event()
threading.Thread(target=done.wait).start()
with forked_zygote() as process:
    assert process is None
done.set()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
