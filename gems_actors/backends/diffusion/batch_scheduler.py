"""Continuous batching: which requests share the next forward pass. Pure: no tensor and no clock.

At each step boundary one batch of requests is chosen and takes one denoising step together. No request waits for a
fuller batch: all that are ready join, up to the token budget. Requests that can share a forward have one bucket (by
size, and whatever else the pipeline needs), and a bucket is split into bands of similar length, because every row of a
forward is padded to the longest. Bands take turns, and within a band the oldest requests go first and so finish first.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from math import inf, log
from typing import Final, Protocol, TypeVar

MAX_STEP_TOKENS: Final = 65_536
"""Default maximum tokens of a forward: 15 pictures of 1024x1024 or 59 of 512x512 with Z-Image. At 25 ms per launch and
600 TFLOP/s, more would gain less than 2 %; see `tests/benchmarks/bench_generator.py`."""
LAUNCH_TOKENS: Final = 1_024
"""Fixed cost of a forward, in tokens: 25 ms at 600 TFLOP/s are 15 TFLOP, and a picture of 512x512 with its 1,024 tokens
takes 14. Padding up to this is cheaper than another forward."""

_BAND: Final = 1.125
"""Ratio of the longest to the shortest row of a band: padding costs at most 6 % of a forward on average, and captions
of 32 to 512 tokens make two bands at 1024x1024 and five at 512x512."""


class Step(Protocol):
    """A request that is ready for its next denoising step."""

    @property
    def bucket(self) -> Hashable:
        """Key that is equal for requests that can share a forward."""

    @property
    def rows(self) -> int:
        """Rows in a forward: 1, or 2 with guidance."""

    @property
    def tokens(self) -> int:
        """Length of each row."""

    @property
    def is_alone(self) -> bool:
        """Whether it must not share a forward."""


StepT = TypeVar("StepT", bound=Step)


class BatchScheduler:
    """Chooses the batch of each forward."""

    def __init__(self, *, max_step_tokens: int = MAX_STEP_TOKENS, mixes_buckets: bool) -> None:
        """Create a scheduler; a request larger than `max_step_tokens`, padding included, goes alone.

        With `mixes_buckets`, the pipeline can put different buckets into one forward, with padding.
        """
        self.max_step_tokens = max_step_tokens
        self._mixes_buckets = mixes_buckets
        self._last_turn: dict[Hashable, int] = {}
        self._turn = 0

    def choose(self, steps: Sequence[StepT]) -> list[StepT]:
        """Return the requests for the next step, at least one, in the given order, which is oldest first."""
        bands: dict[Hashable, list[StepT]] = {}
        for step in steps:
            bands.setdefault(_key(step), []).append(step)
        self._last_turn = {key: turn for key, turn in self._last_turn.items() if key in bands}
        first = min(bands, key=lambda key: self._last_turn.get(key, -1))  # among equals the one with the oldest request
        group = _fill([], bands[first], self.max_step_tokens)
        leader = group[0]
        if not leader.is_alone:
            others = (step for step in steps if _key(step) != first and self._can_share(leader, step))
            group = _fill(group, others, self.max_step_tokens, LAUNCH_TOKENS)
        self._turn += 1
        for step in group:
            self._last_turn[_key(step)] = self._turn
        chosen = {id(step) for step in group}
        return [step for step in steps if id(step) in chosen]

    def shrink(self, group: Sequence[Step]) -> None:
        """Lower the limit to half of a batch that did not fit into memory."""
        self.max_step_tokens = max(1, min(self.max_step_tokens, cost_of(group) // 2))

    def _can_share(self, leader: Step, step: Step) -> bool:
        return not step.is_alone and (self._mixes_buckets or step.bucket == leader.bucket)


def cost_of(group: Iterable[Step]) -> int:
    """Return the tokens of one forward, every row padded to the longest."""
    steps = list(group)
    return sum(step.rows for step in steps) * max(step.tokens for step in steps)


def _fill(group: list[StepT], steps: Iterable[StepT], max_tokens: int, max_padding: float = inf) -> list[StepT]:
    """Return the group with further steps, as far as tokens and padding of the forward stay within their limits."""
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
    """Return the key of a request's band, or a unique key if it must not share a forward."""
    return ("alone", id(step)) if step.is_alone else (step.bucket, int(log(step.tokens, _BAND)))
