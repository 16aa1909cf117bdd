"""The watch over a process's event loop, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import trio

from tests.processes import environment, started

WATCHED = """
import sys, threading, time
import trio, trio.testing
from gems_actors.supervision.stall_watch import watch_for_stalls
from gems_actors.tasks import open_background

def wait_for_a_thread_that_never_begins():
    threading._start_new_thread = lambda *arguments: 0  # as without memory, where it ends before it has told
    threading.Thread(target=print).start()

async def never_end():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def fail_beside_a_task_that_never_ends(nursery):
    nursery.start_soon(never_end)
    await trio.testing.wait_all_tasks_blocked()
    raise MemoryError

async def turn():
    for line in iter(sys.stdin.readline, ""):
        time.sleep(float(line))
        await trio.sleep(0.01)
        print("turned", flush=True)

async def main():
    async with open_background() as nursery:
        await nursery.start(watch_for_stalls, 0.2)
        match sys.argv[1]:
            case "thread":
                wait_for_a_thread_that_never_begins()
            case "end":
                await fail_beside_a_task_that_never_ends(nursery)
            case "turn":
                await turn()

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["thread", "end"])
def test_a_process_that_waits_in_vain_is_killed_by_sigalrm_and_says_so(what: str) -> None:
    command = (sys.executable, "-P", "-c", WATCHED, what)
    with started(command, stderr=subprocess.PIPE, env=environment()) as process:
        _, stderr = process.communicate(timeout=180)
        assert process.returncode == -signal.SIGALRM
        assert "waited in vain for a minute" in stderr


@pytest.mark.slow
async def test_a_process_that_was_stopped_for_many_periods_goes_on_and_so_does_one_whose_own_code_blocks() -> None:
    command = (sys.executable, "-P", "-c", WATCHED, "turn")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(command, env=environment(), **pipes) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        async def turn(blocks_s: float) -> None:
            stdin.write(f"{blocks_s}\n")
            stdin.flush()
            assert await trio.to_thread.run_sync(stdout.readline) == "turned\n"

        await turn(0.0)
        process.send_signal(signal.SIGSTOP)
        await trio.sleep(2.0)  # ten periods, of which it must count one
        process.send_signal(signal.SIGCONT)
        for _ in range(10):
            await turn(0.0)
        await turn(2.0)
        assert process.poll() is None
