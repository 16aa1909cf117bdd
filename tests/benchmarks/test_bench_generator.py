"""The batching policy, on a device that only counts, against the best there can be."""

from __future__ import annotations

import pytest

from tests.benchmarks.bench_generator import best_possible, longest_wait, saturated

pytestmark = pytest.mark.slow

TRAJECTORIES = (1, 2, 3, 5, 8, 13, 15, 16, 21, 34, 55, 56, 64)


@pytest.mark.parametrize("side_px", [512, 1024])
def test_the_device_is_kept_busy(side_px: int) -> None:
    for trajectories in TRAJECTORIES:
        rate, best = saturated(side_px, trajectories), best_possible(side_px, trajectories)
        assert 0.98 * best <= rate <= 1.001 * best, trajectories


@pytest.mark.parametrize("side_px", [512, 1024])
@pytest.mark.parametrize("load", [0.05, 0.1, 0.3])
def test_at_light_load_no_request_waits_longer_than_the_running_step(side_px: int, load: float) -> None:
    wait, batch = longest_wait(side_px, load)
    assert 0 < wait <= 1
    assert batch < 2
