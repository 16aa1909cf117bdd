"""Reads from the folder of a run what a comparison needs: its figures by prompt, and what they were made with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from gems_actors.app.bulk.finished.ledger import TaskRef
from gems_actors.app.bulk.folder_files import MESH_FOLDER, costs_of_pictures, inspect_folder
from gems_actors.app.bulk.images.plan import read_plan
from gems_actors.app.bulk.recipe import SIMULATED_ERRORS
from gems_actors.app.bulk.rows import Row, lines_of
from gems_actors.app.bulk.run_spec import RunSpec, read_run
from gems_actors.app.evaluation.description import prompt_id_of, read_description
from gems_actors.app.evaluation.figures import Figure, Parts, sum_parts
from gems_actors.app.evaluation.scores import SCORERS, ScoredPrompt, scores_in
from gems_actors.app.evaluation.truth import true_counts
from gems_actors.app.picture_files import OutputError, text_of_path
from gems_actors.errors import UsageError
from protocol.costs import chat_cost

Key = tuple[str, int]
"""A prompt, and its number among equal ones."""

ALL_MET: Final = Figure("all met %", scale=100.0, largest=100.0)
REQUIREMENTS_MET: Final = Figure("requirements met %", scale=100.0, largest=100.0)
TRULY_ALL_MET: Final = Figure("truly all met %", scale=100.0, largest=100.0)
TRULY_MET: Final = Figure("requirements truly met %", scale=100.0, largest=100.0)
"""By the pictures themselves, where the verifier made simulated errors."""
IMAGES: Final = Figure("images each")
CALLS: Final = Figure("calls each")
_OF_STRATEGY: Final = ("draw.", "verify.", "memory.recall")
"""Beginnings of single settings that tell a strategy from others."""


@dataclass(frozen=True, slots=True)
class RunFigure:
    """A figure of a run, and what each prompt adds to it."""

    figure: Figure
    parts: Mapping[Key, Parts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a comparison needs of one run."""

    folder: str
    strategy: str
    """Strategy with the settings that tell it from others."""
    seed: int
    prompts: int
    figures: Mapping[str, RunFigure]
    """Figures by name, scores first."""
    totals: Mapping[str, float]
    """Figures that are only known of the whole run."""
    stages: tuple[Mapping[str, RunFigure], ...]
    """Figures after each round, or after each image of a run of one round: images and calls each, requirements met, all
    met. The last stage is that of the chosen pictures."""
    has_one_round: bool
    made_with: Mapping[str, str]
    """Version, models, judge, and file of the prompts with its digest; those that are known."""
    has_simulated_errors: bool = False
    """Whether the verifier made simulated errors."""
    overrides: tuple[str, ...] = ()
    """Single settings in the name of the strategy."""


@dataclass(slots=True)
class _Record:
    """The pictures of one record of the input."""

    prompt: str
    id: object
    pictures: list[_Drawn] = field(default_factory=list)
    truly_met: list[tuple[int, int]] = field(default_factory=list)
    """Requirements truly met, and requirements, of each picture; empty unless simulated errors make a difference."""


class _Stage(NamedTuple):
    """What a picture had come to after a round, or after an image of its only round."""

    met: int
    """Requirements met by the best image until then."""
    images: float
    calls: float | None
    """Calls of chat models until then; None where that is unknown."""


class _Drawn(NamedTuple):
    """A picture."""

    met: int
    total: int
    """Requirements."""
    all_met: bool
    stages: tuple[_Stage, ...]

    def at(self, number: int) -> _Stage:
        """Return a stage, counted from 1, or the last one if the picture was finished before."""
        return self.stages[min(number, len(self.stages)) - 1]


class _Calls(NamedTuple):
    """Calls of chat models for one picture."""

    total: int
    by_image: tuple[int, ...]
    """Calls until the verdicts on each image."""


def read_run_folders(folders: Iterable[Path]) -> list[Run]:
    """Return the runs in folders of `gems bulk` or `gems eval`, as far as needed with true verdicts.

    If the verifier of one of them made simulated errors, the pictures of all are read for the truth.

    Raises:
        UsageError: a folder has no run, or no pictures, or is named twice; or a picture whose truth is needed cannot be
            read.
    """
    folders = list(folders)
    for number, folder in enumerate(folders):
        if folder.resolve() in (other.resolve() for other in folders[:number]):
            raise UsageError(f"DIR: {folder}: expected each folder once, got it twice, which would count as a repeat")
    runs = [read_run_folder(folder) for folder in folders]
    if any(run.has_simulated_errors for run in runs):
        runs = [read_run_folder(folder, with_truth=True) for folder in folders]
    return [_without_shared(run, runs) for run in runs]


