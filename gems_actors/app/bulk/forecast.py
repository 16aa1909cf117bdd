"""How long a bulk still takes: a model of its trajectories and of the rate of their rounds. Pure; time is an argument.

Counting finished tasks misleads, because those that end first are the easy ones. This counts rounds instead: of the
tasks that finished a round, how many went on, whether or not they have ended since. A prompt of `x` words ends after
round `r` with probability `exp(-a_r * x ** b)`. With `b` = 1 it is as if each word had to be drawn right by itself,
with 0 words do not matter; `b` is learnt from the first rounds, and is near 1 until they say otherwise. So a file that
is sorted by difficulty is forecast from its easy beginning, given the words of the prompts to come.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gems_actors.app.bulk.rows import Row
from gems_actors.app.bulk.totals import Tally

_MIN_DECIDED: Final = 8
"""Tasks that ended or went on after their first round, below which nothing is forecast; fewer if there are fewer."""
_PRIOR_TASKS: Final = 4.0
"""Weight of the assumption that tasks end after a round as often as after the one before."""
_EXPONENTS: Final = tuple(number / 4 for number in range(11))
"""Possible values of `b`, which is expected within `_EXPONENT_SPREAD` of 1."""
_EXPONENT_SPREAD: Final = 0.5
_WINDOW_S: Final = 20.0
_WINDOW_SHARE: Final = 0.4
"""The rate is that of the last `_WINDOW_S`, or of this share of the run if that is longer."""
_WORDS: Final = 8
"""Words of a prompt that is not known."""
_MAX_HELD: Final = 2048
"""Rows that wait for a task that began before theirs."""
_SAMPLES: Final = 50
"""Moments that are kept of the window."""
_STEPS: Final = 40
"""Steps of a bisection, which halve the error each time."""


def words_of(prompt: str) -> int:
    """Return about how many words a prompt has, at least one."""
    return prompt.count(" ") + 1


@dataclass(slots=True)
class _Trajectory:
    words: int
    max_rounds: int
    begun: int = 0
    """Round that is being drawn, or was verified last; 0 before anything is known."""
    verified: int = 0


@dataclass(slots=True)
class _Decisions:
    """What became of the tasks that finished one round, by words of their prompts."""

    ended: Counter[int] = field(default_factory=Counter)
    went_on: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many tasks are counted."""
        return self.ended.total() + self.went_on.total()


class Forecast:
    """Follows the trajectories of a run."""

    def __init__(self, max_rounds: int) -> None:
        self._max_rounds = max_rounds
        self._longest = max_rounds
        """Maximum rounds of any task; records may have their own."""
        self._in_flight: dict[str, _Trajectory] = {}
        self._decisions: dict[int, _Decisions] = {}
        self.rounds = 0
        """Rounds that were verified since the beginning."""
        self._samples: deque[tuple[float, int]] = deque()
        """Time and rounds at some moments of the window."""
        self._first_at = 0.0
        self._exponent = 1.0

    def begin(self, trajectory: str, words: int, max_rounds: int) -> None:
        """Take note that a task is in flight."""
        self._in_flight[trajectory] = _Trajectory(words, max_rounds)
        self._longest = max(self._longest, max_rounds)

    def begin_round(self, trajectory: str, round_: int) -> None:
        """Take note that a trajectory goes on with a round."""
        if (found := self._in_flight.get(trajectory)) is not None and round_ > max(1, found.begun):
            self._decisions.setdefault(round_ - 1, _Decisions()).went_on[found.words] += 1
            found.begun = round_

    def verify_round(self, trajectory: str, round_: int) -> None:
        """Take note of an image that was verified; further ones of the same round change nothing."""
        if (found := self._in_flight.get(trajectory)) is not None and round_ > found.verified:
            if found.begun:
                self.begin_round(trajectory, round_)
            found.begun, found.verified = max(round_, found.begun), round_
            self.rounds += 1

    def end(self, trajectory: str) -> None:
        """Take note that a task is no longer in flight, for whatever reason."""
        found = self._in_flight.pop(trajectory, None)
        if found is not None and 0 < found.verified < found.max_rounds:
            self._decisions.setdefault(found.verified, _Decisions()).ended[found.words] += 1

    def left_s(self, now: float, waiting: Mapping[int, float]) -> float | None:
        """Return about how many seconds the run still takes at its present rate, or None while that is unknown.

        Args:
            now: seconds for which the run has been drawing, without pauses.
            waiting: how many tasks have not begun, by words of their prompts.
        """
        rate = self._rate_at(now)
        tasks = sum(waiting.values()) + len(self._in_flight)
        decided = self._decisions.get(1, _Decisions()).total
        if self._max_rounds > 1 and decided < min(_MIN_DECIDED, max(1.0, tasks / 2)):
            return None
        if rate is None:
            return None
        self._exponent = _exponent_of(self._decisions.get(1, _Decisions()))
        odds = self._odds()
        rounds = self._max_rounds
        left = sum(count * self._rounds_from(1, words, odds, rounds) for words, count in waiting.items() if count > 0)
        for found in self._in_flight.values():
            if found.begun > found.verified:
                left += self._rounds_from(found.begun, found.words, odds, found.max_rounds)
            elif found.verified == 0:
                left += self._rounds_from(1, found.words, odds, found.max_rounds)
            elif found.verified < found.max_rounds:
                going_on = 1 - math.exp(-odds[found.verified] * _hardness(found.words, self._exponent))
                left += going_on * self._rounds_from(found.verified + 1, found.words, odds, found.max_rounds)
        return left / rate

    def _rate_at(self, now: float) -> float | None:
        """Return rounds per second in the latest window, from the first verified round on."""
        samples = self._samples
        if not self.rounds:
            return None
        if not samples:
            self._first_at = now
            samples.append((now, self.rounds))
        window_s = max(_WINDOW_S, _WINDOW_SHARE * (now - self._first_at))
        if now - samples[-1][0] >= window_s / _SAMPLES:
            samples.append((now, self.rounds))
        while len(samples) > 1 and samples[1][0] <= now - window_s:
            samples.popleft()
        start, before = samples[0]
        return (self.rounds - before) / (now - start) if now > start and self.rounds > before else None

    def _odds(self) -> dict[int, float]:
        """Return `a_r` of each round that may be the last but is not the last possible one."""
        odds: dict[int, float] = {}
        for round_ in range(1, self._longest):
            decisions, before = self._decisions.get(round_, _Decisions()), odds.get(round_ - 1)
            if before is None or decisions.total:
                before = _fit(decisions, before, self._exponent)
            odds[round_] = before
        return odds

    def _rounds_from(self, round_: int, words: int, odds: Mapping[int, float], max_rounds: int) -> float:
        """Return the expected number of rounds of a task that is about to draw a round."""
        expected, share, hardness = 0.0, 1.0, _hardness(words, self._exponent)
        for number in range(round_, max_rounds + 1):
            expected += share
            share *= 1 - math.exp(-odds.get(number, 0.0) * hardness)
        return max(1.0, expected)


