"""The adaptive limit against simulated servers that are nothing but a capacity and a latency."""

from __future__ import annotations

import pytest

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from tests.gems_actors.backends.simulation import Simulation, answered


@pytest.mark.slow
@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize(("capacity", "seconds"), [(1, 120.0), (4, 120.0), (64, 60.0), (500, 30.0)])
def test_a_server_that_rejects_is_kept_almost_fully_busy(
    capacity: int, seconds: float, retry_after_s: float | None
) -> None:
    simulation = Simulation(capacity, retry_after_s=retry_after_s)
    simulation.run(30.0)
    best = capacity / simulation.latency_s
    assert simulation.run(seconds) >= 0.95 * best
    assert simulation.rejected < 0.01 * simulation.answered + 40


@pytest.mark.parametrize("patience_s", [60.0, 120.0])
def test_five_clients_of_a_server_with_one_slot_lose_few_requests_to_their_timeouts(patience_s: float) -> None:
    limits = [AdaptiveLimit() for _ in range(5)]
    queue: list[tuple[float, int]] = []
    now, late, done = 0.0, 0, 0
    while now < 7200.0:
        for client, limit in enumerate(limits):
            while limit.can_start(now):
                limit.start()
                queue.append((now, client))
        sent, client = queue.pop(0)
        now += 10.0
        limits[client].succeed(now, now - sent)
        done += 1
        for gone in [item for item in queue if now - item[0] > patience_s]:
            queue.remove(gone)
            limits[gone[1]].fail(now, "late", waited_s=patience_s)
            late += 1
    assert done == 720, "the server is always busy"
    assert late <= 30


def test_a_server_that_queues_is_kept_busy_with_a_short_queue() -> None:
    simulation = Simulation(64, queues=True)
    simulation.run(10.0)
    simulation.peak = 0
    assert simulation.run(60.0) >= 0.99 * 64 / 0.2
    assert 64 < simulation.peak <= 64 * 3, "answers that take twice as long mean that requests queue"


def test_a_server_that_gains_capacity_gets_more_requests() -> None:
    simulation = Simulation(16)
    simulation.run(30.0)
    simulation.capacity = 64
    simulation.run(60.0)
    assert simulation.run(30.0) >= 0.9 * 64 / 0.2


# ------------------------------------------------------------------------------------------------ the window


def rejected(limit: AdaptiveLimit, now: float, in_flight: int, wait_s: float | None = None) -> None:
    """Reject the last of some requests in flight, and cancel the others."""
    for _ in range(in_flight):
        limit.start()
    limit.reject(now, "429", wait_s)
    for _ in range(in_flight - 1):
        limit.cancel()


def limit_of(window: float) -> AdaptiveLimit:
    """Return a limit with such a window, before its first answer."""
    limit = AdaptiveLimit()
    limit.window = window
    return limit


def test_the_window_bounds_the_requests_in_flight() -> None:
    limit = AdaptiveLimit()
    limit.window = 2.9
    started = 0
    while limit.can_start(0.0):
        limit.start()
        started += 1
    assert started == 2
    limit.cancel()
    assert limit.can_start(0.0)


def test_the_window_starts_at_one_and_doubles_each_round_trip() -> None:
    limit = AdaptiveLimit()
    assert limit.window == 1.0
    for round_trip in range(1, 8):
        in_flight = int(limit.window)
        for _ in range(in_flight):
            limit.start()
        for _ in range(in_flight):
            limit.succeed(float(round_trip), 0.1)
        assert limit.window == 2.0**round_trip


def test_the_window_grows_by_one_an_answer_while_half_of_it_is_used() -> None:
    limit = limit_of(8.0)
    assert answered(limit, 0.0, 0.1, in_flight=3) == 0.0
    assert answered(limit, 0.0, 0.1, in_flight=4) == 1.0
    assert answered(limit, 0.0, 0.1, in_flight=4) == 0.0, "half of nine is more than four"
    assert answered(limit, 0.0, 0.1, in_flight=5) == 1.0


def test_rising_latency_ends_the_doubling_and_cuts_the_window_to_what_the_server_works_on() -> None:
    limit = limit_of(8.0)
    answered(limit, 0.0, 1.0)
    assert answered(limit, 0.0, 2.6, in_flight=8) == 1.0, "the average, 1.48, is below one and a half times the lowest"
    assert answered(limit, 0.0, 2.0, in_flight=9) == pytest.approx(9.0 / 1.636 - 9.0), "the average is 1.636"
    limit.window = 20.0
    while limit.latency_s > 1.5:
        answered(limit, 0.0, 1.0)
    assert answered(limit, 0.0, 1.0, in_flight=20) == pytest.approx(1 / 4), "this host may only have been busy"
    limit.window = 20.0
    while limit.latency_s < 1.6:
        answered(limit, 0.0, 2.0)
    assert answered(limit, 0.0, 1.6, in_flight=20) == pytest.approx(1 / 16), "but not while latency is raised"


