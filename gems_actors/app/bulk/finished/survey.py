"""Read the whole input before a run: which tasks are done, which are new, and which finished pictures would change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gems_actors.app.bulk.finished.identity import identified
from gems_actors.app.bulk.finished.ledger import Ledger
from gems_actors.app.bulk.reading.readers import count_records, open_source, open_tasks
from gems_actors.app.bulk.reading.references import SourceFiles
from gems_actors.app.bulk.recipe import Recipe
from gems_actors.app.bulk.run_spec import RunSpec
from gems_actors.app.bulk.tasks import BadTask, Part, Task


@dataclass(slots=True)
class TaskCount:
    """What a run has to do."""

    tasks: int = 0
    """Tasks to draw, without those that change."""
    done: int = 0
    """Tasks that the folder has already, with the same prompt, seed, settings, models and skill."""
    changed: int = 0
    """Tasks that the folder has already, drawn in another way."""
    max_images: int = 0
    """Images that the new tasks draw at most."""
    changed_images: int = 0
    """Images that the changed tasks draw at most."""
    with_pictures: int = 0
    """Records that are drawn from pictures."""
    selected: int = 0
    """All selected tasks, also those of records that cannot be drawn."""


def survey(
    file: Path,
    run: RunSpec,
    recipe: Recipe,
    part: Part,
    ledger: Ledger,
    sources: SourceFiles,
    take_bad: Callable[[BadTask], None] = lambda bad: None,
) -> TaskCount:
    """Count the tasks of an input; `sources` has its pictures, and `take_bad` gets each record that cannot be drawn.

    Raises:
        PromptError: the input has no records, or is not of its format.
        UsageError: it cannot be read.
    """
    count = TaskCount()
    for task in read_tasks(file, run, sources):
        if isinstance(task, BadTask):
            take_bad(task)
            count.selected += part.has(task.ref, task.index, 0)
            continue
        count.with_pictures += bool(task.references)
        max_images = recipe.settings_of(task).max_rounds * recipe.settings_of(task).candidates
        for sample in range(task.samples):
            if not part.has(task.ref, task.index, sample):
                continue
            count.selected += 1
            state = ledger.state_of(task.ref, sample, recipe.key_of(task, sample))
            if state == "done":
                count.done += 1
            elif state == "changed":
                count.changed += 1
                count.changed_images += max_images
            elif part.limit is None or count.tasks < part.limit:
                count.tasks += 1
                count.max_images += max_images
    return count


def read_tasks(file: Path, run: RunSpec, sources: SourceFiles) -> Iterator[Task | BadTask]:
    """Yield every record of an input as a task with its id; `sources` has its pictures.

    Raises:
        PromptError: the input has no records, or is not of its format.
        UsageError: it cannot be read.
    """
    with ExitStack() as stack:
        source, format_ = open_source(stack, file)
        count_records(source, format_, run.record_options)
        tasks = sources.resolve(open_tasks(source, format_, run.record_options))
        yield from identified(tasks, run.identity, run.id_column)
