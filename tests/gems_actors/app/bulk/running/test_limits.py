"""Limits of a bulk: its tokens, and its tasks in flight."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gems_actors.actor import Actor
from gems_actors.app.bulk.running.limits import Allowance, Cost, TaskLimit, TokenBudget
from gems_actors.tasks import open_background
from gems_actors.testing import open_test_mesh


def test_a_budget_is_spent_at_its_limit() -> None:
    budget = TokenBudget(10)
    budget.check(9)
    assert not budget.is_spent.is_set()
    budget.check(10)
    assert budget.is_spent.is_set()
    assert budget.stop_gracefully is budget.is_spent


def test_without_a_limit_a_budget_is_never_spent_and_nothing_waits_for_it() -> None:
    budget = TokenBudget(None)
    budget.check(10**12)
    assert not budget.is_spent.is_set()
    assert budget.stop_gracefully is None


async def test_tasks_reserve_the_most_that_they_may_cost_and_give_back_what_they_did_not() -> None:
    allowance, begun = Allowance(Cost(10, 100), Cost(2, 40)), list[bool]()

    async def begin() -> None:
        begun.append(await allowance.reserve())

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(begin)
            await trio.testing.wait_all_tasks_blocked()
            assert begun == [True, True], "two may cost 80 of 100 calls"
            allowance.settle(Cost(1, 10))
            await trio.testing.wait_all_tasks_blocked()
            assert begun == [True, True, True]
            allowance.settle(None)
            nursery.start_soon(begin)
            await trio.testing.wait_all_tasks_blocked()
            assert (len(begun), allowance.is_spent) == (3, False), "the last one in flight may give enough back"
            allowance.settle(Cost(2, 35))
    assert (begun[3], allowance.is_spent) == (False, True), "10, 40 and 35 calls leave 15"


async def test_images_and_calls_must_both_suffice_and_without_limits_always_do() -> None:
    assert [await Allowance().reserve() for _ in range(3)] == [True] * 3
    assert not await Allowance(Cost(1, 100), Cost(2, 1)).reserve()
    assert await Allowance(Cost(2, 1), Cost(2, 1)).reserve()


class Generator(Actor):
    role = "generator"
    default_capacity = 20

    def figures(self) -> dict[str, float]:
        return {"busy_share": 0.5}


@pytest.mark.slow
@pytest.mark.parametrize(("window", "tasks"), [(2, 32), (10, 40), (60, 80)])
async def test_tasks_in_flight_follow_what_the_server_behind_a_generator_takes(window: int, tasks: int) -> None:
    class Asking(Actor):
        role = "generator"
        default_capacity = 20

        def figures(self) -> dict[str, float]:
            return {"busy_share": 0.5, "window": window}

    async with open_test_mesh(Asking) as mesh, open_background() as nursery:
        limit = TaskLimit(None)
        nursery.start_soon(limit.follow_generators, mesh)
        while limit.busy_share is None:  # noqa: ASYNC110 -- set by the task that follows
            await trio.sleep(0.01)
        assert limit.limiter.total_tokens == tasks


@pytest.mark.slow
async def test_tasks_in_flight_follow_the_generators_unless_their_number_is_fixed() -> None:
    async with open_test_mesh(Generator) as mesh, open_background() as nursery:
        free, fixed = TaskLimit(None), TaskLimit(3)
        assert (free.limiter.total_tokens, fixed.limiter.total_tokens) == (32, 3)
        for limit in (free, fixed):
            nursery.start_soon(limit.follow_generators, mesh)
        while None in (free.busy_share, fixed.busy_share):  # noqa: ASYNC110 -- set by the task that follows
            await trio.sleep(0.01)
        assert (free.limiter.total_tokens, fixed.limiter.total_tokens) == (80, 3)
        assert free.busy_share == 0.5
