"""How long `gems --help` takes, in bare starts of Python in the same run; at most 12."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from tests.processes import environment

MAX_BARE_STARTS = 12
_REPEATS = 15


def time_once(*arguments: str) -> float:
    """Return the seconds that one Python process takes."""
    began = time.perf_counter()
    subprocess.run((sys.executable, *arguments), check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - began


def main() -> None:
    """Print the figures, and fail where the help takes too long."""
    bare: list[float] = []
    helped: list[float] = []
    for _ in range(_REPEATS):  # interleaved, because a virtual machine's speed changes by the minute
        bare.append(time_once("-c", ""))
        helped.append(time_once("-P", "-m", "gems_actors.cli", "--help"))
    starts = median(helped) / median(bare)
    print(f"bare start {1000 * median(bare):.0f} ms, gems --help {1000 * median(helped):.0f} ms: {starts:.1f} starts")
    if starts > MAX_BARE_STARTS:
        sys.exit(f"expected gems --help to take at most {MAX_BARE_STARTS} bare starts of Python, got {starts:.1f}")
