"""When a run gives up on servers that fail."""

from __future__ import annotations

import pytest

from gems_actors.app.bulk.running.outage import MAX_FAILURES, Outage


def test_a_run_gives_up_after_failures_in_a_row_for_as_long_as_it_waits() -> None:
    outage = Outage(60.0)
    for number in range(MAX_FAILURES - 1):
        outage.fail(10.0 + number, "refused")
    assert outage.since() == 10.0
    assert not outage.is_over(1000.0), "too few"
    outage.fail(20.0, "connection refused")
    assert not outage.is_over(69.0), "too early"
    assert outage.is_over(70.0)
    assert outage.reason == "connection refused"


def test_one_answer_begins_the_wait_from_the_start() -> None:
    outage = Outage(60.0)
    for _ in range(MAX_FAILURES):
        outage.fail(0.0, "gone")
    outage.observe(0.0, 30.0, "gone")
    outage.succeed(50.0)
    assert (outage.since(), outage.reason) == (None, "")
    for _ in range(MAX_FAILURES):
        outage.fail(55.0, "gone")
    assert not outage.is_over(110.0)
    assert outage.is_over(115.0)


def test_without_a_time_to_wait_failures_in_a_row_are_enough() -> None:
    outage = Outage(0.0)
    for _ in range(MAX_FAILURES - 1):
        outage.fail(0.0, "gone")
    assert not outage.is_over(0.0)
    outage.fail(0.0, "gone")
    assert outage.is_over(0.0)


def test_refusals_of_every_request_are_not_waited_for() -> None:
    outage = Outage(600.0)
    for _ in range(MAX_FAILURES):
        outage.fail(0.0, "answered 401", is_refusal=True)
    assert outage.is_over(0.0)


def test_requests_that_roles_still_retry_count_since_the_last_answer_of_this_run() -> None:
    outage = Outage(60.0)
    outage.observe(100.0, 59.0, "planner: breaker open")
    assert not outage.is_over(100.0)
    assert outage.is_over(101.0)
    outage.succeed(101.0)
    outage.observe(102.0, 61.0, "planner: breaker open")
    assert outage.since() == 101.0, "a mesh that others use may have failed their requests before"
    assert not outage.is_over(160.0)
    outage.observe(161.0, 0.0, "")
    assert outage.since() is None


@pytest.mark.parametrize(("failing_s", "is_over"), [(1.0, False), (5.0, True)])
def test_without_a_time_to_wait_a_moment_without_an_answer_stops_nothing(failing_s: float, is_over: bool) -> None:
    outage = Outage(0.0)
    outage.observe(100.0, failing_s, "gone")
    assert outage.is_over(100.0) is is_over