@pytest.mark.parametrize("ending", ["rejection", "timeout"])
def test_once_a_limit_was_found_the_window_grows_slowly_until_the_server_was_away(ending: str) -> None:
    limit = limit_of(40.0)
    answered(limit, 0.0, 1.0)
    if ending == "rejection":
        rejected(limit, 0.0, in_flight=40)
    else:
        limit.start()
        limit.fail(0.0, "late", waited_s=2.0)
    limit.window = 20.0
    assert answered(limit, 100.0, 1.0, in_flight=20) == pytest.approx(1 / 16)
    for _ in range(5):
        limit.start()
        limit.fail(100.0, "gone")
    answered(limit, 102.0, 1.0)
    assert limit.window == 2.0, "slow start"
    answered(limit, 103.0, 20.0)
    while limit.latency_s > 1.4:
        answered(limit, 103.0, 1.0)
    limit.window = 20.0
    assert answered(limit, 103.0, 1.0, in_flight=20) == pytest.approx(1 / 4), "it may have another limit now"


def test_latencies_of_a_swift_server_are_all_alike() -> None:
    limit = limit_of(8.0)
    answered(limit, 0.0, 0.001)
    assert answered(limit, 0.0, 0.15, in_flight=8) == 1.0
    answered(limit, 0.0, 1.0)
    assert limit.window == pytest.approx(9.0 * 0.1 / 0.3316, rel=0.01), "a tenth of a second counts as the lowest"


def test_a_server_with_one_slot_gets_few_requests_at_once() -> None:
    simulation = Simulation(1, latency_s=20.0, queues=True)
    simulation.run(3600.0)
    assert simulation.answered == 180, "it is always busy"
    assert simulation.peak <= 5, "each waits for at most five answers"


def test_after_a_rejection_the_window_is_what_the_server_held_and_grows_slowly() -> None:
    limit = limit_of(8.0)
    rejected(limit, 0.0, in_flight=6)
    assert (limit.window, limit.last_failure, limit.has_answered) == (5.0, "429", True)
    assert answered(limit, 0.99, 0.1, in_flight=5) == 0.0, "the window holds for a second"
    assert answered(limit, 1.0, 0.1, in_flight=5) == pytest.approx(1 / 5), "one per full window"
    limit.window = 64.0
    assert answered(limit, 1.0, 0.1, in_flight=64) == pytest.approx(1 / 16), "or one sixteenth of the window"


def test_a_rejection_never_widens_the_window_nor_closes_it() -> None:
    limit = limit_of(8.0)
    rejected(limit, 0.0, in_flight=20)
    assert limit.window == 8.0
    rejected(limit, 0.0, in_flight=1)
    assert (limit.window, limit.can_start(0.0)) == (1.0, True)


def hold_after_rejection(limit: AdaptiveLimit, now: float, in_flight: int, wait_s: float | None = None) -> float:
    """Return for how many seconds after a rejection the window does not grow, to a hundredth."""
    rejected(limit, now, in_flight, wait_s)
    for hundredths in range(10_000):
        if answered(limit, now + hundredths / 100, 0.1, in_flight=in_flight):
            limit.window = float(in_flight - 1)
            return hundredths / 100
    raise AssertionError("the window never grows")


def test_the_hold_doubles_each_time_the_same_limit_is_found_and_starts_over_at_another() -> None:
    limit = limit_of(100.0)
    holds = [hold_after_rejection(limit, 10.0 * turn, in_flight=11) for turn in range(4)]
    assert holds == pytest.approx([1.0, 2.0, 4.0, 4.0], abs=0.011)
    assert hold_after_rejection(limit, 100.0, in_flight=10) == pytest.approx(4.0, abs=0.011), "9 of 10 is the same"
    assert hold_after_rejection(limit, 110.0, in_flight=6) == pytest.approx(0.5, abs=0.011)


def test_a_rejection_at_the_end_of_the_hold_finds_the_limit_again() -> None:
    limit = limit_of(8.0)
    rejected(limit, 0.0, in_flight=5)
    assert hold_after_rejection(limit, 1.0, in_flight=5) == pytest.approx(2.0, abs=0.011)
    assert hold_after_rejection(limit_of(8.0), 0.0, in_flight=1) == pytest.approx(1.0, abs=0.011)


