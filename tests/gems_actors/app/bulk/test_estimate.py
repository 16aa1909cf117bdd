"""What a bulk will take, by what an earlier one took."""

from __future__ import annotations

from dataclasses import replace

from gems_actors.app.bulk.estimate import Estimate, PastRun, estimate_of

PAST = PastRun("out", pictures=40, images=2.5, calls=20.0, tokens=1_000.0, cost=0.1, pictures_per_s=4.0)


def test_a_task_takes_what_one_of_the_earlier_run_took() -> None:
    expected = Estimate("out", 40, images=250, calls=2_000, tokens=100_000, cost=10.0, seconds=25.0)
    assert estimate_of(PAST, tasks=100, max_images=500) == expected


def test_fewer_images_than_there_take_less_of_everything() -> None:
    expected = Estimate("out", 40, images=100, calls=800, tokens=40_000, cost=4.0, seconds=10.0)
    assert estimate_of(PAST, tasks=100, max_images=100) == expected


def test_a_run_that_was_always_killed_tells_no_time() -> None:
    assert estimate_of(replace(PAST, pictures_per_s=None), tasks=100, max_images=500).seconds is None
