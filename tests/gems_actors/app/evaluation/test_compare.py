"""Strategies are compared over the prompts that all runs have, with intervals that are paired by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean, stdev

import msgspec
import pytest

from gems_actors.app.evaluation import compare as comparing
from gems_actors.app.evaluation.figures import Figure, Parts
from gems_actors.app.evaluation.runs import ALL_MET, IMAGES, Key, Run, RunFigure, read_run_folder
from gems_actors.app.evaluation.scoring.spatialgeneval import SPATIALGENEVAL
from gems_actors.app.evaluation.scoring.wise import WISE_LEGACY
from gems_actors.errors import UsageError
from tests.gems_actors.app.evaluation.folders import row, write_folder

compare = partial(comparing.compare, resamples=2000)
curve_of = partial(comparing.curve_of, resamples=100)
GM = Figure("GM", scale=100.0, largest=100.0)


def run_of(strategy: str, scores: Mapping[str, float | Parts], *, seed: int = 0, figure: Figure = GM) -> Run:
    """Return a run with one figure; scores are from 0 to 1, by prompt."""
    parts: dict[Key, Parts] = {
        (prompt, 0): {"": (float(value), 1.0)} if isinstance(value, float | int) else value
        for prompt, value in scores.items()
    }
    return Run(
        folder=f"{strategy}-{seed}", strategy=strategy, seed=seed, prompts=len(scores),
        figures={figure.name: RunFigure(figure, parts)}, totals={}, stages=(), has_one_round=False,
        made_with={},
    )  # fmt: skip


def numbered(values: list[float]) -> dict[str, float]:
    return {f"prompt {number:04d}": value for number, value in enumerate(values)}


def test_two_seeds_give_an_interval_within_the_scale() -> None:
    random = Random(0)
    first, second = ([min(1.0, 0.9 + 0.2 * random.random()) for _ in range(16)] for _ in range(2))
    compared = compare([run_of("gems", numbered(first)), run_of("gems", numbered(second), seed=1)])
    item = compared.rows["gems"].figures["GM"]
    assert compared.rows["gems"].repeats == 2
    assert item.mean == pytest.approx(100 * fmean([*first, *second]))
    assert item.low is not None
    assert item.high is not None
    assert 90 < item.low < item.mean < item.high <= 100


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    random = Random(1)
    values = [random.random() for _ in range(300)]
    item = compare([run_of("gems", numbered(values))]).rows["gems"].figures["GM"]
    half_width = 100 * NormalDist().inv_cdf(0.975) * stdev(values) / 300**0.5
    assert item.low == pytest.approx(item.mean - half_width, abs=0.3)
    assert item.high == pytest.approx(item.mean + half_width, abs=0.3)


def test_a_difference_is_paired_by_prompt() -> None:
    random = Random(2)
    single = [random.random() * 0.8 for _ in range(100)]
    better = [value + 0.1 + 0.02 * random.random() for value in single]
    compared = compare([run_of("single", numbered(single)), run_of("gems", numbered(better))])
    assert compared.rows["single"].differences == {}
    less = compared.rows["gems"].differences["GM"]
    assert less.mean == pytest.approx(100 * (fmean(better) - fmean(single)))
    assert less.low is not None
    assert less.high is not None
    assert less.high - less.low < 0.5, "each prompt gains about as much, however much the prompts differ"
    wide = compared.rows["gems"].figures["GM"]
    assert wide.low is not None
    assert wide.high is not None
    assert wide.high - wide.low > 5


def test_equal_runs_do_not_differ() -> None:
    values = numbered([0.1, 0.9, 0.4, 0.7])
    less = compare([run_of("single", values), run_of("gems", values)]).rows["gems"].differences["GM"]
    assert (less.mean, less.low, less.high) == (0.0, 0.0, 0.0)


def test_seeds_that_differ_widen_the_interval_of_a_strategy() -> None:
    low, high = numbered([0.4, 0.5, 0.6] * 20), numbered([0.6, 0.7, 0.8] * 20)
    one = compare([run_of("gems", low)]).rows["gems"].figures["GM"]
    two = compare([run_of("gems", low), run_of("gems", high, seed=1)]).rows["gems"].figures["GM"]
    assert None not in (one.low, one.high, two.low, two.high)
    assert two.high - two.low > 2 * (one.high - one.low)  # type: ignore[operator]  # both have an interval


def test_the_same_runs_give_the_same_intervals() -> None:
    runs = [run_of("single", numbered([0.1, 0.9, 0.4])), run_of("gems", numbered([0.2, 0.8, 0.5]))]
    assert compare(runs).rows == compare(runs).rows


def test_only_prompts_that_all_runs_have_are_compared() -> None:
    compared = compare([run_of("single", {"a": 0.0, "b": 1.0, "c": 1.0}), run_of("gems", {"b": 0.5, "a": 0.5, "d": 0})])
    assert (compared.prompts, compared.of_prompts) == (2, 3)
    assert [row_.figures["GM"].mean for row_ in compared.rows.values()] == [50.0, 50.0]
    with pytest.raises(ValueError, match="expected runs of the same prompts, got no prompt that all of them have"):
        compare([run_of("single", {"a": 0.0}), run_of("gems", {"b": 0.5})])


def test_one_prompt_has_no_interval() -> None:
    item = compare([run_of("gems", {"a": 0.25})]).rows["gems"].figures["GM"]
    assert (item.mean, item.low, item.high) == (25.0, None, None)


def test_categories_are_weighted_in_every_resample_as_in_the_score() -> None:
    (figure,) = WISE_LEGACY.figures
    scores: dict[str, Parts] = {}
    for number, (category, weight) in enumerate((figure.weights or {}).items()):
        for count in range(40):
            scores[f"{category} {count}"] = {category: (float(count % 5 == number % 5), 1.0)}
            assert weight > 0
    item = compare([run_of("gems", scores, figure=figure)]).rows["gems"].figures[figure.name]
    assert item.mean == pytest.approx(20.0)
    assert item.low is not None
    assert 8 < item.low < 17, "a fifth of 240, of which culture weighs most"
    lone = scores | {f"culture {count}": {"culture": (1.0, 1.0)} for count in range(40)}
    sure = compare([run_of("gems", lone, figure=figure)]).rows["gems"].figures[figure.name]
    assert sure.low is not None
    assert sure.low > 40, "no resample is without culture, which is always right"


def test_every_dimension_weighs_the_same_in_every_resample() -> None:
    (figure,) = SPATIALGENEVAL.figures
    scores: dict[str, Parts] = {
        f"prompt {count}": {"Object": (1.0, 1.0), "Layout": (float(count % 2), 1.0)} for count in range(100)
    }
    item = compare([run_of("gems", scores, figure=figure)]).rows["gems"].figures[figure.name]
    assert item.mean == pytest.approx(75.0)
    assert item.low == pytest.approx(75 - 50 * 1.96 * 0.5 / 10, abs=0.6)


def test_a_folder_is_read_with_its_scores_and_what_it_was_made_with(tmp_path: Path) -> None:
    rows = [row("a cow", 0, [2, 4]), row("a pig", 1, [3, 1, 2]), row("a cow", 2, [1])]
    run = read_run_folder(write_folder(tmp_path / "out", rows, scores={"00000": 24, "00001": 12, "00002": 9}, seed=3))
    assert list(run.figures) == ["creativity (of 30)", "all met %", "requirements met %", "images each"]
    figures = compare([run]).rows["gems"].figures
    assert {name: round(item.mean, 3) for name, item in figures.items()} == {
        "creativity (of 30)": 15.0,
        "all met %": 33.333,
        "requirements met %": round(100 * 8 / 12, 3),
        "images each": 2.0,
        "calls each": 0.0,
    }
    assert (run.strategy, run.seed, run.prompts) == ("gems", 3, 3)
    assert run.made_with["models"] == "chat: talker-2, image: painter-1"
    assert run.made_with["judge"] == "judge-8b"


def test_records_of_an_earlier_version_have_their_ids_as_objects(tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row("a cow", 0, [4]), metadata={"id": "00000"}), row("a pig", 1, [4])]
    run = read_run_folder(write_folder(tmp_path / "out", rows, scores={"00000": 24, "00001": 12}))
    assert compare([run]).rows["gems"].figures["creativity (of 30)"].mean == 18.0


def test_scores_of_an_earlier_version_are_compared_without_an_interval(tmp_path: Path) -> None:
    out = write_folder(
        tmp_path / "out", [row("a cow", 0, [4]), row("a pig", 1, [2])], scores={"00000": 24, "00001": 12}
    )
    (out / "crea").mkdir()
    (out / "scores.json").rename(out / "crea" / "scores.json")
    (out / "scores_by_prompt.jsonl").unlink()
    figures = compare([read_run_folder(out)]).rows["gems"].figures
    assert (figures["creativity (of 30)"].mean, figures["creativity (of 30)"].low) == (18.0, None)
    assert figures["all met %"].low is not None


def test_samples_of_a_prompt_are_resampled_together(tmp_path: Path) -> None:
    rows = [
        row(f"prompt {index}", index, [4 * (index % 2)], sample=sample) for index in range(20) for sample in range(9)
    ]
    many = compare([read_run_folder(write_folder(tmp_path / "many", rows))]).rows["gems"].figures[ALL_MET.name]
    one = compare([read_run_folder(write_folder(tmp_path / "one", rows[::9]))]).rows["gems"].figures[ALL_MET.name]
    assert (many.mean, many.low, many.high) == (one.mean, one.low, one.high)


def test_a_curve_has_what_is_met_after_each_round_and_the_score_after_the_last(tmp_path: Path) -> None:
    rows = [row("a cow", 0, [2, 4]), row("a pig", 1, [3, 1, 2]), row("a hen", 2, [4])]
    scores = {"00000": 24, "00001": 12, "00002": 9}
    run = read_run_folder(write_folder(tmp_path / "out", rows, scores=scores))
    points = {(point.rounds, point.figure): point for point in curve_of([run])}
    assert [round(points[number, ALL_MET.name].estimate.mean, 1) for number in (1, 2, 3)] == [33.3, 66.7, 66.7]
    assert [points[number, ALL_MET.name].images for number in (1, 2, 3)] == pytest.approx([1, 5 / 3, 2])
    assert points[1, "requirements met %"].estimate.mean == pytest.approx(75.0)
    assert points[3, "creativity (of 30)"].estimate.mean == pytest.approx(15.0)
    assert (1, "creativity (of 30)") not in points
    assert IMAGES.name not in {figure for _, figure in points}


@pytest.mark.parametrize("content", ["{}", "torn", '{"scorer": "crea"}', '{"scorer": "none"}'])
def test_a_folder_that_cannot_be_compared_is_a_usage_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match="expected the output of `gems bulk` or `gems eval`, got none"):
        read_run_folder(tmp_path)
    with pytest.raises(UsageError, match="expected pictures, got none"):
        read_run_folder(write_folder(tmp_path / "empty", []))
    out = write_folder(tmp_path / "out", [row("a cow", 0, [4])])
    (out / "scores.json").write_text(content)
    with pytest.raises(UsageError, match=r"scores\.json: expected scores that `gems eval --score` wrote, got: "):
        read_run_folder(out)
