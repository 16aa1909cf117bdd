"""What a person waits for at `gems draw`: the first frame of the live view at a terminal, and the finished picture."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.processes import environment

_REPEATS = 9
_PROMPT = "two red cats to the left of a stone dog"


def draw_once(folder: Path) -> tuple[float, float]:
    """Return the seconds until the first byte of the view, and until the command has ended."""
    ours, its = pty.openpty()
    command = (
        sys.executable,
        "-P",
        "-m",
        "gems_actors.cli",
        "draw",
        _PROMPT,
        "--seed",
        "7",
        "-o",
        str(folder / "x.png"),
    )
    variables = {**environment(), "TERM": "xterm-256color", "XDG_STATE_HOME": str(folder)}
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=variables, cwd=folder)
    os.close(its)
    first = 0.0
    try:
        while os.read(ours, 65_536):
            first = first or time.perf_counter() - began
    except OSError:  # how the kernel tells that the other end of a terminal is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return first, time.perf_counter() - began


def main() -> None:
    """Print the medians."""
    with TemporaryDirectory() as folder:
        draw_once(Path(folder))  # compiles, and warms the file cache
        times = [draw_once(Path(folder)) for _ in range(_REPEATS)]
    print(f"first frame after {median(first for first, _ in times):.2f} s")
    print(f"gems draw takes {median(whole for _, whole in times):.2f} s")
