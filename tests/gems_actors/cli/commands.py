"""Run `gems` as a process and return its exit code and output."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gems_actors.cli.fork_server import SERVER
from tests.processes import started

COMMAND = (sys.executable, "-P", "-m", "gems_actors.cli")
_LIMIT_S = 180


_DROPPED = ("GEMS_", "XDG_", "NO_COLOR", "COLUMNS", "LINES")  # pytest's workers have a terminal of 80 columns


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which `gems` puts everything below a folder of the test."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_DROPPED)}
    return {**kept, "XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder / "state"), **more}


@contextmanager
def running_mesh(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start `gems up` in a folder, and yield its process once the mesh is ready; it is killed if it still runs then."""
    command = [*COMMAND, "up", *options]
    with started(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as mesh:
        assert mesh.stdout is not None
        assert "mesh ready" in mesh.stdout.readline()
        yield mesh


def run_gems(
    folder: Path,
    *arguments: str | bytes,
    stdin: bytes = b"",
    more: Mapping[str, str] | None = None,
    is_fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder until it ends; in a fork of a started interpreter, unless that would differ."""
    command: Sequence[str | bytes] = (*COMMAND, *arguments)
    surroundings = environment(folder, **(more or {}))
    if not is_fresh and SERVER.can_run(surroundings, stdin):
        code, stdout, stderr = SERVER.run(arguments, str(folder), surroundings, stdin, _LIMIT_S)
    else:
        done = subprocess.run(
            command, cwd=folder, env=surroundings, input=stdin, capture_output=True, timeout=_LIMIT_S, check=False
        )
        code, stdout, stderr = done.returncode, done.stdout, done.stderr
    return subprocess.CompletedProcess(command, code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def run_on_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command with a terminal as standard error, and return its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
        env=environment(folder, TERM="xterm-256color", PYTHONUTF8="1"),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            seen += os.read(ours, 65_536)
        except OSError:  # the process has ended and closed its side
            break
    os.close(ours)
    return process.wait(30), seen.decode()


def summary_in(stdout: str | bytes) -> dict[str, Any]:
    """Return the summary from the output of a bulk with --json."""
    summary: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    assert summary.pop("event") == "summary"
    return summary
