"""The decisions of the supervisor, on a clock that the test sets."""

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


def _backoffs(policy: RestartPolicy, count: int, *, lived_s: float = 0.0, start_s: float = 0.0) -> list[float]:
    """End one process repeatedly, each time after `lived_s`, and return the back-offs."""
    now_s, backoffs = start_s, []
    for _ in range(count):
        now_s += lived_s
        decision = policy.decide("verifier", "verifier-1", 1, lived_s=lived_s, now_s=now_s)
        assert isinstance(decision, RestartAfter)
        backoffs.append(decision.delay_s)
        now_s += decision.delay_s
    return backoffs


def test_the_back_off_doubles_up_to_its_maximum() -> None:
    policy = RestartPolicy(_settings(max_restarts=100, period_s=1000, backoff_s=0.5, max_backoff_s=3))
    assert _backoffs(policy, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_process_that_lived_for_the_period_resets_the_back_off() -> None:
    policy = RestartPolicy(_settings(backoff_s=0.5))
    _backoffs(policy, 3)
    assert _backoffs(policy, 1, lived_s=30.0, start_s=100.0) == [0.5]


def test_each_seat_has_its_own_back_off() -> None:
    policy = RestartPolicy(_settings())
    _backoffs(policy, 3)
    assert policy.decide("verifier", "verifier-2", 1, lived_s=0.0, now_s=5.0) == RestartAfter(0.05)


def test_one_end_too_many_within_the_period_gives_up_with_one_line() -> None:
    policy = RestartPolicy(_settings(max_restarts=3))
    _backoffs(policy, 3)
    decision = policy.decide("verifier", "verifier-2", -9, lived_s=0.0, now_s=1.0)
    assert decision == GiveUp(
        "verifier: ended 4 times within 30 s, expected at most 3; the last time with signal SIGKILL", False
    )


def test_a_single_end_is_counted_as_once() -> None:
    decision = RestartPolicy(_settings(max_restarts=0)).decide("planner", "planner-1", 1, lived_s=0.0, now_s=0.0)
    assert decision == GiveUp(
        "planner: ended once within 30 s, expected at most 0; the last time with exit code 1", False
    )


@pytest.mark.parametrize(("now_s", "decision"), [(29.9, GiveUp), (30.0, RestartAfter)])
def test_ends_before_the_period_are_not_counted(now_s: float, decision: type) -> None:
    policy = RestartPolicy(_settings(max_restarts=1))
    policy.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=0.0)
    assert isinstance(policy.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=now_s), decision)


def test_a_long_back_off_is_cut_so_that_the_limit_can_be_reached() -> None:
    policy = RestartPolicy(_settings(max_restarts=9, period_s=30.0, backoff_s=10.0))
    assert _backoffs(policy, 1) == [3.0]


def test_the_back_off_survives_more_doublings_than_a_float_holds() -> None:
    assert _backoffs(RestartPolicy(_settings(max_restarts=10_000, max_backoff_s=0.001)), 1200)[-1] == 0.001


def test_the_ends_of_one_role_are_not_counted_against_another() -> None:
    policy = RestartPolicy(_settings(max_restarts=3))
    _backoffs(policy, 3)
    assert isinstance(policy.decide("planner", "planner-1", 1, lived_s=0.0, now_s=1.0), RestartAfter)


@pytest.mark.parametrize(("code", "exit_code"), [(64, "64 (wrong usage)"), (78, "78 (bad configuration)")])
def test_a_final_exit_code_gives_up_at_once(code: int, exit_code: str) -> None:
    decision = RestartPolicy(_settings()).decide("memory", "memory-1", code, lived_s=1000.0, now_s=1000.0)
    assert decision == GiveUp(f"memory: ended with exit code {exit_code}; a restart would end the same way", True)


@given(
    max_restarts=st.integers(0, 200),
    period_s=st.floats(0.1, 1000),
    backoff_s=st.floats(0.001, 1000),
    max_backoff_s=st.floats(0.001, 1000),
)
def test_a_process_that_always_ends_at_once_is_given_up_under_any_settings(
    max_restarts: int, period_s: float, backoff_s: float, max_backoff_s: float
) -> None:
    policy = RestartPolicy(_settings(max_restarts, period_s, backoff_s, max_backoff_s))
    now_s = 0.0
    for _ in range(max_restarts):
        decision = policy.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=now_s)
        assert isinstance(decision, RestartAfter)
        now_s += decision.delay_s
    assert isinstance(policy.decide("verifier", "verifier-1", 1, lived_s=0.0, now_s=now_s), GiveUp)
    assert now_s < period_s


@given(lived_s=st.floats(3.01, 1000), ends=st.integers(1, 100))
def test_a_process_that_ends_less_often_than_the_limit_is_always_restarted(lived_s: float, ends: int) -> None:
    backoffs = _backoffs(RestartPolicy(_settings(max_restarts=10, period_s=30)), ends, lived_s=lived_s)
    assert max(backoffs) <= 30 / 11
