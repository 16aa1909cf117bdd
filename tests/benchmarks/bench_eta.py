"""How well a bulk tells its time left: what its view is shown against when it ends, from a tenth of the run on.

Runs `GEMS_PROMPTS`, a prompt file such as that of GenEval2, which is sorted by difficulty; without it, prompts of our
own grammar, sorted by length, and the same prompts shuffled. Storyboards draw, one actor a role.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
from pathlib import Path

import trio

from gems_actors.app import bulk
from gems_actors.app.bulk.totals import BulkProgress
from gems_actors.app.options import DrawOptions
from tests.benchmarks.bench_loop import write_prompts

_PROMPTS = 400


class _Recorder(bulk.BulkView):
    """Keeps when what was told; `is_live` makes the run tell it four times a second."""

    is_live = True

    def __init__(self) -> None:
        self.told: list[tuple[float, float | None, BulkProgress]] = []

    def show(self, progress: BulkProgress) -> None:
        self.told.append((trio.current_time(), progress.left_s, progress))


def measure(file: Path, out: Path) -> str:
    """Return how far off the time left was during a run over a file."""
    view = _Recorder()

    async def run() -> tuple[float, float]:
        options = bulk.BulkOptions(spec=bulk.spec_of(file, DrawOptions()), file=file, out=out, redirects_stderr=True)
        began = trio.current_time()
        await bulk.run(options, view)
        return began, max(at for at, _, progress in view.told if progress.in_flight)

    began, ended = trio.run(run)
    late = [(ended - at, left) for at, left, _ in view.told if at - began > (ended - began) / 10 and at < ended]
    errors = [abs(left - true) / true for true, left in late if left is not None and true > 0]
    naive = [
        (progress.total - progress.finished) / progress.pictures_per_s / (ended - at) - 1
        for at, _, progress in view.told
        if progress.total and progress.pictures_per_s and at - began > (ended - began) / 10 and at < ended
    ]
    first = next((at - began for at, left, _ in view.told if left is not None), None)
    return (
        f"{ended - began:.0f} s; off by {100 * statistics.median(errors):.0f} % (median), "
        f"{100 * statistics.quantiles(errors, n=10)[-1]:.0f} % (ninth tenth); told {len(errors)} of {len(late)} times, "
        f"first after {first:.1f} s; by finished tasks it would be off by "
        f"{100 * statistics.median(map(abs, naive)):.0f} %"
    )


def main() -> None:
    """Print a line for each file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"prompts of GEMS_PROMPTS": Path(os.environ["GEMS_PROMPTS"])} if "GEMS_PROMPTS" in os.environ else {}
        if not files:
            prompts = sorted(write_prompts(_PROMPTS), key=len)
            files["sorted by length"] = folder / "sorted.txt"
            files["sorted by length"].write_text("".join(f"{prompt}\n" for prompt in prompts))
            random.Random(0).shuffle(prompts)
            files["shuffled"] = folder / "shuffled.txt"
            files["shuffled"].write_text("".join(f"{prompt}\n" for prompt in prompts))
        for number, (kind, file) in enumerate(files.items()):
            print(f"{kind}: {measure(file, folder / str(number))}", flush=True)


if __name__ == "__main__":
    main()