class Backlog:
    """The tasks of a run that have not begun, by words of their prompts."""

    def __init__(self) -> None:
        self._listed = Counter[int]()
        self._taken = Counter[int]()

    def list_task(self, prompt: str, samples: int) -> None:
        """Count a task of the input; not all need be listed."""
        self._listed[words_of(prompt)] += samples

    def take(self, words: int) -> None:
        """Count a task that is done or has begun."""
        self._taken[words] += 1

    def waiting(self, count: int) -> dict[int, float]:
        """Return how many of the `count` tasks that wait have prompts of how many words."""
        if count <= 0:
            return {}
        listed = self._listed.total()
        total = self._taken.total() + count
        scale = total / listed if listed else 0.0
        left = {words: scale * number - self._taken[words] for words, number in self._listed.items()}
        left = {words: number for words, number in left.items() if number > 0} or dict(self._listed or self._taken)
        weight = sum(left.values())
        return {words: count * number / weight for words, number in left.items()} if weight else {_WORDS: float(count)}


class Cohort:
    """Counts pictures in the order in which their tasks began: otherwise the easy ones come first."""

    def __init__(self) -> None:
        self.tally = Tally()
        """The pictures of earlier runs, and those of all tasks up to the first one that is in flight."""
        self._begun = 0
        self._next = 0
        self._ended: dict[int, Row | None] = {}

    def begin(self) -> int:
        """Return the number of a task that begins."""
        self._begun += 1
        return self._begun - 1

    def end(self, number: int, row: Row | None) -> None:
        """Take a task that is no longer in flight, with the row of its picture if it has one."""
        self._ended[number] = row
        if len(self._ended) > _MAX_HELD:  # the first one takes very long, and the others no longer wait for it
            self._next = min(self._ended)
        if number < self._next:
            self._add(self._ended.pop(number))
        while self._next in self._ended:
            self._add(self._ended.pop(self._next))
            self._next += 1

    def _add(self, row: Row | None) -> None:
        if row is not None:
            self.tally.add(row)


def _hardness(words: int, exponent: float) -> float:
    return float(words**exponent)


def _exponent_of(decisions: _Decisions) -> float:
    """Return the most likely `b`, given what became of tasks after their first round."""

    def likelihood(exponent: float) -> float:
        a = _fit(decisions, None, exponent)
        ended = -sum(count * a * _hardness(words, exponent) for words, count in decisions.ended.items())
        shares = ((1 - math.exp(-a * _hardness(words, exponent)), count) for words, count in decisions.went_on.items())
        went_on = sum(count * math.log(max(share, 1e-9)) for share, count in shares)
        return float(ended + went_on - ((exponent - 1) / _EXPONENT_SPREAD) ** 2 / 2)

    return max(_EXPONENTS, key=likelihood)


def _fit(decisions: _Decisions, before: float | None, exponent: float) -> float:
    """Return the `a` with which as many tasks are expected to end after a round as did."""
    at_risk = decisions.ended + decisions.went_on
    weights = [(_hardness(words, exponent), float(count)) for words, count in at_risk.items()]
    ended, total = float(decisions.ended.total()), at_risk.total()
    typical = sum(hardness * weight for hardness, weight in weights) / total if total else _hardness(_WORDS, exponent)
    if before is not None:  # a few more tasks that behave as in the round before
        weights.append((typical, _PRIOR_TASKS))
        ended += _PRIOR_TASKS * math.exp(-before * typical)
    else:  # and for the first round, one that ended and one that went on
        weights.append((typical, 2.0))
        ended += 1.0
    low, high = 0.0, 50.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if sum(weight * math.exp(-middle * hardness) for hardness, weight in weights) > ended:
            low = middle
        else:
            high = middle
    return (low + high) / 2