def _without_shared(run: Run, runs: Sequence[Run]) -> Run:
    """Return a run whose name does not have the single settings that all of several runs have."""
    name = run.strategy
    for item in run.overrides if len(runs) > 1 else ():
        if all(item in other.overrides for other in runs):
            name = name.replace(f" {item}", "", 1)
    return replace(run, strategy=name)


def read_run_folder(folder: Path, *, with_truth: bool = False) -> Run:
    """Return the run in a folder of `gems bulk` or `gems eval`; `with_truth` also by what its storyboards truly show.

    Raises:
        UsageError: the folder has no run, or no pictures; or a picture whose truth is needed cannot be read.
    """
    records: dict[int, _Record] = {}
    rows: list[Row] = []
    models: dict[str, set[str]] = defaultdict(set)

    def take(row: Row) -> None:
        record = records.setdefault(row.index, _Record(row.prompt, prompt_id_of(row)))
        stages = _stages_of(row, calls.get((row.ref, row.sample)), by_image=has_one_round)
        record.pictures.append(_Drawn(row.met, len(row.requirements), row.all_met, stages))
        for role, name in row.models.items():
            models[role].add(name)
        if with_truth:
            rows.append(row)

    try:
        spec = read_run(folder) if folder.is_dir() else None
        if spec is None:
            inner = sorted(run.parent.name for run in folder.glob("*/run.json"))
            got = f"a folder of {len(inner)}; name them, such as {folder / inner[0]}" if inner else "none"
            raise OutputError(f"{folder}: expected the output of `gems bulk` or `gems eval`, got {got}")
        calls, has_one_round = _calls_of(folder), spec.settings.get("rounds") == 1
        spent = inspect_folder(folder, take).spent
        scores = scores_in(folder)
    except OutputError as error:
        raise UsageError(f"DIR: {error}") from error
    if not records:
        raise UsageError(f"DIR: {folder}: expected pictures, got none")
    for row, met in true_counts(folder, rows):
        records[row.index].truly_met.append((met, len(row.requirements)))
    keys = _keys_of(records)
    totals, figures = _scores_of(folder, scores, {str(records[index].id): key for index, key in keys.items()})
    stages = _stage_figures_of(records, keys)
    figures |= _figures_of(records, keys)
    if CALLS.name in stages[-1]:
        figures[CALLS.name] = stages[-1][CALLS.name]
    else:  # a folder of an earlier version
        totals[CALLS.name] = chat_cost(spent).calls / sum(len(record.pictures) for record in records.values())
    return Run(
        folder=text_of_path(folder),
        strategy=_name_of(spec) + str(read_plan(folder / MESH_FOLDER)),
        seed=spec.seed,
        prompts=len(records),
        figures=figures,
        totals=totals,
        stages=stages,
        has_one_round=has_one_round,
        overrides=_overrides_of(spec),
        made_with=_made_with(folder, spec, scores, models),
        has_simulated_errors=any(SIMULATED_ERRORS in name for names in models.values() for name in names),
    )


def _keys_of(records: Mapping[int, _Record]) -> dict[int, Key]:
    """Return the key of each record, by its index in the input."""
    seen: Counter[str] = Counter()
    keys = {}
    for index in sorted(records):
        prompt = records[index].prompt
        keys[index] = (prompt, seen[prompt])
        seen[prompt] += 1
    return keys


def _name_of(spec: RunSpec) -> str:
    """Return the strategy of a run with everything that tells it from others."""
    named = {"gems": ("rounds", "memory", "candidates"), "best-of-n": ("candidates",)}.get(spec.strategy, ())
    parts = [spec.strategy, *([spec.preset] if spec.preset else [])]
    parts += [f"{name} {spec.settings[name]}" for name in named if name in spec.settings]
    return " ".join([*parts, *_overrides_of(spec)])


def _overrides_of(spec: RunSpec) -> tuple[str, ...]:
    return tuple(item for item in spec.overrides if item.startswith(_OF_STRATEGY))


def _calls_of(folder: Path) -> dict[tuple[TaskRef, int], _Calls]:
    """Return the calls for each picture, by task and sample."""
    found: dict[tuple[TaskRef, int], _Calls] = {}
    for cost in costs_of_pictures(folder):
        before = found.get((cost.ref, cost.sample), _Calls(0, ()))
        total = before.total + chat_cost(cost.spent).calls  # a picture that was continued has several costs
        found[cost.ref, cost.sample] = _Calls(total, cost.calls_by_image or before.by_image)
    return found


