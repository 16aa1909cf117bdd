"""The watch of a process that has nothing to do sleeps, and wakes up for what costs the process memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_WATCH = """
import os, re, sys, time, trio
from pathlib import Path
from gems_actors.transport.links import Link
from gems_actors.transport.memory_watch import MemoryWatch
from gems_actors.transport.sockets import open_context, open_router

def times_slept():
    others = (task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid()))
    return sum(int(re.search("^voluntary.*?([0-9]+)$", (task / "status").read_text(), re.M)[1]) for task in others)

async def main():
    context = open_context()
    socket = open_router(context)
    address = f"ipc://{sys.argv[1]}/router.ipc"
    socket.bind(address)
    link = Link(socket, lambda batch: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(MemoryWatch([address], [link], 1000).run)
        idle = 1000
        for _ in range(30):  # a busy machine is slow to start, which is work
            if idle > 4:
                before = times_slept()
                await trio.sleep(1.0)
                idle = times_slept() - before
        before, until = times_slept(), time.process_time() + 0.5
        while time.process_time() < until:
            await trio.sleep(0)
        print(idle, times_slept() - before)
        nursery.cancel_scope.cancel()
    link.close()
    context.term()

trio.run(main)
"""


def test_a_process_that_does_nothing_is_looked_at_less_often_than_one_that_works(tmp_path: Path) -> None:
    done = subprocess.run((sys.executable, "-c", _WATCH, str(tmp_path)), capture_output=True, text=True, check=True)
    idle, busy = map(int, done.stdout.split())
    assert idle <= 4
    assert busy >= 5
