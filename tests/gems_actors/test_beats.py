"""Beats: what processes of one host do from time to time, they do at the same moments."""

from __future__ import annotations

import pytest

from gems_actors.beats import seconds_to_beat


@pytest.mark.parametrize("period_s", [0.05, 1.0, 60.0])
def test_processes_of_a_host_that_begin_to_wait_at_different_times_wake_up_together(period_s: float) -> None:
    began = [1000.0 + place * period_s / 50 for place in range(50)]
    ends = [now + seconds_to_beat(period_s, now, "box") for now in began]
    assert len({round(end / period_s, 6) for end in ends}) == 2  # this beat, or the next one for who came late
    assert all(0.25 <= (end - now) / period_s < 1.25 + 1e-9 for now, end in zip(began, ends, strict=True))


@pytest.mark.parametrize("period_s", [0.5, 2.0, 3.0])
def test_every_beat_of_a_second_is_also_one_of_another_period(period_s: float) -> None:
    each_second = {round((1000.0 + seconds_to_beat(1.0, 1000.0, f"box-{number}")) % 1.0, 6) for number in range(50)}
    others = {round((1000.0 + seconds_to_beat(period_s, 1000.0, f"box-{number}")) % 0.5, 6) for number in range(50)}
    assert others == {round(beat % 0.5, 6) for beat in each_second}


@pytest.mark.parametrize(("period_s", "digits"), [(1.0, 3), (60.0, 0)])
def test_hosts_of_a_mesh_have_beats_of_their_own(period_s: float, digits: int) -> None:
    beats = {round(seconds_to_beat(period_s, 1000.0, f"box-{number}"), digits) for number in range(50)}
    assert len(beats) > 25
