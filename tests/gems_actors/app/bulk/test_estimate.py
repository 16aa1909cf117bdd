"""Estimates from an earlier run."""

from __future__ import annotations

from msgspec.structs import replace

from gems_actors.app.bulk.estimate import Estimate, estimate_of
from gems_actors.app.bulk.finished.survey import TaskCount
from gems_actors.app.bulk.folder_files import FolderState
from gems_actors.app.bulk.totals import Tally
from protocol.messages import Spent

PAST = Tally(pictures=40, images=100)
SPENT = {"planner": Spent(calls=800, prompt_tokens=30_000, completion_tokens=10_000, cost=4.0, seconds=1.0)}
STATE = FolderState(running=None, failures={}, spent=SPENT, priced=40, timed_pictures=20, timed_s=5.0)


def test_an_estimate_scales_with_the_number_of_tasks() -> None:
    expected = Estimate("out", 40, images=250, calls=2_000, tokens=100_000, cost=10.0, seconds=25.0)
    assert estimate_of("out", PAST, STATE, TaskCount(tasks=100, max_images=500)) == expected


def test_a_lower_limit_of_images_scales_everything_down() -> None:
    expected = Estimate("out", 40, images=100, calls=800, tokens=40_000, cost=4.0, seconds=10.0)
    assert estimate_of("out", PAST, STATE, TaskCount(tasks=100, max_images=100)) == expected


def test_without_a_timed_run_there_is_no_estimate_of_time() -> None:
    untimed = replace(STATE, timed_pictures=0, timed_s=0.0)
    assert estimate_of("out", PAST, untimed, TaskCount(tasks=100, max_images=500)).seconds is None