def test_rejections_during_the_hold_count_as_one() -> None:
    limit = limit_of(8.0)
    rejected(limit, 0.0, in_flight=5)
    rejected(limit, 0.4, in_flight=5)
    assert hold_after_rejection(limit, 0.9, in_flight=5) == pytest.approx(1.0, abs=0.011)
    assert hold_after_rejection(limit, 5.0, in_flight=5) == pytest.approx(2.0, abs=0.011)


def test_a_pause_of_the_server_makes_the_hold_thirty_times_as_long() -> None:
    limit = limit_of(8.0)
    rejected(limit, 0.0, in_flight=5, wait_s=2.0)
    assert [limit.can_start(now) for now in (0.0, 1.99, 2.0)] == [False, False, True]
    assert answered(limit, 59.9, 0.1, in_flight=5) == 0.0
    assert answered(limit, 60.0, 0.1, in_flight=5) > 0.0
    limit = limit_of(8.0)
    rejected(limit, 0.0, in_flight=5, wait_s=0.001)
    assert answered(limit, 0.4, 0.1, in_flight=5) == 0.0, "but never shorter than without one"


def test_timeouts_shrink_the_window_once_for_all_that_were_in_flight() -> None:
    limit = limit_of(8.0)
    for _ in range(4):
        limit.start()
    for _ in range(4):
        limit.fail(10.0, "late", waited_s=30.0)
    assert limit.window == pytest.approx(0.7 * 8)
    assert answered(limit, 10.49, 0.1, in_flight=8) == 0.0
    assert answered(limit, 10.5, 0.1, in_flight=8) == pytest.approx(1 / 5.6), "the fast start is over"


def test_a_timeout_of_a_crowded_server_holds_the_window_for_eight_latencies() -> None:
    limit = limit_of(8.0)
    answered(limit, 0.0, 10.0)
    limit.start()
    limit.fail(10.0, "late", waited_s=40.0)
    assert answered(limit, 89.9, 10.0, in_flight=8) == 0.0
    assert answered(limit, 90.0, 10.0, in_flight=8) > 0.0
    limit = limit_of(8.0)
    answered(limit, 0.0, 10.0)
    limit.start()
    limit.fail(10.0, "hangs", waited_s=40.1)
    assert answered(limit, 10.5, 10.0, in_flight=8) > 0.0, "a request that hangs where others are answered says little"


def test_after_a_timeout_the_window_grows_only_while_answers_take_two_thirds_of_that_time() -> None:
    limit = limit_of(8.0)
    answered(limit, 0.0, 20.0)
    limit.start()
    limit.fail(0.0, "late", waited_s=29.0)
    assert answered(limit, 1000.0, 20.0, in_flight=8) == 0.0
    limit.start()
    limit.fail(1000.0, "late", waited_s=30.0)
    assert answered(limit, 2000.0, 20.0, in_flight=8) > 0.0
    limit.start()
    limit.fail(2000.0, "late", waited_s=29.0)
    limit.start()
    limit.fail(3000.0, "hangs", waited_s=600.0)
    assert answered(limit, 4000.0, 20.0, in_flight=8) > 0.0, "the last timeout counts"


def test_a_timeout_shrinks_the_window_again_when_the_hold_is_over() -> None:
    limit = limit_of(8.0)
    for now, window in ((10.0, 0.7 * 8), (10.49, 0.7 * 8), (10.5, 0.49 * 8)):
        limit.start()
        limit.fail(now, "late", waited_s=30.0)
        assert limit.window == pytest.approx(window)


def test_timeouts_and_slow_answers_leave_a_window_of_one() -> None:
    limit = AdaptiveLimit()
    for turn in range(20):
        limit.start()
        limit.fail(10.0 * turn, "late", waited_s=30.0)
    assert limit.window == 1.0
    limit = AdaptiveLimit()
    answered(limit, 0.0, 0.01)
    for _ in range(200):
        answered(limit, 0.0, 100.0, in_flight=2)
    assert limit.window == 1.0


def test_a_failure_of_the_request_alone_leaves_window_and_breaker_as_they_are() -> None:
    limit = limit_of(8.0)
    for _ in range(20):
        limit.start()
        limit.disregard(10.0, "nonsense")
    assert (limit.window, limit.last_failure, limit.in_flight, limit.has_answered) == (8.0, "nonsense", 0, True)
    assert limit.is_closed
    limit.start()
    limit.disregard(10.0, "408", waited_s=60.0)
    assert limit.window == pytest.approx(0.7 * 8)
    for _ in range(5):
        limit.start()
        limit.fail(20.0, "gone")
    limit.start()
    limit.disregard(21.0, "nonsense")
    assert limit.breaker_state(21.0) == "half-open", "it does not say that the server is back"


