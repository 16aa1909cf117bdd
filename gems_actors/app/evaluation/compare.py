"""Compares strategies on the same prompts, with intervals from a bootstrap that is paired by prompt. Pure.

Every resample draws the prompts with replacement, the same for all runs, and for a strategy with several runs (such as
one per seed) also its runs; the benchmark's own formula then gives each figure. An interval lies between the 2.5th and
the 97.5th percentile, so it never leaves the scale. The random numbers have a fixed seed: the same folders give the
same intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from statistics import fmean
from typing import Final

from gems_actors.app.evaluation.bootstrap import interval_of, resampled_sums
from gems_actors.app.evaluation.figures import Figure, sum_parts
from gems_actors.app.evaluation.runs import CALLS, IMAGES, Key, Run, RunFigure

RESAMPLES: Final = 10_000
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of a strategy, or the difference of two, as the mean over its runs."""

    mean: float
    low: float | None = None
    """Lower end of the 95 % interval; None where there is none, as for a single prompt."""
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of a strategy."""

    repeats: int
    """Number of its runs."""
    figures: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    """Its figures less those of the first strategy; none for the first."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A figure of a strategy after some rounds, or after some images of its only round."""

    strategy: str
    repeats: int
    rounds: int
    images: float
    """Mean number of images drawn for a picture until then."""
    calls: float | None
    """Mean number of calls of chat models for a picture until then; None if unknown."""
    figure: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Comparison:
    """Strategies side by side."""

    rows: Mapping[str, Row]
    """By strategy, in the order of the runs."""
    figures: Sequence[str]
    prompts: int
    """Prompts that all runs have; only these are compared."""
    of_prompts: int
    """Prompts of the largest run."""
    prompts_sha256: str
    """Digest of the compared prompts: SHA-256 of them in sorted order, each followed by a line feed."""
    largest: Mapping[str, float | None]
    """End of the scale of each figure; None for a figure without one."""
    runs: Sequence[Run]
    resamples: int


@dataclass(slots=True)
class _Values:
    """A figure of one strategy: its value, and its values on the resamples."""

    mean: float
    resampled: list[float | None] = field(default_factory=list)

    def estimate(self) -> Estimate:
        return _estimate(self.mean, self.resampled)

    def less(self, other: _Values) -> Estimate:
        pairs = zip(self.resampled, other.resampled, strict=True)
        return _estimate(self.mean - other.mean, [None if a is None or b is None else a - b for a, b in pairs])


