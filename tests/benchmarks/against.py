"""Compare this checkout with another one: run each benchmark in both by turns, and print the ratios of the medians.

Each checkout runs its own benchmark code, in its own process that imports from that checkout alone. A figure is
compared when both print it in the same line: a line is recognised by its text without the numbers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[2]
_NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?(?![\w-])")


@dataclass
class Samples:
    """Values of one figure, one per repeat, of this checkout and of the other one."""

    here: list[float] = field(default_factory=list)
    there: list[float] = field(default_factory=list)


def read_figures(output: str) -> dict[tuple[str, int], float]:
    """Return every number of a benchmark's output by its line's text, each number replaced by `#`, and its position."""
    figures = {}
    for line in output.splitlines():
        text = " ".join(_NUMBER.sub("#", line).split())
        for position, number in enumerate(_NUMBER.findall(line)):
            figures[text, position] = float(number.replace(",", ""))
    return figures


def describe(samples: dict[tuple[str, int], Samples]) -> Iterable[str]:
    """Return a line for each figure: the medians of both checkouts, their ratio, and where in the output it stands."""
    for (text, position), found in samples.items():
        if not found.here or not found.there:
            yield f"{'only ' + ('here' if found.here else 'there'):>37}  {_mark(text, position)}"
            continue
        here, there = median(found.here), median(found.there)
        ratio = f"{here / there:.3f}" if there else "-"
        yield f"{here:>12,.2f} {there:>12,.2f} {ratio:>11}  {_mark(text, position)}"


def compare(names: Iterable[str], other: Path, repeats: int) -> dict[str, object]:
    """Run the named benchmarks here and in the other checkout by turns; print the table of each, and return all."""
    results: dict[str, object] = {}
    for name in names:
        samples: dict[tuple[str, int], Samples] = defaultdict(Samples)
        for repeat in range(repeats):
            order = (HERE, other) if repeat % 2 == 0 else (other, HERE)
            for checkout in order:
                for key, value in read_figures(_run(name, checkout)).items():
                    (samples[key].here if checkout is HERE else samples[key].there).append(value)
            print(f"== {name}: repeat {repeat + 1} of {repeats} done", file=sys.stderr, flush=True)
        print(f"== {name}: medians of {repeats}\n{'here':>12} {'there':>12} {'here/there':>11}  figure", flush=True)
        for line in describe(samples):
            print(line, flush=True)
        results[name] = {_mark(*key): {"here": found.here, "there": found.there} for key, found in samples.items()}
    return results


def _run(name: str, checkout: Path) -> str:
    command = (sys.executable, "-m", "tests.benchmarks", name)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _mark(text: str, position: int) -> str:
    """Return the text of a line with one of its numbers in brackets."""
    parts = text.split("#")
    return "#".join(parts[: position + 1]) + "[#]" + "#".join(parts[position + 1 :])
