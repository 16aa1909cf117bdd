"""A dry run of a bulk: read and check every record, draw nothing, and estimate from what an earlier run took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gems_actors.app.bulk.folder import FolderState, check_run, inspect_folder, read_run
from gems_actors.app.bulk.reading.readers import count_records, open_source, open_tasks
from gems_actors.app.bulk.recipe import Recipe, recipe_of
from gems_actors.app.bulk.rows import read_keys
from gems_actors.app.bulk.runner import BulkOptions
from gems_actors.app.bulk.tasks import BadTask
from gems_actors.app.bulk.totals import Tally, format_duration
from gems_actors.app.picture_files import OutputError, text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.errors import UsageError
from protocol.costs import chat_cost


@dataclass(slots=True)
class TaskCount:
    """What a run has to do."""

    tasks: int = 0
    done: int = 0
    """Tasks that the folder has already, with the same prompt, seed, settings, models and skills."""
    max_images: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes if each of its pictures takes what those of an earlier run took."""

    like: str
    """Folder of the earlier run."""
    pictures: int
    """Pictures of the earlier run."""
    images: int
    calls: int
    tokens: int
    cost: float
    seconds: float | None
    """None if no process of the earlier run ended by itself."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The outcome of a dry run."""

    count: TaskCount
    bad: list[BadTask]
    """Records that cannot be drawn."""
    models: dict[str, str]
    estimate: Estimate | None
    """None without an earlier run of the same models."""

    def to_tree(self) -> dict[str, Any]:
        """Return the outcome as a tree for JSON."""
        bad = [{"index": item.index, "where": item.where, "reason": item.reason} for item in self.bad]
        estimate = None if self.estimate is None else asdict(self.estimate)
        return {**asdict(self.count), "bad": bad, "models": self.models, "estimate": estimate}


def dry_run(options: BulkOptions, like: Path | None) -> DryRun:
    """Count the tasks of a run, check its records and estimate what it takes from the run in `like` or its own folder.

    Raises:
        UsageError: the input cannot be read, the folder belongs to another run, or `like` cannot be used.
        ConfigError: a setting is unknown or invalid.
    """
    recipe = recipe_of(options.spec, options.spec.read_config())
    models = dict(recipe.models)
    try:
        check_run(options.out, options.spec)
        past = _read_past(like or options.out, models, is_named=like is not None)
        count, bad = _count(options, recipe)
    except OutputError as error:
        raise UsageError(str(error)) from error
    except PromptError as error:
        raise UsageError(f"FILE: {text_of_path(options.file)}: {error}") from error
    estimate = None if past is None else estimate_of(text_of_path(like or options.out), *past, count)
    return DryRun(count, bad, models, estimate)


def estimate_of(like: str, past: Tally, state: FolderState, count: TaskCount) -> Estimate:
    """Scale what an earlier run took to a number of tasks; if they draw fewer images, they need fewer calls, too."""
    images = min(past.images / past.pictures * count.tasks, count.max_images)
    tasks = images * past.pictures / past.images if past.images else 0.0
    chats, per_priced = chat_cost(state.spent), tasks / max(1, state.priced)
    return Estimate(
        like=like,
        pictures=past.pictures,
        images=round(images),
        calls=round(chats.calls * per_priced),
        tokens=round(chats.tokens * per_priced),
        cost=round(chats.cost * per_priced, 4),
        seconds=round(tasks * state.timed_s / state.timed_pictures, 1) if state.timed_s else None,
    )


def _count(options: BulkOptions, recipe: Recipe) -> tuple[TaskCount, list[BadTask]]:
    part, keys, count, bad = options.part, read_keys(options.out), TaskCount(), list[BadTask]()
    with ExitStack() as stack:
        source, format_ = open_source(stack, options.file)
        count_records(source, format_, options.spec.record_options)
        for task in open_tasks(source, format_, options.spec.record_options):
            if isinstance(task, BadTask):
                bad.append(task)
                continue
            settings = recipe.settings_of(task)
            for sample in range(task.samples):
                if not part.has(task.index, sample):
                    continue
                if keys.state_of(task.index, sample, recipe.key_of(task, sample)) == "done":
                    count.done += 1
                elif part.limit is None or count.tasks < part.limit:
                    count.tasks += 1
                    count.max_images += settings.max_rounds * settings.candidates
    return count, bad


def _read_past(folder: Path, models: dict[str, str], *, is_named: bool) -> tuple[Tally, FolderState] | None:
    """Return what a folder has, if all its pictures are by these models; otherwise None, or an error if it is named."""
    tally, others = Tally(), Tally()
    state = None
    if read_run(folder) is not None:
        state = inspect_folder(folder, lambda row: (tally if row.models == models else others).add(row))
    if state is None or not tally.pictures or others.pictures:
        if is_named:
            named = ", ".join(f"{role} {name}" for role, name in models.items())
            raise OutputError(f"{folder}: expected a run whose pictures are all by {named}, got none")
        return None
    return tally, state


def dry_run_lines(outcome: DryRun) -> Iterator[str]:
    """Yield the outcome of a dry run as lines."""
    count, estimate = outcome.count, outcome.estimate
    yield f"tasks         {count.tasks}" + (f", and {count.done} that are done" if count.done else "")
    about = "" if estimate is None else f", about {estimate.images}"
    yield f"images        at most {count.max_images}{about}"
    yield f"models        {', '.join(f'{role} {name}' for role, name in outcome.models.items())}"
    if estimate is None:
        yield "estimate      none: no earlier run of these models; --like DIR names one"
        return
    yield f"chat calls    about {estimate.calls:,}"
    if estimate.tokens:
        yield f"tokens        about {estimate.tokens:,}"
    if estimate.cost:
        yield f"cost          about {estimate.cost:,.2f}"
    if estimate.seconds is not None:
        yield f"time          about {format_duration(estimate.seconds)}, at the speed of that run"
    yield f"estimate      from {estimate.pictures} pictures in {estimate.like}"