def _estimate(mean: float, resampled: Sequence[float | None]) -> Estimate:
    found = [value for value in resampled if value is not None]
    if len(found) < max(2, len(resampled) // 2):
        return Estimate(mean)
    low, high = interval_of(found)
    return Estimate(mean, min(low, mean), max(high, mean))  # a sum in fixed point may miss the mean by its last bit


def compare(runs: Sequence[Run], *, resamples: int = RESAMPLES) -> Comparison:
    """Return the figures by strategy; runs of the same strategy are its repeats.

    Raises:
        ValueError: there is no prompt that all runs have.
    """
    strategies = _strategies_of(runs)
    keys = _common_keys(runs)
    found = _resample({name: [run.figures for run in repeats] for name, repeats in strategies.items()}, keys, resamples)
    rows: dict[str, Row] = {}
    for name, repeats in strategies.items():
        figures = {key: values.estimate() for key, values in found[name].items()}
        for key in dict.fromkeys(key for run in repeats for key in run.totals):
            figures.setdefault(key, Estimate(fmean(run.totals[key] for run in repeats if key in run.totals)))
        baseline = found[next(iter(strategies))] if rows else {}
        differences = {key: values.less(baseline[key]) for key, values in found[name].items() if key in baseline}
        rows[name] = Row(len(repeats), figures, differences)
    return Comparison(
        rows=rows,
        figures=list(dict.fromkeys(figure for run in runs for figure in (*run.figures, *run.totals))),
        prompts=len(keys),
        of_prompts=max(run.prompts for run in runs),
        prompts_sha256=sha256("".join(f"{prompt}\n" for prompt, _ in keys).encode()).hexdigest(),
        largest={figure: item.figure.largest for run in runs for figure, item in run.figures.items()},
        runs=runs,
        resamples=resamples,
    )


def curve_of(runs: Sequence[Run], *, resamples: int = RESAMPLES) -> list[CurvePoint]:
    """Return the figures after each stage; scores, which are known of the final pictures only, are after the last.

    Raises:
        ValueError: there is no prompt that all runs have.
    """
    strategies, keys = _strategies_of(runs), _common_keys(runs)
    last = {name: max(len(run.stages) for run in repeats) for name, repeats in strategies.items()}
    found = _resample(
        {name: [_by_stage(run, last[name]) for run in repeats] for name, repeats in strategies.items()}, keys, resamples
    )
    points = []
    for name, repeats in strategies.items():
        for label, values in found[name].items():
            number, _, figure = label.partition(" ")
            images = found[name][f"{number} {IMAGES.name}"].mean
            calls = found[name].get(f"{number} {CALLS.name}")
            if figure not in (IMAGES.name, CALLS.name):
                rounds = 1 if all(run.has_one_round for run in repeats) else int(number)
                spent = None if calls is None else calls.mean
                points.append(CurvePoint(name, len(repeats), rounds, images, spent, figure, values.estimate()))
    return points


def at_budget(runs: Sequence[Run], what: Figure, budget: float) -> list[Run]:
    """Return the runs as they stood when a picture had cost, on average, at most this many images or calls.

    `what` is `IMAGES` or `CALLS`. Each strategy is cut after the same stage in all of its runs.

    Raises:
        ValueError: the calls of a run are unknown, or its first stage costs more already.
    """
    cut = []
    for name, repeats in _strategies_of(runs).items():
        last = max(len(run.stages) for run in repeats)
        found = [fmean(_mean_of(run, what, number) for run in repeats) for number in range(1, last + 1)]
        within = [number for number, cost in enumerate(found, 1) if cost <= budget]
        if not within:
            raise ValueError(
                f"expected runs with a stage of at most {budget:g} {what.name}, got {name} with {found[0]:.1f}"
            )
        cut += [_cut_after(run, within[-1], last) for run in repeats]
    return cut


def _cut_after(run: Run, number: int, last: int) -> Run:
    if number == last:
        return run
    return replace(run, figures=run.stages[min(number, len(run.stages)) - 1], totals={})


def _mean_of(run: Run, what: Figure, number: int) -> float:
    figures = run.stages[min(number, len(run.stages)) - 1]
    value = what.value(sum_parts(figures[what.name].parts.values())) if what.name in figures else None
    if value is None:
        raise ValueError(f"expected runs of this version, got {run.folder}, whose {what.name} are unknown")
    return value


def _by_stage(run: Run, last: int) -> dict[str, RunFigure]:
    """Return the figures of a run after each stage up to `last`, named by stage and figure."""
    figures: dict[str, RunFigure] = {}
    for number in range(1, last + 1):
        of_stage = run.stages[min(number, len(run.stages)) - 1]
        shown = {**of_stage, **run.figures} if number == last else of_stage
        figures |= {f"{number} {name}": item for name, item in shown.items()}
    return figures


def _strategies_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    strategies: dict[str, list[Run]] = {}
    for run in runs:
        strategies.setdefault(run.strategy, []).append(run)
    return {name: sorted(repeats, key=lambda run: run.seed) for name, repeats in strategies.items()}


def _common_keys(runs: Sequence[Run]) -> list[Key]:
    """Return the prompts of which every run has all its figures."""
    keys = set.intersection(*(set(item.parts) for run in runs for item in run.figures.values()))
    if not keys:
        raise ValueError("expected runs of the same prompts, got no prompt that all of them have")
    return sorted(keys)


def _resample(
    strategies: Mapping[str, Sequence[Mapping[str, RunFigure]]], keys: Sequence[Key], resamples: int
) -> dict[str, dict[str, _Values]]:
    """Return the values of each figure by strategy, from the figures of the runs of each strategy."""
    columns: dict[tuple[float, ...], int] = {}
    strata: dict[Key, dict[str, None]] = {key: {} for key in keys}
    cells: list[tuple[Figure, _Values, list[_Places]]] = []
    found: dict[str, dict[str, _Values]] = {name: {} for name in strategies}
    for name, runs in strategies.items():
        for label in dict.fromkeys(label for run in runs for label in run):
            items = [run[label] for run in runs if label in run]
            means = [item.figure.value(sum_parts(item.parts[key] for key in keys)) for item in items]
            if None not in means:
                values = found[name][label] = _Values(fmean(mean for mean in means if mean is not None))
                cells.append((items[0].figure, values, [_add_columns(columns, item, keys) for item in items]))
                for key in keys:
                    strata[key] |= dict.fromkeys(items[0].parts[key])
    if len(keys) > 1:
        rows: dict[tuple[str, ...], list[int]] = {}
        for row, groups in enumerate(strata.values()):
            rows.setdefault(tuple(sorted(groups)), []).append(row)
        _fill(cells, list(columns), list(rows.values()), resamples)
    return found


_Places = Sequence[tuple[float, int, int]]
"""For each group its weight, and the columns of the sum and of the number of its values."""


def _add_columns(columns: dict[tuple[float, ...], int], item: RunFigure, keys: Sequence[Key]) -> _Places:
    """Add the columns of a figure, unless there are equal ones, and return their places."""
    parts = [item.parts[key] for key in keys]
    groups = dict.fromkeys(group for one in parts for group in one)
    weights = item.figure.weights or dict.fromkeys(groups, 1 / len(groups))
    places = []
    for group in groups:
        sums, counts = zip(*(one.get(group, (0.0, 0.0)) for one in parts), strict=True)
        first, second = columns.setdefault(sums, len(columns)), columns.setdefault(counts, len(columns))
        places.append((weights[group], first, second))
    return places


def _fill(
    cells: Sequence[tuple[Figure, _Values, list[_Places]]],
    columns: Sequence[Sequence[float]],
    strata: Sequence[Sequence[int]],
    resamples: int,
) -> None:
    """Append the value of every figure on each resample."""
    random = Random(_SEED)  # not for secrets
    repeats = sorted({len(runs) for _, _, runs in cells})
    for sums in resampled_sums(columns, strata, resamples, random):
        chosen = {count: random.choices(range(count), k=count) if count > 1 else [0] for count in repeats}
        for figure, values, runs in cells:
            drawn = [
                figure.weighted((weight, sums[total], sums[count]) for weight, total, count in runs[number])
                for number in chosen[len(runs)]
            ]
            found = [value for value in drawn if value is not None]
            values.resampled.append(sum(found) / len(found) if len(found) == len(drawn) else None)
