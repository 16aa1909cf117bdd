"""Which requests share the next step."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.backends.diffusion.batch_scheduler import LAUNCH_TOKENS, BatchScheduler, cost_of


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request that is ready for a step."""

    name: str
    bucket: Hashable = "512"
    tokens: int = 1000
    rows: int = 1
    is_alone: bool = False


def names(group: list[Waiting]) -> str:
    return "".join(step.name for step in group)


def test_all_requests_that_fit_share_a_step() -> None:
    scheduler = BatchScheduler(max_step_tokens=4000, mixes_buckets=False)
    assert names(scheduler.choose([Waiting(name) for name in "abcd"])) == "abcd"


def test_the_oldest_requests_go_first_until_they_are_done() -> None:
    scheduler = BatchScheduler(max_step_tokens=2999, mixes_buckets=False)
    steps = [Waiting(name) for name in "abcd"]
    assert [names(scheduler.choose(steps)) for _ in range(3)] == ["ab", "ab", "ab"]
    assert names(scheduler.choose(steps[1:])) == "bc"


def test_rows_for_guidance_count() -> None:
    scheduler = BatchScheduler(max_step_tokens=4000, mixes_buckets=False)
    assert names(scheduler.choose([Waiting(name, rows=2) for name in "abc"])) == "ab"


def test_a_request_larger_than_the_budget_goes_alone() -> None:
    scheduler = BatchScheduler(max_step_tokens=500, mixes_buckets=False)
    assert names(scheduler.choose([Waiting("a"), Waiting("b")])) == "a"


def test_buckets_take_turns() -> None:
    scheduler = BatchScheduler(mixes_buckets=False)
    steps = [Waiting("a"), Waiting("b", bucket="1024"), Waiting("c"), Waiting("d", bucket="768")]
    assert [names(scheduler.choose(steps)) for _ in range(4)] == ["ac", "b", "d", "ac"]


def test_a_new_request_joins_at_the_next_step() -> None:
    scheduler = BatchScheduler(mixes_buckets=False)
    first, second = Waiting("a"), Waiting("b")
    assert names(scheduler.choose([first])) == "a"
    assert names(scheduler.choose([first, second])) == "ab"


def test_sizes_share_a_forward_if_padding_costs_less_than_another() -> None:
    scheduler = BatchScheduler(mixes_buckets=True)
    near = [Waiting("a", tokens=1000), Waiting("b", bucket="528", tokens=1000 + LAUNCH_TOKENS)]
    assert names(scheduler.choose(near)) == "ab"
    far = [Waiting("a", tokens=1000), Waiting("b", bucket="1024", tokens=1001 + LAUNCH_TOKENS)]
    scheduler = BatchScheduler(mixes_buckets=True)
    assert [names(scheduler.choose(far)) for _ in range(2)] == ["a", "b"]


def test_very_different_lengths_take_turns_unless_they_are_few() -> None:
    scheduler = BatchScheduler(mixes_buckets=False)
    few = [Waiting("a", tokens=1056), Waiting("b", tokens=1536)]
    assert names(scheduler.choose(few)) == "ab", "480 tokens of padding are cheaper than a forward"
    scheduler = BatchScheduler(mixes_buckets=False)
    many = [Waiting("abcd"[index % 4], tokens=1056 + 480 * (index % 2)) for index in range(20)]
    groups = [scheduler.choose(many) for _ in range(2)]
    assert [{step.tokens for step in group} for group in groups] == [{1056}, {1056, 1536}], "the budget is filled up"
    assert [len(group) for group in groups] == [10, 12]


def test_requests_that_run_alone_take_turns_like_buckets() -> None:
    scheduler = BatchScheduler(mixes_buckets=True)
    steps = [Waiting("a"), Waiting("b", is_alone=True), Waiting("c", is_alone=True), Waiting("d")]
    assert [names(scheduler.choose(steps)) for _ in range(4)] == ["ad", "b", "c", "ad"]


def test_half_of_a_batch_that_did_not_fit_is_the_new_limit() -> None:
    scheduler = BatchScheduler(mixes_buckets=False)
    steps = [Waiting(name) for name in "abcdefgh"]
    scheduler.shrink(scheduler.choose(steps))
    assert names(scheduler.choose(steps)) == "abcd"
    scheduler.shrink(steps[:1])
    scheduler.shrink(steps)  # a larger batch that fails later does not raise the limit
    assert names(scheduler.choose(steps)) == "a"


_steps = st.builds(
    Waiting,
    name=st.just("x"),
    bucket=st.sampled_from("abc"),
    tokens=st.integers(1, 5000),
    rows=st.sampled_from([1, 2]),
    is_alone=st.booleans(),
)


@given(st.lists(_steps, min_size=1, max_size=30), st.integers(1, 20_000), st.booleans())
def test_every_request_gets_its_turn(steps: list[Waiting], budget: int, mixes: bool) -> None:
    scheduler = BatchScheduler(max_step_tokens=budget, mixes_buckets=mixes)
    left = list(steps)
    for _ in range(2 * len(steps)):  # a request is done after one step
        if not left:
            break
        group = scheduler.choose(left)
        assert group, "a batch is never empty"
        assert len(group) == 1 or cost_of(group) <= budget
        assert len(group) == 1 or not any(step.is_alone for step in group)
        assert mixes or len({step.bucket for step in group}) == 1
        left = [step for step in left if step not in group]
    assert not left


@pytest.mark.parametrize("mixes", [False, True])
def test_the_order_is_kept(mixes: bool) -> None:
    steps = [Waiting(name, bucket=name) for name in "abc"]
    assert names(BatchScheduler(mixes_buckets=mixes).choose(steps)) == ("abc" if mixes else "a")
