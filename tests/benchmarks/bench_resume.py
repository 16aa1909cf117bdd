"""A bulk whose records are all done: reading the input and the rows of a million pictures, with nothing left to draw.

The pictures are links to a few files. Memory and conductor are stand-ins in the same process, which nobody asks.
`GEMS_RESUMED` sets the number of records.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import trio

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, spec_of
from gems_actors.app.bulk.finished.identity import file_name_of, identified
from gems_actors.app.bulk.reading.readers import open_tasks
from gems_actors.app.bulk.recipe import recipe_of
from gems_actors.app.bulk.rows import DrawnTask, row_of
from gems_actors.app.bulk.tasks import Task
from gems_actors.app.options import DrawOptions
from tests.gems_actors.app.meshes import open_recording_mesh
from tests.gems_actors.cli.stories import PICTURE

_RECORDS = int(os.environ.get("GEMS_RESUMED", "1000000"))
_LINKS_PER_FILE = 30_000


def fill(folder: Path) -> None:
    """Write an input, and the dataset of a run that has drawn it."""
    file, out = folder / "prompts.txt", folder / "out"
    with file.open("w") as lines:
        lines.writelines(f"{number} owls beside a lamp of glass\n" for number in range(_RECORDS))
    spec = spec_of(file, DrawOptions())
    recipe = recipe_of(spec.seed, spec.settings, spec.read_config())
    for number in range(256):
        (out / f"dataset/images/{number:02x}").mkdir(parents=True)
    with file.open("rb") as source, (out / "dataset/metadata.jsonl").open("wb") as sink:
        for number, task in enumerate(_tasks_of(source)):
            if number % _LINKS_PER_FILE == 0:
                picture = folder / f"{number}.png"
                picture.write_bytes(b"picture")
            key, seed = recipe.key_of(task, 0), recipe.seed_of(task, 0)
            row = row_of(DrawnTask(task, 0, key, PICTURE, recipe.models, seed), file_name_of(task, 0))
            sink.write(msgspec.json.encode(row) + b"\n")
            (out / "dataset" / row.file_name).hardlink_to(picture)
    (out / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(spec, recipes=(recipe,))))


def _tasks_of(source: object) -> Iterator[Task]:
    for task in identified(open_tasks(source, "txt"), 2):  # type: ignore[arg-type]  # a file
        assert isinstance(task, Task)
        yield task


async def resume(folder: Path) -> None:
    """Run the bulk again, and print what it took."""
    file = folder / "prompts.txt"
    began, cpu_s = time.perf_counter(), time.process_time()
    async with open_recording_mesh([]) as mesh:
        options = DrawOptions(router=mesh.address)
        run = BulkOptions(spec=spec_of(file, options), file=file, out=folder / "out", router=mesh.address)
        result = await bulk.run(run)
    assert (result.tally.before, result.tally.pictures, result.tally.failed) == (_RECORDS, _RECORDS, 0)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"resumed: {seconds:.1f} s, {1e6 * cpu_s / _RECORDS:.1f} µs CPU per finished record, peak {peak_mib:.0f} MiB")


def main() -> None:
    """Measure in a separate process, so that its peak is that of the run."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        if (child := os.fork()) == 0:
            os.execv(sys.executable, (sys.executable, "-m", "tests.benchmarks.bench_resume", folder))
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    trio.run(partial(resume, Path(sys.argv[1])))
