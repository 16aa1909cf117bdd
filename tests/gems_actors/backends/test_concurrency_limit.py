"""The pace at which a server is asked, played against servers that are nothing but a limit and a latency."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest

from gems_actors.backends.concurrency_limit import AdaptiveLimit


@dataclass
class Play:
    """A server that holds so many requests, and somebody who always has more to ask."""

    limit: int
    latency_s: float = 0.2
    queues: bool = False
    """Whether it lets those beyond its limit wait, and does not turn them away."""
    told_wait_s: float | None = None
    pace: AdaptiveLimit = field(default_factory=AdaptiveLimit)
    answered: int = 0
    turned_away: int = 0
    peak: int = 0
    now: float = 0.0
    held: list[tuple[float, float]] = field(default_factory=list)
    """When each ends, and when it began."""
    free_at: list[float] = field(default_factory=list)
    """When those that queue leave."""

    def run(self, seconds: float) -> float:
        """Return the answers a second."""
        end, before = self.now + seconds, self.answered
        held, free_at = self.held, self.free_at
        while self.now < end:
            while self.pace.may_begin(self.now):
                self.pace.begin()
                self.peak = max(self.peak, self.pace.in_flight)
                if not self.queues and len(held) >= self.limit:
                    self.turned_away += 1
                    self.pace.be_turned_away(self.now + 0.002, "429", self.told_wait_s)
                    continue
                begins = self.now
                if self.queues and len(free_at) >= self.limit:
                    begins = max(begins, heapq.heappop(free_at))
                heapq.heappush(free_at, begins + self.latency_s)
                heapq.heappush(held, (begins + self.latency_s, self.now))
            opens_at = self.pace.opens_at()
            self.now = min(held[0][0] if held else end, opens_at if opens_at > self.now else end, end)
            while held and held[0][0] <= self.now:
                _, began = heapq.heappop(held)
                self.answered += 1
                self.pace.succeed(self.now, self.now - began)
        return (self.answered - before) / seconds


@pytest.mark.parametrize("told_wait_s", [None, 1.0])
@pytest.mark.parametrize("limit", [1, 4, 64, 500])
def test_a_server_that_turns_away_what_is_too_much_is_asked_nearly_all_that_it_takes(
    limit: int, told_wait_s: float | None
) -> None:
    play = Play(limit, told_wait_s=told_wait_s)
    play.run(30.0)
    best = limit / play.latency_s
    assert play.run(120.0) >= 0.95 * best
    assert play.turned_away < 0.01 * play.answered + 40


def test_a_server_that_lets_what_is_too_much_wait_is_kept_busy_and_not_buried() -> None:
    play = Play(64, queues=True)
    play.run(10.0)
    play.peak = 0
    assert play.run(60.0) >= 0.99 * 64 / 0.2
    assert play.peak <= 64 * 3, "answers that take twice as long are a sign"


def test_a_server_that_grows_is_asked_more() -> None:
    play = Play(16)
    play.run(30.0)
    play.limit = 64
    play.run(60.0)
    assert play.run(30.0) >= 0.9 * 64 / 0.2


def test_a_window_that_nobody_fills_does_not_grow() -> None:
    pace, was = AdaptiveLimit(), AdaptiveLimit().window
    for _ in range(1000):
        pace.begin()
        pace.succeed(0.0, 0.1)
    assert pace.window == was


def test_five_failures_in_a_row_open_the_breaker_and_one_answer_closes_it() -> None:
    pace = AdaptiveLimit()
    for number in range(5):
        assert (pace.breaker(0.0), pace.may_begin(0.0)) == ("closed", True), number
        pace.begin()
        pace.fail(0.0, "gone")
    assert (pace.breaker(0.5), pace.may_begin(0.5), pace.is_away(0.5)) == ("open", False, True)
    assert (pace.breaker(1.0), pace.may_begin(1.0)) == ("half-open", True)
    pace.begin()
    assert not pace.may_begin(1.0), "one tries, for all"
    pace.fail(1.2, "still gone")
    assert (pace.breaker(3.1), pace.breaker(3.2)) == ("open", "half-open"), "twice as long the second time"
    pace.begin()
    pace.succeed(3.3, 0.1)
    assert (pace.breaker(3.3), pace.may_begin(3.3), pace.is_away(3.3)) == ("closed", True, False)


def test_what_was_under_way_when_the_breaker_opened_does_not_keep_it_open_for_longer() -> None:
    pace = AdaptiveLimit()
    for _ in range(8):
        pace.begin()
    for _ in range(8):
        pace.fail(0.0, "gone")
    assert pace.opens_at() == 1.0


def test_a_server_that_says_it_is_busy_is_not_broken() -> None:
    pace = AdaptiveLimit()
    for _ in range(20):
        pace.begin()
        pace.be_turned_away(0.0, "429", None)
    assert (pace.breaker(0.0), pace.may_begin(0.0)) == ("closed", True), "at least one is always asked"


def test_answers_that_do_not_come_in_time_shrink_the_window_once_for_all_of_them() -> None:
    pace = AdaptiveLimit()
    for _ in range(4):
        pace.begin()
    for _ in range(4):
        pace.fail(10.0, "late", is_late=True)
    assert pace.window == pytest.approx(0.7 * 8)


def test_nothing_goes_to_a_server_that_asks_for_a_pause() -> None:
    pace = AdaptiveLimit()
    pace.pause(10.0, 5.0)
    pace.pause(10.0, 1.0)
    assert [pace.may_begin(now) for now in (10.0, 14.9, 15.0)] == [False, False, True]
    assert (pace.is_away(10.0), pace.is_away(14.0)) == (True, False), "a moment can be waited for"
