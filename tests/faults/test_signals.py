"""SIGTERM, Ctrl-C and a closed terminal at every phase of a command: a line, an exit code, and nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import COMMAND, environment
from tests.processes import await_gone, descendants

pytestmark = pytest.mark.slow

SEED, MOMENTS = int(os.environ.get("GEMS_SIGNAL_SEED", "1")), int(os.environ.get("GEMS_SIGNAL_MOMENTS", "4"))
"""Seed of the moments, and their number for each command: more than the suite has time for find rarer windows."""
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LINES = 3


def handles_signals(pid: int) -> bool:
    """Return whether the command has run its first instruction; until then, Python itself is what a signal ends."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGHUP - 1) & 1)


def run_until(
    folder: Path, command: Sequence[str], is_time: Callable[[float], bool], number: signal.Signals
) -> tuple[int, str]:
    """Send a command a signal once it is time, and return its exit code and output after checking what it leaves."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**environment(folder), "TMPDIR": str(temporary)}, text=True,
    )  # fmt: skip
    while process.poll() is None and not handles_signals(process.pid):
        time.sleep(0.002)
    began = time.monotonic()
    while process.poll() is None and not is_time(time.monotonic() - began):
        time.sleep(0.002)
    family = {*descendants(process.pid)}
    if process.poll() is None:
        process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert not await_gone(family)
    assert [path.name for path in temporary.iterdir()] == []
    assert "Traceback" not in output
    return process.returncode, output


def check_bulk(folder: Path, code: int, output: str) -> None:
    """Check the end of a bulk: interrupted and said, or whole with its report."""
    rows = folder / "out/dataset/metadata.jsonl"
    done = len(rows.read_bytes().splitlines()) if rows.exists() else 0
    assert code in (0, 130), output
    if code == 130:
        assert "interrupted" in output
    else:
        assert "requirements met" in output, "no end without a word"
        assert done == LINES
        assert (folder / "out/report.html").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("a red dog\nthree pigs\ntwo metal toys\n")
    return tmp_path


BULK = (*COMMAND, "bulk", "prompts.txt", "--out", "out", "--rounds", "1")


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_bulk_that_gets_a_signal_at_any_moment_says_so_and_the_same_command_continues(
    folder: Path, moment: int
) -> None:
    chance = random.Random(f"{SEED} {moment}")
    at_s, number = chance.uniform(0.0, 3.5), chance.choice(STOP)
    code, output = run_until(folder, BULK, lambda passed_s: passed_s >= at_s, number)
    check_bulk(folder, code, output)


@pytest.mark.parametrize("number", STOP)
def test_a_signal_after_the_last_task_leaves_a_whole_run_with_its_report(folder: Path, number: signal.Signals) -> None:
    rows = folder / "out/dataset/metadata.jsonl"

    def is_drawn(_: float) -> bool:
        return rows.exists() and rows.read_bytes().count(b"\n") >= LINES

    code, output = run_until(folder, BULK, is_drawn, number)
    assert (folder / "out/report.html").exists(), output
    assert code == 0, output
    check_bulk(folder, code, output)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_draw_that_gets_a_signal_at_any_moment_says_so(tmp_path: Path, moment: int) -> None:
    chance = random.Random(f"draw {SEED} {moment}")
    at_s, number = chance.uniform(0.0, 3.0), chance.choice(STOP)
    command = (*COMMAND, "draw", "two red cats", "-o", "cats.png", "--rounds", "1")
    code, output = run_until(tmp_path, command, lambda passed_s: passed_s >= at_s, number)
    assert code in (0, 130), output
    assert "interrupted" in output or (tmp_path / "cats.png").exists()


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_supervisor_that_gets_a_signal_at_any_moment_drains_or_says_that_it_was_interrupted(
    tmp_path: Path, moment: int
) -> None:
    (tmp_path / "mesh.toml").write_text(f'data_dir = "{tmp_path}/data"\n')
    script = Path(__file__).parents[2] / "deploy/supervisor.py"
    chance = random.Random(f"supervisor {SEED} {moment}")
    at_s, number = chance.uniform(0.0, 2.0), chance.choice(STOP)
    command = (sys.executable, str(script), "mesh.toml")
    code, output = run_until(tmp_path, command, lambda passed_s: passed_s >= at_s, number)
    assert code == 0 or (code == 130 and "interrupted" in output), output


def test_the_next_command_clears_the_folders_of_one_that_was_killed_and_no_other(folder: Path) -> None:
    temporary = folder / "tmp"
    temporary.mkdir()
    for name in ("gems-a1b2c3d4", "gems-actors"):  # without the lock of a command: not known to be abandoned
        (temporary / name).mkdir()
    killed = subprocess.Popen(
        BULK, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**environment(folder), "TMPDIR": str(temporary)},
    )  # fmt: skip
    while not [*temporary.glob("gems-*/command.lock")]:
        assert killed.poll() is None
        time.sleep(0.01)
    live = subprocess.run(  # the folder of a live command stays
        [sys.executable, "-c", _CLEAR], env={**environment(folder), "TMPDIR": str(temporary)}, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    assert live.stdout.strip() == "3"
    killed.kill()
    killed.wait()
    subprocess.run([sys.executable, "-c", _CLEAR], env={**environment(folder), "TMPDIR": str(temporary)}, check=True)
    assert sorted(path.name for path in temporary.iterdir()) == ["gems-a1b2c3d4", "gems-actors"]


_CLEAR = """
import os, tempfile
from gems_actors.config import MeshConfig
from gems_actors.supervision.runtime_dir import open_private_folder
with open_private_folder(MeshConfig()):
    print(len(os.listdir(tempfile.gettempdir())) - 1)
"""
