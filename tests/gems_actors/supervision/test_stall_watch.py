"""The watch over a process's event loop, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import trio

from tests.processes import environment, started

pytestmark = pytest.mark.slow

WATCHED = """
import sys, threading
import trio, trio.testing
from gems_actors.supervision.stall_watch import watch_for_stalls
from gems_actors.tasks import open_background

async def stand_still():
    threading.Event().wait()  # as Thread.start does, if the thread has no memory to begin

async def never_end():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def fail_beside_a_task_that_never_ends(nursery):
    nursery.start_soon(never_end)
    await trio.testing.wait_all_tasks_blocked()
    raise MemoryError

async def turn():
    while True:
        await trio.to_thread.run_sync(sys.stdin.readline)
        print("turned", flush=True)

async def main():
    async with open_background() as nursery:
        await nursery.start(watch_for_stalls, 0.2)
        match sys.argv[1]:
            case "stand still":
                await stand_still()
            case "fail":
                await fail_beside_a_task_that_never_ends(nursery)
            case "turn":
                await turn()

trio.run(main)
"""


@pytest.mark.parametrize("what", ["stand still", "fail"])
def test_a_process_whose_event_loop_stands_still_or_cannot_end_is_killed_by_sigalrm(what: str) -> None:
    command = (sys.executable, "-P", "-c", WATCHED, what)
    with started(command, stderr=subprocess.DEVNULL, env=environment()) as process:
        assert process.wait(180) == -signal.SIGALRM


async def test_a_process_that_was_stopped_for_many_periods_goes_on() -> None:
    command = (sys.executable, "-P", "-c", WATCHED, "turn")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(command, env=environment(), **pipes) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        async def turn() -> None:
            stdin.write("\n")
            stdin.flush()
            assert await trio.to_thread.run_sync(stdout.readline) == "turned\n"

        await turn()
        process.send_signal(signal.SIGSTOP)
        await trio.sleep(2.0)  # ten periods, of which it must count one
        process.send_signal(signal.SIGCONT)
        for _ in range(10):
            await turn()
            await trio.sleep(0.2)
        assert process.poll() is None
