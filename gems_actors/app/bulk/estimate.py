"""What a bulk would do: everything read and counted, nothing drawn, and an estimate from what an earlier run took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
import msgspec

from gems_actors.app.bulk.folder import RunFile, check_run, look_at_folder, read_run
from gems_actors.app.bulk.rows import key_of, read_keys
from gems_actors.app.bulk.run import Part, digest_of_skills, models_of, open_source
from gems_actors.app.bulk.tasks import BadTask, count_records, open_tasks, seed_of
from gems_actors.app.bulk.totals import Tally, duration_in_words
from gems_actors.app.options import draw_settings, read_config
from gems_actors.app.picture_files import OutputError, encode_json, text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.config import MeshConfig
from gems_actors.errors import UsageError
from protocol.costs import chat_cost

_SHOWN_BAD: Final = 20
"""Records that cannot be drawn, a line each; JSON has them all."""


@dataclass(slots=True)
class _Count:
    """What is to be done."""

    tasks: int = 0
    done: int = 0
    """Tasks that the folder has already, from the same prompt, seed, settings, models and skills."""
    max_images: int = 0


@dataclass(frozen=True, slots=True)
class PastRun:
    """What an earlier run took for one task, on average."""

    folder: str
    pictures: int
    images: float
    calls: float
    """Of chat models; likewise tokens."""
    tokens: float
    cost: float
    pictures_per_s: float | None
    """None where no process of that run came to its end."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take, if each of its tasks takes what those of an earlier run took."""

    like: str
    """The folder of the earlier run."""
    pictures: int
    """That it has."""
    images: int
    calls: int
    tokens: int
    cost: float
    seconds: float | None


def rehearse(told: RunFile, file: Path, part: Part, out: Path, like: Path | None, *, as_json: bool) -> int:
    """Say how much there is to do, what cannot be done and what it will take, and return the exit code.

    Args:
        told: what the run is.
        file: its input; `-` for standard input.
        part: which tasks.
        out: folder that would be filled.
        like: folder of an earlier run to estimate from; None: `out`.
        as_json: print JSON.
    """
    config = read_config(None if told.config_file is None else Path(told.config_file), told.overrides)
    models = models_of(config)
    try:
        check_run(out, told)
        past = _read_past(like or out, models, is_named=like is not None)
        count, bad = _count(told, file, part, out, config)
    except OutputError as error:
        raise UsageError(str(error)) from error
    except PromptError as error:
        raise UsageError(f"FILE: {text_of_path(file)}: {error}") from error
    estimate = None if past is None else estimate_of(past, count.tasks, count.max_images)
    if as_json:
        lines = [{"index": item.index, "where": item.where, "reason": item.reason} for item in bad]
        told_of = None if estimate is None else asdict(estimate)
        click.echo(encode_json({**asdict(count), "bad": lines, "models": models, "estimate": told_of}))
    else:
        click.echo("\n".join(_lines_of(count, models, estimate)))
        for item in bad[:_SHOWN_BAD]:
            click.echo(f"{text_of_path(file)}: {item.where}: {item.reason}", err=True)
        if len(bad) > _SHOWN_BAD:
            click.echo(f"{text_of_path(file)}: {len(bad) - _SHOWN_BAD} more like these", err=True)
    return FAILED if bad else DONE


def estimate_of(past: PastRun, tasks: int, max_images: int) -> Estimate:
    """Scale what an earlier run took to so many tasks; fewer images than there mean fewer calls, too."""
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


def _count(told: RunFile, file: Path, part: Part, out: Path, config: MeshConfig) -> tuple[_Count, list[BadTask]]:
    settings, models, skills = draw_settings(config, **told.settings), models_of(config), digest_of_skills(config)
    keys, count, bad = read_keys(out), _Count(), list[BadTask]()
    with ExitStack() as stack:
        source, format_ = open_source(stack, file)
        count_records(source, format_)
        for task in open_tasks(source, format_, told.samples):
            if isinstance(task, BadTask):
                bad.append(task)
                continue
            own = msgspec.structs.replace(settings, **task.settings)
            for sample in range(task.samples):
                if not part.has(task.index, sample):
                    continue
                key = key_of(task.prompt, seed_of(task, told.seed, sample), own, models, skills)
                if keys.state_of(task.index, sample, key) == "done":
                    count.done += 1
                elif part.limit is None or count.tasks < part.limit:
                    count.tasks += 1
                    count.max_images += own.max_rounds * own.candidates
    return count, bad


def _read_past(folder: Path, models: dict[str, str], *, is_named: bool) -> PastRun | None:
    """Return what the run of a folder took; None where it has no picture of these models, and need not have.

    Raises:
        OutputError: it cannot be read, or was named and has none.
    """
    tally, others = Tally(), Tally()
    state = None
    if read_run(folder) is not None:
        state = look_at_folder(folder, lambda row: (tally if row.models == models else others).add(row))
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


def _lines_of(count: _Count, models: dict[str, str], estimate: Estimate | None) -> Iterator[str]:
    done = f", and {count.done} that are done" if count.done else ""
    yield f"tasks         {count.tasks}{done}"
    about = "" if estimate is None else f", about {estimate.images}"
    yield f"images        at most {count.max_images}{about}"
    yield f"models        {', '.join(f'{role} {name}' for role, name in models.items())}"
    if estimate is None:
        yield "estimate      none: no earlier run of these models; --like DIR names one"
        return
    yield f"chat calls    about {estimate.calls:,}"
    if estimate.tokens:
        yield f"tokens        about {estimate.tokens:,}"
    if estimate.cost:
        yield f"cost          about {estimate.cost:,.2f}"
    if estimate.seconds is not None:
        yield f"time          about {duration_in_words(estimate.seconds)}, as fast as there"
    yield f"estimate      from {estimate.pictures} pictures in {estimate.like}"
