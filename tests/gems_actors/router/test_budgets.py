"""One peer cannot use up what all peers share."""

from __future__ import annotations

import pytest

from gems_actors.errors import OverloadedError
from gems_actors.router.budgets import CHANGES_WINDOW_S, MAX_CHANGES, MAX_MARKS
from tests.gems_actors.router.dispatching import Stage


def pause_many(stage: Stage, count: int, peer: str) -> None:
    for number in range(count):
        stage.control("pause", f"{peer}-{number}", peer=peer)
        if (number + 1) % MAX_CHANGES == 0:
            stage.now += CHANGES_WINDOW_S


def test_a_peer_pauses_up_to_its_share_and_others_go_on_pausing() -> None:
    stage = Stage()
    pause_many(stage, MAX_MARKS, "hostile")
    with pytest.raises(
        OverloadedError, match=f"at most {MAX_MARKS} runs and trajectories paused by one peer"
    ) as caught:
        stage.control("pause", "one more", peer="hostile")
    assert caught.value.retry_after_s > 0
    stage.control("pause", "mine", peer="honest")
    stage.control("pause", "hostile-7", peer="hostile")  # it is paused already
    stage.control("cancel", "hostile-7", peer="honest")
    stage.control("pause", "one more", peer="hostile")
    assert len(stage.dispatcher.status(stage.now).run_states) == MAX_MARKS + 2


def test_a_peer_may_cancel_any_number_of_runs_over_time() -> None:
    stage = Stage()
    for number in range(3 * MAX_MARKS):
        stage.control("cancel", f"job-{number}")
        stage.now += CHANGES_WINDOW_S / MAX_CHANGES


def test_a_peer_that_changes_run_states_too_often_is_told_when_it_may_again() -> None:
    stage = Stage()
    for number in range(MAX_CHANGES):
        stage.control("resume" if number % 2 else "pause")
    with pytest.raises(OverloadedError, match=f"at most {MAX_CHANGES} changes of run states") as caught:
        stage.control("pause")
    stage.control("pause", peer="another")
    stage.now += caught.value.retry_after_s
    stage.control("pause")


def test_a_connection_that_has_left_gives_back_its_share() -> None:
    stage = Stage()
    stage.join("hostile")
    pause_many(stage, MAX_MARKS, "hostile")
    stage.dispatcher.disconnect(stage.now, b"hostile")
    stage.control("pause", "one more", peer="hostile")
