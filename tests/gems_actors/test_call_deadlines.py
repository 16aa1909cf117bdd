"""Calls are cancelled at their deadlines, and at no other time."""

from __future__ import annotations

import math

import pytest
import trio

from gems_actors.call_context import Call, answering, current_deadline
from gems_actors.call_deadlines import DeadlineWatch
from gems_actors.tasks import open_background
from protocol.envelope import Header, Kind

pytestmark = pytest.mark.virtual_time


def call_until(deadline: float, watch: DeadlineWatch) -> Call:
    call = Call(Header(Kind.REQUEST), deadline=deadline, watch=watch.add)
    watch.add(call)
    return call


async def test_calls_are_cancelled_at_their_deadlines_in_any_order() -> None:
    watch, ended = DeadlineWatch(), dict[float, float]()

    async def wait(call: Call) -> None:
        with trio.CancelScope() as call.scope:
            await trio.sleep_forever()
        assert call.has_expired
        ended[call.deadline] = trio.current_time()

    async with open_background() as watching:
        watching.start_soon(watch.run)
        async with trio.open_nursery() as nursery:
            for deadline in (7.0, 3.0, 5.0, 3.5):
                nursery.start_soon(wait, call_until(deadline, watch))
                await trio.sleep(0.5)
    assert ended == {deadline: pytest.approx(deadline) for deadline in (7.0, 3.0, 5.0, 3.5)}


async def test_a_deadline_that_moves_counts_as_it_is_now() -> None:
    watch = DeadlineWatch()
    async with open_background() as watching:
        watching.start_soon(watch.run)
        call = call_until(2.0, watch)
        await trio.sleep(1)
        call.deadline = 4.0
        watch.add(call)
        await trio.sleep(2)
        assert not call.is_cancelled
        call.deadline = 3.5
        watch.add(call)
        await trio.sleep(0.75)
        assert call.has_expired


async def test_a_call_that_is_over_is_not_cancelled_and_is_forgotten() -> None:
    watch = DeadlineWatch()
    async with open_background() as watching:
        watching.start_soon(watch.run)
        calls = [call_until(2.0, watch) for _ in range(5_000)]
        for call in calls:
            call.is_over = True
        for _ in range(5_000):
            call_until(900.0, watch).is_over = True
        assert len(watch) < 5_000
        await trio.sleep(3)
        assert not any(call.is_cancelled for call in calls)


async def test_requests_within_a_call_inherit_its_deadline_until_it_is_cancelled() -> None:
    call = Call(Header(Kind.REQUEST), deadline=5.0)
    assert current_deadline() == math.inf
    with answering(call):
        assert current_deadline() == 5.0
        with trio.move_on_after(2):
            assert current_deadline() == pytest.approx(2.0)
            await trio.lowlevel.checkpoint()
        call.cancel()
        assert current_deadline() == math.inf, "what records the end has a scope with its own deadline"
