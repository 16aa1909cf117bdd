"""The decisions of the supervisor, on a clock that the test turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.config import SupervisorConfig
from gems_actors.supervision.restart_policy import GiveUp, RestartAfter, RestartPolicy


def _settings(
    max_restarts: int = 10, period_s: float = 30.0, backoff_s: float = 0.05, max_backoff_s: float = 10.0
) -> SupervisorConfig:
    return SupervisorConfig(
        max_restarts=max_restarts, period_s=period_s, backoff_s=backoff_s, max_backoff_s=max_backoff_s
    )


def _pauses(rule: RestartPolicy, count: int, *, lived_s: float = 0.0, start_s: float = 0.0) -> list[float]:
    """Let one process end again and again, each after having lived so long, and return the pauses."""
    now_s, pauses = start_s, []
    for _ in range(count):
        now_s += lived_s
        verdict = rule.decide("verifier", "verifier-1", 1, lived_s=lived_s, now_s=now_s)
        assert isinstance(verdict, RestartAfter)
        pauses.append(verdict.delay_s)
        now_s += verdict.delay_s
    return pauses


def test_pauses_double_up_to_the_longest() -> None:
    rule = RestartPolicy(_settings(max_restarts=100, period_s=1000, backoff_s=0.5, max_backoff_s=3))
    assert _pauses(rule, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_process_that_lived_for_the_period_begins_with_the_shortest_pause_again() -> None:
    rule = RestartPolicy(_settings(backoff_s=0.5))
    _pauses(rule, 3)
    assert _pauses(rule, 1, lived_s=30.0, start_s=100.0) == [0.5]


def test_each_seat_has_pauses_of_its_own() -> None:
    rule = RestartPolicy(_settings())
    _pauses(rule, 3)
    assert rule.decide("verifier", "verifier-2", 1, lived_s=0.0, now_s=5.0) == RestartAfter(0.05)


def test_one_end_more_than_allowed_within_the_period_is_given_up_in_one_line() -> None:
    rule = RestartPolicy(_settings(max_restarts=3))
    _pauses(rule, 3)
    verdict = rule.decide("verifier", "verifier-2", -9, lived_s=0.0, now_s=1.0)
    assert verdict == GiveUp(
        "verifier: ended 4 times within 30 s, expected at most 3; the last time with signal SIGKILL", False
    )


def test_ends_before_the_period_are_forgotten() -> None:
    rule = RestartPolicy(_settings(max_restarts=3))
    _pauses(rule, 3)
    assert isinstance(rule.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=60.0), RestartAfter)


def test_the_ends_of_one_role_are_not_counted_against_another() -> None:
    rule = RestartPolicy(_settings(max_restarts=3))
    _pauses(rule, 3)
    assert isinstance(rule.decide("planner", "planner-1", 1, lived_s=0.0, now_s=1.0), RestartAfter)


@pytest.mark.parametrize(("code", "words"), [(64, "64 (wrong usage)"), (78, "78 (bad configuration)")])
def test_an_exit_that_says_never_again_is_given_up_at_once(code: int, words: str) -> None:
    verdict = RestartPolicy(_settings()).decide("memory", "memory-1", code, lived_s=1000.0, now_s=1000.0)
    assert verdict == GiveUp(f"memory: ended with exit code {words}; a restart would end the same way", True)


@given(
    max_restarts=st.integers(0, 200),
    period_s=st.floats(0.1, 1000),
    backoff_s=st.floats(0.001, 1000),
    max_backoff_s=st.floats(0.001, 1000),
)
def test_a_process_that_always_ends_at_once_is_given_up_whatever_the_settings(
    max_restarts: int, period_s: float, backoff_s: float, max_backoff_s: float
) -> None:
    rule = RestartPolicy(_settings(max_restarts, period_s, backoff_s, max_backoff_s))
    now_s = 0.0
    for _ in range(max_restarts):
        verdict = rule.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=now_s)
        assert isinstance(verdict, RestartAfter)
        now_s += verdict.delay_s
    assert isinstance(rule.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=now_s), GiveUp)
    assert now_s < period_s


@given(lived_s=st.floats(3.01, 1000), ends=st.integers(1, 100))
def test_a_process_that_ends_less_often_than_the_intensity_is_always_started_again(lived_s: float, ends: int) -> None:
    pauses = _pauses(RestartPolicy(_settings(max_restarts=10, period_s=30)), ends, lived_s=lived_s)
    assert max(pauses) <= 30 / 11