def _stages_of(row: Row, calls: _Calls | None, *, by_image: bool) -> tuple[_Stage, ...]:
    """Return the stages of a picture: its images if its run has one round, else its rounds."""
    mets = (row.met_by_image if by_image else ()) or row.met_by_round or (row.met,)
    each, best, stages = row.images / len(mets), 0, []
    for number, met in enumerate(mets, 1):
        best, images, spent = max(best, met), each * number, None
        if calls is not None and number == len(mets):
            spent = float(calls.total)
        elif calls is not None and round(images) <= len(calls.by_image):
            spent = float(calls.by_image[round(images) - 1])
        stages.append(_Stage(best, images, spent))
    return tuple(stages)


def _scores_of(
    folder: Path, scores: Mapping[str, Any] | None, keys: Mapping[str, Key]
) -> tuple[dict[str, float], dict[str, RunFigure]]:
    """Return the scores of the whole run that are not known by prompt, and those that are."""
    if scores is None:
        return {}, {}
    scorer = SCORERS[scores["scorer"]]
    found: dict[str, dict[Key, Parts]] = defaultdict(dict)
    for line in lines_of(folder / "scores_by_prompt.jsonl", ScoredPrompt):
        if line is not None and line.id in keys:
            for name, parts in line.parts.items():
                found[name][keys[line.id]] = parts
    figures = {item.name: RunFigure(item, found[item.name]) for item in scorer.figures if item.name in found}
    figures = {name: item for name, item in figures.items() if _has_value(item)}
    return {name: value for name, value in scorer.compare(scores).items() if name not in figures}, figures


def _has_value(item: RunFigure) -> bool:
    return item.figure.value(sum_parts(item.parts.values())) is not None


def _figures_of(records: Mapping[int, _Record], keys: Mapping[int, Key]) -> dict[str, RunFigure]:
    all_met, met, images, truly_all_met, truly_met = {}, {}, {}, {}, {}
    for index, record in records.items():
        key, count = keys[index], float(len(record.pictures))
        if record.truly_met:
            truly_all_met[key] = {"": (float(sum(truly == total > 0 for truly, total in record.truly_met)), count)}
            truly_met[key] = {"": _sums(record.truly_met)}
        all_met[key] = {"": (float(sum(picture.all_met for picture in record.pictures)), count)}
        met[key] = {"": _sums((picture.met, picture.total) for picture in record.pictures)}
        images[key] = {"": (sum(picture.stages[-1].images for picture in record.pictures), count)}
    found = (
        RunFigure(ALL_MET, all_met),
        RunFigure(REQUIREMENTS_MET, met),
        *((RunFigure(TRULY_ALL_MET, truly_all_met), RunFigure(TRULY_MET, truly_met)) if truly_met else ()),
        RunFigure(IMAGES, images),
    )
    return {item.figure.name: item for item in found if _has_value(item)}


def _stage_figures_of(records: Mapping[int, _Record], keys: Mapping[int, Key]) -> tuple[Mapping[str, RunFigure], ...]:
    last = max(len(picture.stages) for record in records.values() for picture in record.pictures)
    figures = []
    for number in range(1, last + 1):
        all_met, met, images, calls = {}, {}, {}, {}
        for index, record in records.items():
            key, count = keys[index], float(len(record.pictures))
            reached = [(picture.at(number), picture.total) for picture in record.pictures]
            met[key] = {"": _sums((stage.met, total) for stage, total in reached)}
            all_met[key] = {"": (float(sum(stage.met == total for stage, total in reached)), count)}
            images[key] = {"": (sum(stage.images for stage, _ in reached), count)}
            spent = [stage.calls for stage, _ in reached if stage.calls is not None]
            calls[key] = {"": (sum(spent), float(len(spent) == len(reached)) * count)}
        found = [RunFigure(ALL_MET, all_met), RunFigure(REQUIREMENTS_MET, met), RunFigure(IMAGES, images)]
        found += [RunFigure(CALLS, calls)] if all(parts[""][1] for parts in calls.values()) else []
        figures.append({item.figure.name: item for item in found if _has_value(item)})
    return tuple(figures)


def _sums(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*pairs, strict=True)
    return float(sum(first)), float(sum(second))


def _made_with(
    folder: Path, spec: RunSpec, scores: Mapping[str, Any] | None, models: Mapping[str, set[str]]
) -> dict[str, str]:
    made_with = {"seed": str(spec.seed), "strategy": spec.strategy}
    with suppress(OutputError, msgspec.DecodeError):
        if (description := read_description(folder)) is not None:
            made_with["version"] = description.version
            made_with["prompt file"] = f"{description.data} (SHA-256 {description.data_sha256})"
    made_with.setdefault("prompt file", spec.source)
    made_with["models"] = ", ".join(f"{role}: {' or '.join(sorted(names))}" for role, names in sorted(models.items()))
    if scores is not None:
        made_with["judge"] = str(scores.get("judge"))
    return made_with
