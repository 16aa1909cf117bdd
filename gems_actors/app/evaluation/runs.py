"""Reads from the folder of a run what a comparison needs: its figures by prompt, and what they were made with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from gems_actors.app.bulk.folder import inspect_folder
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
_CALLS: Final = "calls each"


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
    rounds: tuple[Mapping[str, RunFigure], ...]
    """Figures after each round, from the first on: images each, requirements met, all met."""
    made_with: Mapping[str, str]
    """Version, models, judge, and file of the prompts with its digest; those that are known."""
    has_simulated_errors: bool = False
    """Whether the verifier made simulated errors."""


@dataclass(slots=True)
class _Record:
    """The pictures of one record of the input."""

    prompt: str
    id: object
    truly_met: list[tuple[int, int]] = field(default_factory=list)
    """Requirements truly met, and requirements, of each picture; empty unless simulated errors make a difference."""
    pictures: list[tuple[int, int, bool, tuple[int, ...], float]] = field(default_factory=list)
    """Requirements met, requirements, all met, best number met up to each round, images a round."""


def read_run_folders(folders: Iterable[Path]) -> list[Run]:
    """Return the runs in folders of `gems bulk` or `gems eval`, as far as needed with true verdicts.

    If the verifier of one of them made simulated errors, the pictures of all are read for the truth.

    Raises:
        UsageError: a folder has no run, or no pictures; or a picture whose truth is needed cannot be read.
    """
    folders = list(folders)
    runs = [read_run_folder(folder) for folder in folders]
    if any(run.has_simulated_errors for run in runs):
        return [read_run_folder(folder, with_truth=True) for folder in folders]
    return runs


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
        best, bests = 0, []
        for met in row.met_by_round or (row.met,):
            best = max(best, met)
            bests.append(best)
        each = row.images / max(1, len(bests))
        record.pictures.append((row.met, len(row.requirements), row.all_met, tuple(bests), each))
        for role, name in row.models.items():
            models[role].add(name)
        if with_truth:
            rows.append(row)

    try:
        spec = read_run(folder)
        if spec is None:
            raise OutputError(f"{folder}: expected the output of `gems bulk` or `gems eval`, got none")
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
    figures |= _figures_of(records, keys)
    pictures = sum(len(record.pictures) for record in records.values())
    return Run(
        folder=text_of_path(folder),
        strategy=_name_of(spec),
        seed=spec.seed,
        prompts=len(records),
        figures=figures,
        totals={**totals, _CALLS: chat_cost(spent).calls / pictures},
        rounds=_rounds_of(records, keys),
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
    named = {"gems": ("rounds", "memory"), "best-of-n": ("candidates",)}.get(spec.strategy, ())
    return spec.strategy + "".join(f" {name} {spec.settings[name]}" for name in named if name in spec.settings)


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
        all_met[key] = {"": (float(sum(picture[2] for picture in record.pictures)), count)}
        met[key] = {"": _sums((picture[0], picture[1]) for picture in record.pictures)}
        images[key] = {"": (sum(picture[4] * len(picture[3]) for picture in record.pictures), count)}
    found = (
        RunFigure(ALL_MET, all_met),
        RunFigure(REQUIREMENTS_MET, met),
        *((RunFigure(TRULY_ALL_MET, truly_all_met), RunFigure(TRULY_MET, truly_met)) if truly_met else ()),
        RunFigure(IMAGES, images),
    )
    return {item.figure.name: item for item in found if _has_value(item)}


def _rounds_of(records: Mapping[int, _Record], keys: Mapping[int, Key]) -> tuple[Mapping[str, RunFigure], ...]:
    last = max(len(picture[3]) for record in records.values() for picture in record.pictures)
    rounds = []
    for number in range(1, last + 1):
        all_met, met, images = {}, {}, {}
        for index, record in records.items():
            key, count = keys[index], float(len(record.pictures))
            bests = [(bests[min(number, len(bests)) - 1], total) for _, total, _, bests, _ in record.pictures]
            drawn = (each * min(number, len(bests)) for _, _, _, bests, each in record.pictures)
            met[key] = {"": _sums(bests)}
            all_met[key] = {"": (float(sum(best == total for best, total in bests)), count)}
            images[key] = {"": (sum(drawn), count)}
        found = (RunFigure(IMAGES, images), RunFigure(REQUIREMENTS_MET, met), RunFigure(ALL_MET, all_met))
        rounds.append({item.figure.name: item for item in found if _has_value(item)})
    return tuple(rounds)


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
