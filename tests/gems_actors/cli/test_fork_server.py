"""A forked command is what a fresh interpreter makes of the same arguments, folder, environment and streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gems_actors import __version__
from tests.gems_actors.cli.commands import environment, run_gems
from tests.gems_actors.cli.fork_server import SERVER, ForkServer
from tests.processes import await_gone

_PROBE = """
import os, signal, sys, threading

how = sys.argv[1:2]
if how == ["wait"]:
    print("waits", flush=True)
    signal.pause()
if how == ["raise"]:
    raise OSError("broken")
if how == ["exit"]:
    print("ends")
    sys.exit(None if sys.argv[2] == "None" else int(sys.argv[2]) if sys.argv[2].isdigit() else sys.argv[2])
if how == ["signal"]:
    os.kill(os.getpid(), signal.SIGTERM)
if how == ["full"]:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    print("nowhere")
    sys.exit(0)
streams = (sys.stdin, sys.stdout, sys.stderr)
print([(s.encoding, s.errors, s.line_buffering, s.seekable(), s.fileno(), s.name, s.mode) for s in streams])
print(sys.argv[1:], os.getcwd(), sorted(os.environ.items()), repr(sys.stdin.read()), file=sys.stderr)
print([(number, str(signal.getsignal(number))[:30]) for number in sorted(signal.valid_signals())])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), sys.path, sys.flags, __name__, threading.active_count())
print(len(os.listdir("/proc/self/fd")), {"torch", "pytest"} & sys.modules.keys())
"""
"""A module that shows what its process has been given, or ends in a certain way."""


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "probe.py").write_text(_PROBE)
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH') or Path(__file__).parents[3]}"
    return environment(tmp_path, PYTHONPATH=path, MORE="a\udcff")


@pytest.fixture
def server(surroundings: dict[str, str]) -> Iterator[ForkServer]:
    server = ForkServer("probe", {key: value for key, value in surroundings.items() if key != "MORE"})
    yield server
    server.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", b"a \xff"],
        *(["exit", code] for code in ("None", "0", "3", "256", "a message")),
        ["raise"],
        ["signal"],
        ["full"],
    ],
    ids=str,
)
@pytest.mark.slow
def test_a_fork_is_given_and_returns_the_same_as_a_fresh_interpreter(
    arguments: list[str | bytes], tmp_path: Path, surroundings: dict[str, str], server: ForkServer
) -> None:
    fresh = subprocess.run(
        [sys.executable, "-P", "-m", "probe", *arguments],
        cwd=tmp_path,
        env=surroundings,
        input=b"\xff\r\n",
        capture_output=True,
        check=False,
    )
    code, stdout, stderr = server.run(arguments, str(tmp_path), surroundings, b"\xff\r\n", 60)
    assert (code, stdout.decode()) == (fresh.returncode, fresh.stdout.decode())
    assert stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


@pytest.mark.slow
def test_commands_of_several_threads_have_their_own_output_and_leave_no_zombie(
    tmp_path: Path, surroundings: dict[str, str], server: ForkServer
) -> None:
    def run(number: int) -> tuple[int, bytes, bytes]:
        return server.run(["exit", str(number)], str(tmp_path), surroundings, b"", 60)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, range(12))) == [(number, b"ends\n", b"") for number in range(12)]
    assert _children(server) == ""


@pytest.mark.slow
def test_a_command_that_exceeds_its_time_is_killed(
    tmp_path: Path, surroundings: dict[str, str], server: ForkServer
) -> None:
    server.run(["show"], str(tmp_path), surroundings, b"", 60)  # so that the start is not part of the time
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        server.run(["wait"], str(tmp_path), surroundings, b"", 4)
    assert expired.value.output == b"waits\n"
    assert _children(server) == ""


@pytest.mark.slow
def test_a_server_ends_with_the_process_of_the_tests(surroundings: dict[str, str]) -> None:
    code = (
        "import os; from tests.gems_actors.cli.fork_server import SERVER as server;"
        "assert server.run(['--version'], '/', os.environ, b'', 60)[0] == 0;"
        "print(server.pid(), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, stdout=subprocess.PIPE, check=False)
    assert await_gone({int(done.stdout)}) == set()


def test_only_an_environment_that_starts_the_interpreter_alike_gets_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SERVER, "run", lambda *_: (0, b"forked", b""))
    assert run_gems(tmp_path, "--version", more={"GEMS_ROUTER": "x", "OMP_NUM_THREADS": "1"}).stdout == "forked"
    for more in (
        {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        {"LC_TIME": "of no country"},
        {"TZ": "of no place"},
    ):
        assert run_gems(tmp_path, "--version", more=more).stdout == f"gems {__version__}\n"
    assert run_gems(tmp_path, "--version", is_fresh=True).stdout == f"gems {__version__}\n"


def _children(server: ForkServer) -> str:
    return Path(f"/proc/{server.pid()}/task/{server.pid()}/children").read_text()
