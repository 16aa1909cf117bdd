"""Estimates from an earlier run."""

from __future__ import annotations

from dataclasses import replace

from gems_actors.app.bulk.estimate import Estimate, PastRun, estimate_of

PAST = PastRun("out", pictures=40, images=2.5, calls=20.0, tokens=1_000.0, cost=0.1, pictures_per_s=4.0)


def test_an_estimate_scales_with_the_number_of_tasks() -> None:
    expected = Estimate("out", 40, images=250, calls=2_000, tokens=100_000, cost=10.0, seconds=25.0)
    assert estimate_of(PAST, tasks=100, max_images=500) == expected


def test_a_lower_limit_of_images_scales_everything_down() -> None:
    expected = Estimate("out", 40, images=100, calls=800, tokens=40_000, cost=4.0, seconds=10.0)
    assert estimate_of(PAST, tasks=100, max_images=100) == expected


def test_without_a_timed_run_there_is_no_estimate_of_time() -> None:
    assert estimate_of(replace(PAST, pictures_per_s=None), tasks=100, max_images=500).seconds is None
