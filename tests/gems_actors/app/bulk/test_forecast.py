"""The time left of a bulk is near the truth from early on, whatever the order of its tasks."""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Callable, Iterator, Sequence

import pytest

from gems_actors.app.bulk.forecast import Backlog, Cohort, Forecast
from tests.gems_actors.app.bulk.test_rows import requirement, row

MAX_ROUNDS, AT_ONCE, TASKS = 5, 32, 400
Draw = Callable[[int], int]
"""Rounds of a task with a prompt of so many words."""


def hard_by_words(chance: random.Random) -> Draw:
    """Return tasks each of whose words must be drawn right, by chance, in one of the rounds."""

    def rounds_of(words: int) -> int:
        left = words
        for round_ in range(1, MAX_ROUNDS):
            left = sum(chance.random() < 0.2 for _ in range(left))
            if not left:
                return round_
        return MAX_ROUNDS

    return rounds_of


def hard_by_chance(chance: random.Random) -> Draw:
    """Return tasks whose words do not matter."""
    return lambda words: next((round_ for round_ in range(1, MAX_ROUNDS) if chance.random() < 0.4), MAX_ROUNDS)


def moments(
    words: Sequence[int], rounds: Sequence[int], servers: int, chance: random.Random
) -> Iterator[tuple[float, float | None]]:
    """Run tasks in order on servers that draw one round at a time; yield the time, and the time left as forecast."""
    forecast, backlog = Forecast(MAX_ROUNDS), Backlog()
    for each in words:
        backlog.list_task(" ".join("w" * each), 1)
    begun, queue, busy, now, next_tick = 0, list[tuple[int, int]](), list[tuple[float, int, int]](), 0.0, 1.0

    def start() -> None:
        nonlocal begun
        if begun < len(words):
            forecast.begin(str(begun), words[begun], MAX_ROUNDS)
            backlog.take(words[begun])
            queue.append((begun, 1))
            begun += 1

    for _ in range(AT_ONCE):
        start()
    while queue or busy:
        while queue and len(busy) < servers:
            task, round_ = queue.pop(0)
            heapq.heappush(busy, (now + chance.uniform(0.5, 1.5), task, round_))
        now, task, round_ = heapq.heappop(busy)
        while next_tick < now:
            yield next_tick, forecast.left_s(next_tick, backlog.waiting(len(words) - begun))
            next_tick += 1.0
        forecast.verify_round(str(task), round_)
        if round_ < rounds[task]:
            forecast.begin_round(str(task), round_ + 1)
            queue.append((task, round_ + 1))
        else:
            forecast.end(str(task))
            start()
    yield now, 0.0


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled", "equal"])
@pytest.mark.parametrize("servers", [4, 16])
@pytest.mark.slow
def test_the_time_left_is_within_a_quarter_of_the_truth_from_a_tenth_of_the_run_on(order: str, servers: int) -> None:
    words = [3 + 20 * number // TASKS for number in range(TASKS)]
    if order == "reversed":
        words.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(words)
    elif order == "equal":
        words = [10] * TASKS
    errors = []
    for seed in range(3):
        chance = random.Random(seed)
        told = [*moments(words, [*map(hard_by_words(chance), words)], servers, chance)]
        end = told[-1][0]
        errors += [abs(left - (end - now)) / (end - now) for now, left in told[:-1] if left and now > end / 10]
    assert len(errors) > 100
    assert statistics.median(errors) < 0.25


def test_tasks_whose_words_do_not_matter_are_forecast_as_well() -> None:
    words = [random.Random(2).randint(3, 30) for _ in range(TASKS)]
    chance = random.Random(3)
    told = [*moments(words, [*map(hard_by_chance(chance), words)], 8, chance)]
    end = told[-1][0]
    errors = [abs(left - (end - now)) / (end - now) for now, left in told[:-1] if left and now > end / 10]
    assert statistics.median(errors) < 0.25


def test_the_first_easy_tasks_do_not_make_the_run_look_short() -> None:
    chance, words = random.Random(0), [12] * TASKS
    rounds = [1 if number % 2 else MAX_ROUNDS for number in range(TASKS)]  # half of them end after one round
    told = [*moments(words, rounds, 8, chance)]
    end = told[-1][0]
    first = next((now, left) for now, left in told if left is not None)
    assert first[0] < end / 10
    assert first[1] > 0.6 * (end - first[0])


def test_nothing_is_forecast_before_some_tasks_have_ended_or_gone_on() -> None:
    forecast = Forecast(MAX_ROUNDS)
    for number in range(20):
        forecast.begin(str(number), 10, MAX_ROUNDS)
    assert forecast.left_s(1.0, {10: 80.0}) is None
    for number in range(7):
        forecast.verify_round(str(number), 1)
        forecast.end(str(number))
    assert forecast.left_s(2.0, {10: 80.0}) is None
    forecast.verify_round("8", 1)
    forecast.begin_round("8", 2)
    assert forecast.left_s(3.0, {10: 80.0})


def test_a_run_of_one_round_is_forecast_by_its_rate() -> None:
    forecast = Forecast(1)
    for number in range(10):
        forecast.begin(str(number), 10, 1)
        forecast.verify_round(str(number), 1)
        forecast.end(str(number))
        forecast.left_s(float(number), {})
    assert forecast.left_s(9.0, {10: 30.0}) == pytest.approx(30.0, rel=0.15)


def test_records_may_have_more_or_fewer_rounds_than_the_run() -> None:
    forecast = Forecast(2)
    for number, max_rounds in enumerate([1, 2, 7] * 5):
        forecast.begin(str(number), 10, max_rounds)
        for round_ in range(1, max_rounds + 1):
            forecast.verify_round(str(number), round_)
            assert forecast.left_s(float(number) + round_ / 10, {10: 30.0}) != 0
        if number % 2:
            forecast.end(str(number))
    assert forecast.left_s(20.0, {10: 30.0})


def test_a_trajectory_that_is_continued_counts_only_its_new_rounds() -> None:
    forecast = Forecast(MAX_ROUNDS)
    for number in range(10):
        forecast.begin(str(number), 10, MAX_ROUNDS)
        forecast.verify_round(str(number), 4)  # rounds 1 to 3 are in memory's log
        forecast.end(str(number))
    forecast.begin("x", 10, MAX_ROUNDS)
    forecast.end("x")  # found complete in the log: nothing was drawn
    assert forecast.rounds == 10


def test_the_backlog_spreads_what_waits_over_the_prompts_that_have_not_begun() -> None:
    backlog = Backlog()
    assert backlog.waiting(0) == {}
    assert sum(backlog.waiting(5).values()) == 5, "nothing is known yet"
    for prompt in ("a", "a b", "a b c", "a b c d"):
        backlog.list_task(prompt, 2)
    backlog.take(1)
    backlog.take(1)
    backlog.take(2)
    assert backlog.waiting(5) == pytest.approx({2: 1, 3: 2, 4: 2})
    for words in (2, 3, 3, 4, 4):
        backlog.take(words)
    assert backlog.waiting(0) == {}


def test_a_long_file_is_forecast_by_its_first_records() -> None:
    backlog = Backlog()
    for prompt in ("a b", "a b c d"):
        backlog.list_task(prompt, 10)
    assert backlog.waiting(1000) == pytest.approx({2: 500, 4: 500})


def test_the_cohort_counts_pictures_in_the_order_in_which_their_tasks_began() -> None:
    cohort = Cohort()
    hard, easy, failed = cohort.begin(), cohort.begin(), cohort.begin()
    cohort.end(easy, row(images=1))
    cohort.end(failed, None)
    assert cohort.tally.pictures == 0, "the hard one is in flight"
    cohort.end(hard, row(images=5, met=1, requirements=(requirement(),) * 2))
    assert (cohort.tally.pictures, cohort.tally.images_per_picture) == (2, 3.0)


def test_a_task_that_never_ends_does_not_hold_the_others_back() -> None:
    cohort = Cohort()
    stuck = cohort.begin()
    for _ in range(5_000):
        cohort.end(cohort.begin(), row())
    assert cohort.tally.pictures > 1_000
    cohort.end(stuck, row())
    assert cohort.tally.pictures == 5_001
