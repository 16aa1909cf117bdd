"""Who is in the next forward: the batching policy of the generator, with no tensor and no clock.

At each step boundary one group of requests is chosen and takes one denoising step together. Nothing ever waits for
company: whoever is there takes part as far as the budget goes. Requests that can share a forward stand in one bucket
(by size, and whatever else the pipeline asks for), and those of a bucket in bands of about equal length, because in a
forward every row is as long as the longest. Bands take turns, and within one the oldest go first, so that what was
begun is finished before what came later begins.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from math import inf, log
from typing import Final, Protocol, TypeVar

MAX_STEP_TOKENS: Final = 65_536
"""What a forward may hold at most, unless set otherwise: 15 pictures of 1024x1024, 59 of 512x512 of Z-Image. With a
floor of 25 ms a launch and 600 TFLOP/s, more would gain less than 2 %; see `tests/benchmarks/bench_generator.py`."""
LAUNCH_TOKENS: Final = 1_024
"""What a forward costs beside its tokens, in tokens: 25 ms at 600 TFLOP/s are 15 TFLOP, and a picture of 512x512 with
its 1,024 tokens takes 14. So much padding is cheaper than a forward more."""


_BAND: Final = 1.125
"""Longest to shortest row of a band: padding costs 6 % of a forward at most, on average, and captions of 32 to 512
tokens make two bands at 1024x1024, five at 512x512."""


class Step(Protocol):
    """A request that waits for its next denoising step."""

    @property
    def bucket(self) -> Hashable:
        """Equal for requests that can share a forward."""

    @property
    def rows(self) -> int:
        """Its rows in a forward: 1, or 2 with guidance."""

    @property
    def tokens(self) -> int:
        """Length of each of its rows."""

    @property
    def is_alone(self) -> bool:
        """Whether it shares a forward with nobody."""


StepT = TypeVar("StepT", bound=Step)


class BatchScheduler:
    """Chooses the group of each forward."""

    def __init__(self, *, max_step_tokens: int = MAX_STEP_TOKENS, mixes_buckets: bool) -> None:
        """Begin with no turn taken.

        Args:
            max_step_tokens: of one forward, padding counted; a request that is larger goes alone.
            mixes_buckets: whether the pipeline can put different buckets into one forward, padded.
        """
        self.max_step_tokens = max_step_tokens
        self._mixes_buckets = mixes_buckets
        self._last_turn: dict[Hashable, int] = {}
        self._turn = 0

    def choose(self, steps: Sequence[StepT]) -> list[StepT]:
        """Return who takes the next step together: at least one, in the order given, which is oldest first."""
        bands: dict[Hashable, list[StepT]] = {}
        for step in steps:
            bands.setdefault(_key(step), []).append(step)
        self._last_turn = {key: turn for key, turn in self._last_turn.items() if key in bands}
        first = min(bands, key=lambda key: self._last_turn.get(key, -1))  # among equals the one with the oldest request
        group = _as_many_as_fit([], bands[first], self.max_step_tokens)
        leader = group[0]
        if not leader.is_alone:
            others = (step for step in steps if _key(step) != first and self._can_share(leader, step))
            group = _as_many_as_fit(group, others, self.max_step_tokens, LAUNCH_TOKENS)
        self._turn += 1
        for step in group:
            self._last_turn[_key(step)] = self._turn
        chosen = {id(step) for step in group}
        return [step for step in steps if id(step) in chosen]

    def _can_share(self, leader: Step, step: Step) -> bool:
        return not step.is_alone and (self._mixes_buckets or step.bucket == leader.bucket)

    def shrink(self, group: Sequence[Step]) -> None:
        """Remember that a group did not fit into memory: from now on half of it is the limit."""
        self.max_step_tokens = max(1, min(self.max_step_tokens, cost_of(group) // 2))


def cost_of(group: Iterable[Step]) -> int:
    """Return the tokens of one forward of a group: every row as long as the longest."""
    steps = list(group)
    return sum(step.rows for step in steps) * max(step.tokens for step in steps)


def _as_many_as_fit(
    group: list[StepT], steps: Iterable[StepT], max_tokens: int, max_padding: float = inf
) -> list[StepT]:
    """Add steps as long as the forward stays within the budget and, where that is limited, its padding too."""
    rows = sum(step.rows for step in group)
    longest = max((step.tokens for step in group), default=0)
    own = sum(step.rows * step.tokens for step in group)
    taken = list(group)
    for step in steps:
        cost = (rows + step.rows) * max(longest, step.tokens)
        if taken and (cost > max_tokens or cost - own - step.rows * step.tokens > max_padding):
            continue
        taken.append(step)
        rows, longest, own = rows + step.rows, max(longest, step.tokens), own + step.rows * step.tokens
    return taken


def _key(step: Step) -> Hashable:
    """Return a request's band, or what nobody shares with it."""
    return ("alone", id(step)) if step.is_alone else (step.bucket, int(log(step.tokens, _BAND)))