def test_a_refusal_shows_that_the_server_works_and_not_how_fast() -> None:
    limit = limit_of(8.0)
    for _ in range(5):
        limit.start()
        limit.fail(0.0, "gone")
    limit.start()
    limit.refuse(1.0)
    assert (limit.is_closed, limit.in_flight, limit.answered_at, limit.has_answered) == (True, 0, 1.0, True)
    assert (limit.window, limit.latency_s) == (1.0, 0.0), "the server may come back with less capacity"
    assert answered(limit, 1.0, 20.0) == 1.0, "slow start goes on"


def test_failures_that_are_no_timeouts_leave_the_window_alone() -> None:
    limit = limit_of(8.0)
    limit.start()
    limit.fail(0.0, "500")
    assert (limit.window, limit.last_failure, limit.in_flight, limit.has_answered) == (8.0, "500", 0, False)


# ------------------------------------------------------------------------------------------------ latency


def test_latency_is_the_first_answer_and_then_a_moving_average() -> None:
    limit = AdaptiveLimit()
    assert (limit.latency_s, limit.has_answered, limit.last_failure) == (0.0, False, "")
    answered(limit, 7.0, 2.0)
    assert (limit.latency_s, limit.has_answered, limit.answered_at) == (2.0, True, 7.0)
    answered(limit, 8.0, 4.0)
    assert limit.latency_s == pytest.approx(2.6), "three tenths of each during slow start"
    limit = grown(8.0, latency_s=2.0)
    answered(limit, 8.0, 4.0)
    assert limit.latency_s == pytest.approx(2.2), "one tenth of each after it"


def grown(window: float, latency_s: float = 1.0) -> AdaptiveLimit:
    """Return a limit with such a window after slow start, whose latency was always the same."""
    limit = AdaptiveLimit()
    answered(limit, 0.0, latency_s)
    limit.start()
    limit.fail(-1000.0, "late", waited_s=100.0)  # its hold is over at 0
    limit.window = window
    return limit


def test_answers_above_twice_the_lowest_latency_shrink_the_window_by_a_tenth_each() -> None:
    limit = grown(8.0)
    assert answered(limit, 0.0, 10.99, in_flight=8) == pytest.approx(1 / 8), "the average is below twice the lowest"
    assert answered(limit, 0.0, 10.0, in_flight=8) == pytest.approx(-0.1)
    limit.window = 2.0
    assert answered(limit, 0.0, 10.0, in_flight=2) == pytest.approx(-0.25), "half a request per round trip"


def test_exactly_twice_the_lowest_latency_is_not_slow() -> None:
    limit = grown(8.0)
    answered(limit, 0.0, 11.0)
    assert limit.latency_s == pytest.approx(2.0)
    assert limit.window == 8.0


def test_a_server_that_becomes_slower_for_good_is_accepted_once_one_request_at_a_time_is_slow() -> None:
    limit = grown(8.0)
    slow = [answered(limit, float(turn), 4.0, in_flight=int(limit.window)) for turn in range(200)]
    assert min(slow) < 0
    assert slow[-1] > 0, "its new latency is the measure now"
    crowded = grown(8.0)
    for turn in range(200):
        crowded.window = 2.0
        answered(crowded, float(turn), 4.0, in_flight=2)
    assert answered(crowded, 200.0, 4.0, in_flight=2) < 0, "two requests may have waited for each other"


def test_the_lowest_latency_doubles_in_ten_minutes_without_requests() -> None:
    def slow_after(idle_s: float) -> bool:
        limit = grown(8.0)
        answered(limit, 0.0, 21.0)  # the average is 3
        return answered(limit, idle_s + 3.0, 3.0, in_flight=8) < 0

    assert slow_after(0.0)
    assert slow_after(350.9)
    assert not slow_after(351.0), "log2(1.5) * 600 seconds"


def test_a_server_that_was_idle_for_weeks_is_as_good_as_new() -> None:
    limit = grown(8.0)
    answered(limit, 30 * 86_400.0, 1000.0)
    assert answered(limit, 30 * 86_400.0, 100.0, in_flight=8) == pytest.approx(1 / 8), (
        "no latency of a month ago counts"
    )
