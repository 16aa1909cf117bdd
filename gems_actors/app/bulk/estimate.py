"""A dry run of a bulk: read and check every record, draw nothing, and estimate from what an earlier run took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gems_actors.app.bulk.folder import check_run, inspect_folder, read_run
from gems_actors.app.bulk.recipe import Recipe, recipe_of
from gems_actors.app.bulk.rows import read_keys
from gems_actors.app.bulk.runner import BulkOptions
from gems_actors.app.bulk.tasks import BadTask, count_records, open_source, open_tasks
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
class PastRun:
    """What an earlier run took for one picture, on average."""

    folder: str
    pictures: int
    images: float
    calls: float
    """Calls of chat models."""
    tokens: float
    """Tokens of chat models."""
    cost: float
    pictures_per_s: float | None
    """Pictures per second; None if no process of that run ended by itself."""


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
    """Count the tasks of a run, check its records and estimate what it takes.

    Args:
        options: the run.
        like: folder of an earlier run to estimate from, by default the folder of this run.

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
    estimate = None if past is None else estimate_of(past, count.tasks, count.max_images)
    return DryRun(count, bad, models, estimate)


def estimate_of(past: PastRun, tasks: int, max_images: int) -> Estimate:
    """Scale what an earlier run took to a number of tasks; if they draw fewer images, they need fewer calls, too."""
    images = min(past.images * tasks, max_images)
    share = images / past.images if past.images else 0.0
    return Estimate(
        like=past.folder,
        pictures=past.pictures,
        images=round(images),
        calls=round(past.calls * share),
        tokens=round(past.tokens * share),
        cost=round(past.cost * share, 4),
        seconds=round(share / past.pictures_per_s, 1) if past.pictures_per_s else None,
    )


def _count(options: BulkOptions, recipe: Recipe) -> tuple[TaskCount, list[BadTask]]:
    part, samples = options.part, options.spec.samples
    keys, count, bad = read_keys(options.out), TaskCount(), list[BadTask]()
    with ExitStack() as stack:
        source, format_ = open_source(stack, options.file)
        count_records(source, format_)
        for task in open_tasks(source, format_, samples):
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


def _read_past(folder: Path, models: dict[str, str], *, is_named: bool) -> PastRun | None:
    """Return what the run of a folder took, or None if it has no pictures or those of other models.

    Raises:
        OutputError: the folder cannot be read, or the user named it and it has no pictures of these models.
    """
    tally, others = Tally(), Tally()
    state = None
    if read_run(folder) is not None:
        state = inspect_folder(folder, lambda row: (tally if row.models == models else others).add(row))
    if state is None or not tally.pictures or others.pictures:
        if is_named:
            named = ", ".join(f"{role} {name}" for role, name in models.items())
            raise OutputError(f"{folder}: expected a run whose pictures are all by {named}, got none")
        return None
    chats, priced = chat_cost(state.spent), max(1, state.priced)
    return PastRun(
        folder=text_of_path(folder),
        pictures=tally.pictures,
        images=tally.images / tally.pictures,
        calls=chats.calls / priced,
        tokens=chats.tokens / priced,
        cost=chats.cost / priced,
        pictures_per_s=state.timed_pictures / state.timed_s if state.timed_s else None,
    )


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
