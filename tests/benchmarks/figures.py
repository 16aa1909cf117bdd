"""Figures as ratios to a baseline of the same run, and the file in which a run is kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".bench"


@dataclass(frozen=True)
class Figure:
    """Something that was measured here and for a baseline by turns, once in each repeat."""

    name: str
    unit: str
    here: Sequence[float]
    baseline: str
    there: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Ours by the baseline's, of each repeat."""
        return [ours / theirs for ours, theirs in zip(self.here, self.there, strict=True)]


def table(figures: Iterable[Figure]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| what | here | baseline | here / baseline, median (lowest to highest) |"
    yield "|---|---|---|---|"
    for figure in figures:
        ratios, here, there = figure.ratios, median(figure.here), median(figure.there)
        shown = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield f"| {figure.name} | {_show(here)} {figure.unit} | {figure.baseline}: {_show(there)} | {shown} |"


def _show(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> dict[str, object]:
    """Return what a reader must know to compare a run with another one."""
    commit = _git("rev-parse", "HEAD")
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit + (" with changes" if commit and _git("status", "--porcelain", "-uno") else ""),
        "cpu": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def save(results: dict[str, object]) -> Path:
    """Write the results of a run, with the machine, and return the file."""
    about = machine()
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{str(about['date']).replace(':', '')}.json"
    file.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n")
    return file


def as_json(figures: Iterable[Figure]) -> list[dict[str, object]]:
    """Return figures as they are kept, with the medians."""
    return [
        asdict(figure)
        | {
            "here_median": median(figure.here),
            "there_median": median(figure.there),
            "ratio_median": median(figure.ratios),
        }
        for figure in figures
    ]


def _git(*arguments: str) -> str:
    done = subprocess.run(("git", "-C", str(ROOT), *arguments), capture_output=True, text=True, check=False)
    return done.stdout.strip()
