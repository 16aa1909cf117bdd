"""The bootstrap agrees with what can be calculated: all resamples of a few prompts, and known intervals of many."""

from __future__ import annotations

from itertools import product
from math import sqrt
from random import Random
from statistics import fmean, quantiles, stdev

import pytest

from gems_actors.app.evaluation.bootstrap import MAX_UNITS, interval_of, resampled_sums


def means(column: list[float], resamples: int = 10_000, seed: int = 0) -> list[float]:
    found = resampled_sums([column], [range(len(column))], resamples, Random(seed))
    return [sums[0] / len(column) for sums in found]


def test_the_interval_is_that_of_all_possible_resamples() -> None:
    column = [0.1, 0.35, 0.4, 0.8, 0.95]
    every = sorted(fmean(drawn) for drawn in product(column, repeat=5))
    found = sorted(means(column))
    for quantile in (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975):
        exact = every[round(quantile * (len(every) - 1))]
        assert found[round(quantile * (len(found) - 1))] == pytest.approx(exact, abs=0.02)
    cuts = quantiles(every, n=40, method="inclusive")
    assert interval_of(found) == pytest.approx((cuts[0], cuts[-1]), abs=0.02)


def test_the_interval_of_many_is_that_of_the_normal_distribution() -> None:
    random = Random(1)
    column = [float(random.random() < 0.3) for _ in range(400)]
    half_width = 1.96 * stdev(column) / sqrt(len(column))
    low, high = interval_of(means(column, resamples=4000))
    assert low == pytest.approx(fmean(column) - half_width, abs=0.005)
    assert high == pytest.approx(fmean(column) + half_width, abs=0.005)


def test_every_column_is_summed_over_the_same_rows() -> None:
    random = Random(2)
    first = [random.random() for _ in range(50)]
    columns = [first, [2 * value for value in first], [1.0] * 50, [0.0] * 50]
    for sums in resampled_sums(columns, [range(50)], 200, Random(0)):
        assert sums[1] == pytest.approx(2 * sums[0], rel=1e-9)
        assert sums[2:] == pytest.approx([50, 0], rel=1e-9)


def test_every_resample_has_as_many_rows_of_each_stratum() -> None:
    in_first = [1.0] * 7 + [0.0] * 3
    for (count,) in resampled_sums([in_first], [range(7), range(7, 10)], 100, Random(0)):
        assert count == pytest.approx(7)
    assert any(sums[0] != pytest.approx(7) for sums in resampled_sums([in_first], [range(10)], 100, Random(0)))


def test_large_and_small_values_keep_their_digits() -> None:
    columns = [[1e6, 3e6], [1e-6, 2e-6]]
    for large, small in resampled_sums(columns, [range(2)], 20, Random(0)):
        twos = round((large - 2e6) / 2e6)
        assert small == pytest.approx((2 + twos) * 1e-6, rel=1e-9)


def test_the_same_seed_gives_the_same_resamples() -> None:
    column = [float(number) for number in range(30)]
    assert means(column, 50) == means(column, 50)
    assert means(column, 50) != means(column, 50, seed=1)


def test_of_many_prompts_blocks_are_drawn_with_the_same_spread() -> None:
    random = Random(3)
    count = 3 * MAX_UNITS
    column = [random.random() for _ in range(count)]
    found = means(column, resamples=300)
    assert fmean(found) == pytest.approx(fmean(column), abs=0.002)
    assert stdev(found) == pytest.approx(stdev(column) / sqrt(count), rel=0.2)
