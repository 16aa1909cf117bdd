"""The adaptive limit while its server fails or asks for a pause."""

from __future__ import annotations

import pytest

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from tests.gems_actors.backends.simulation import answered


def test_five_failures_in_a_row_open_the_breaker_and_one_answer_closes_it() -> None:
    limit = AdaptiveLimit()
    for number in range(5):
        assert (limit.breaker_state(0.0), limit.can_start(0.0)) == ("closed", True), number
        limit.start()
        limit.fail(0.0, "gone")
    assert (limit.breaker_state(0.5), limit.can_start(0.5), limit.is_unavailable(0.5)) == ("open", False, True)
    assert (limit.breaker_state(1.0), limit.can_start(1.0), limit.is_unavailable(1.0)) == ("half-open", True, True)
    limit.start()
    assert not limit.can_start(1.0), "half-open, one request tries for all"
    limit.fail(1.2, "still gone")
    assert (limit.breaker_state(3.1), limit.breaker_state(3.2)) == ("open", "half-open"), "twice as long as before"
    limit.start()
    limit.succeed(3.3, 0.1)
    assert (limit.breaker_state(3.3), limit.can_start(3.3), limit.is_unavailable(3.3)) == ("closed", True, False)
    assert limit.resumes_at() == float("-inf")


@pytest.mark.parametrize("ending", ["answer", "rejection"])
def test_an_answer_and_a_rejection_end_a_row_of_failures(ending: str) -> None:
    limit = AdaptiveLimit()
    for number in range(9):
        limit.start()
        if number == 4:
            limit.succeed(0.0, 0.1) if ending == "answer" else limit.reject(0.0, "429", None)
        else:
            limit.fail(0.0, "gone")
    assert limit.is_closed
    limit.start()
    limit.fail(0.0, "gone")
    assert not limit.is_closed


def test_the_open_phase_doubles_up_to_thirty_seconds_and_starts_over_after_an_answer() -> None:
    limit, now = AdaptiveLimit(), 0.0
    phases = []
    for number in range(12):
        limit.start()
        limit.fail(now, "gone")
        if number >= 4:
            phases.append(limit.resumes_at() - now)
            now = limit.resumes_at()
    assert phases == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    limit.start()
    limit.succeed(now, 0.1)
    for _ in range(5):
        limit.start()
        limit.fail(now, "gone")
    assert limit.resumes_at() - now == 1.0


def test_requests_in_flight_when_the_breaker_opened_do_not_extend_the_open_phase() -> None:
    limit = AdaptiveLimit()
    for _ in range(8):
        limit.start()
    for _ in range(8):
        limit.fail(0.0, "gone")
    assert limit.resumes_at() == 1.0


def test_a_server_that_comes_back_starts_with_a_small_window_that_grows_fast() -> None:
    limit = AdaptiveLimit()
    limit.window = 100.0
    for _ in range(5):
        limit.start()
        limit.fail(0.0, "gone")
    assert answered(limit, 1.0, 0.1) == -98.0, "it starts at one, and grows at the first answer"
    assert answered(limit, 1.0, 0.1, in_flight=2) == 1.0


def test_a_busy_server_does_not_open_the_breaker() -> None:
    limit = AdaptiveLimit()
    for _ in range(20):
        limit.start()
        limit.reject(0.0, "429", None)
    assert (limit.breaker_state(0.0), limit.can_start(0.0)) == ("closed", True), "at least one request may always go"


def test_no_request_starts_during_a_pause_and_only_a_long_one_makes_the_server_unavailable() -> None:
    limit = AdaptiveLimit()
    limit.pause(10.0, 5.0, "used up")
    limit.pause(10.0, 1.0, "busy")
    assert limit.pause_reason == "used up"
    assert [limit.can_start(now) for now in (10.0, 14.9, 15.0)] == [False, False, True]
    assert [limit.is_unavailable(now) for now in (10.0, 12.9, 13.0, 14.0)] == [True, True, False, False]
    assert limit.resumes_at() == 15.0
