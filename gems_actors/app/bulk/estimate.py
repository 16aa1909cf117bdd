"""A dry run of a bulk: read and check every record, draw nothing, and estimate from what an earlier run took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gems_actors.app.bulk.finished.consent import Proposal, check_agreement
from gems_actors.app.bulk.finished.survey import TaskCount, survey
from gems_actors.app.bulk.folder_files import FolderState, inspect_folder
from gems_actors.app.bulk.interface import BulkOptions
from gems_actors.app.bulk.reading.references import SourceFiles
from gems_actors.app.bulk.recipe import recipe_of
from gems_actors.app.bulk.rows import read_ledger
from gems_actors.app.bulk.run_spec import check_run, read_run, remembering
from gems_actors.app.bulk.tasks import BadTask
from gems_actors.app.bulk.totals import Tally, format_duration
from gems_actors.app.picture_files import OutputError, text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.errors import UsageError
from protocol.costs import chat_cost


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
    refusal: UsageError | None
    """Why the run itself would stop: it would replace finished pictures."""

    def to_tree(self) -> dict[str, Any]:
        """Return the outcome as a tree for JSON."""
        bad = [{"index": item.index, "where": item.where, "reason": item.reason} for item in self.bad]
        estimate = None if self.estimate is None else asdict(self.estimate)
        refusal = None if self.refusal is None else str(self.refusal)
        count = asdict(self.count)
        del count["selected"], count["changed_images"]
        return {**count, "bad": bad, "models": self.models, "estimate": estimate, "refusal": refusal}


def dry_run(options: BulkOptions, like: Path | None) -> DryRun:
    """Count the tasks of a run, check its records and estimate what it takes from the run in `like` or its own folder.

    Raises:
        UsageError: the input cannot be read, the folder belongs to another run, or `like` cannot be used.
        ConfigError: a setting is unknown or invalid.
    """
    recipe = recipe_of(options.spec.seed, options.spec.settings, options.spec.read_config())
    models, bad, ledger = recipe.models, list[BadTask](), read_ledger(options.out)
    sources = SourceFiles(options.file.parent)
    try:
        check_run(options.out, options.spec)
        run = remembering(options.spec, read_run(options.out))
        past = _read_past(options.out, models) if like is None else _read_like(like, models)
        proposal = Proposal(options.file, run, recipe, ledger, options.consent)
        agreement = proposal.agree(
            lambda: survey(options.file, run, recipe, options.part, ledger, sources, bad.append), must_count=True
        )
    except OutputError as error:
        raise UsageError(f"--out: {error}") from error
    except PromptError as error:
        raise UsageError(f"FILE: {text_of_path(options.file)}: {error}") from error
    count, refusal = agreement.count or TaskCount(), None
    try:
        check_agreement(agreement, options.out, ledger.pictures)
    except UsageError as error:
        refusal = error
    if agreement.consent == "redraw":
        count.tasks += count.changed
        count.max_images += count.changed_images
    if options.image_budget is not None:
        count.max_images = min(count.max_images, options.image_budget.total(count.selected))
    estimate = None if past is None else estimate_of(text_of_path(like or options.out), *past, count)
    return DryRun(count, bad, models, estimate, refusal)


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


def _read_past(folder: Path, models: dict[str, str]) -> tuple[Tally, FolderState] | None:
    """Return what a folder has, if it has pictures and all of them are by these models."""
    if read_run(folder) is None:
        return None
    tally, others = Tally(), Tally()
    state = inspect_folder(folder, lambda row: (tally if row.models == models else others).add(row))
    return (tally, state) if tally.pictures and not others.pictures else None


def _read_like(folder: Path, models: dict[str, str]) -> tuple[Tally, FolderState]:
    """Return what the folder has that `--like` names."""
    try:
        run, past = read_run(folder), _read_past(folder, models)
    except OutputError as error:
        raise UsageError(f"--like: {error}") from error
    if run is None:
        raise UsageError(f"--like: {folder}: expected the output of `gems bulk`, got none")
    if past is None:
        named = ", ".join(f"{role} {name}" for role, name in models.items())
        raise UsageError(f"--like: {folder}: expected a run whose pictures are all by {named}, got none")
    return past


def dry_run_lines(outcome: DryRun) -> Iterator[str]:
    """Yield the outcome of a dry run as lines."""
    count, estimate = outcome.count, outcome.estimate
    yield f"tasks         {count.tasks}" + (f", and {count.done} that are done" if count.done else "")
    if count.changed:
        yield f"changed       {count.changed} finished pictures, drawn in another way"
    if count.with_pictures:
        yield f"with pictures {count.with_pictures}"
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
