"""How the end of a process is put into words, and signals to stop that come while trio handles none."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys

import pytest

from gems_actors.os_process import describe_exit, is_shortage
from tests.processes import environment

_SIGNALLED = """
import os
import signal
import sys
import trio
from gems_actors.os_process import raise_at_stop_signals, run_to_the_end

async def work():
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    await trio.sleep_forever()

def command():
    raise_at_stop_signals()
    try:
        trio.run(work)
    except KeyboardInterrupt:
        return 130
    return 0

sys.exit(run_to_the_end(command))
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (1, "exit code 1"),
        (-11, "signal SIGSEGV"),
        (-40, "signal 40"),
        (78, "exit code 78 (bad configuration)"),
    ],
)
def test_an_exit_is_described_by_code_or_signal_name(code: int, words: str) -> None:
    assert describe_exit(code) == words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_a_signal_to_stop_that_no_task_waits_for_interrupts_whatever_trio_runs(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SIGNALLED, number.name], env=environment(), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")


_IMPORTING = """
import os
import signal
import sys
from gems_actors.os_process import ending_at_stop_signals, raise_at_stop_signals, run_to_the_end

def command():
    raise_at_stop_signals()
    try:
        with ending_at_stop_signals():
            if sys.argv[2] == "import":
                os.kill(os.getpid(), signal.Signals[sys.argv[1]])
        os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    except KeyboardInterrupt:
        return 3
    return 4

sys.exit(run_to_the_end(command))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("when", "code", "words"), [("import", 130, "gems: interrupted\n"), ("later", 3, "")])
def test_a_signal_to_stop_ends_a_command_at_once_while_it_imports_and_raises_later(
    number: signal.Signals, when: str, code: int, words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORTING, number.name, when], env=environment(), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, words)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (RuntimeError("can't start new thread"), True),
        (ExceptionGroup("", [MemoryError(), OSError(errno.ENFILE, "")]), True),
        (ExceptionGroup("", [MemoryError(), ValueError()]), False),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("another"), False),
    ],
)
def test_a_shortage_of_the_system_is_told_from_a_fault(error: Exception, expected: bool) -> None:
    assert is_shortage(error) is expected
