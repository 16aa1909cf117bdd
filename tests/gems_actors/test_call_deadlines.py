"""Calls are cancelled at their deadlines, and at no other time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import trio

from gems_actors.call_context import Call, answering, current_deadline
from gems_actors.call_deadlines import DeadlineWatch
from gems_actors.tasks import open_background
from protocol.envelope import Header, Kind

pytestmark = pytest.mark.virtual_time


class Watched:
    """Calls in progress, and the watch of their deadlines."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.watch = DeadlineWatch(self.calls)
        self.run = self.watch.run

    def call_until(self, deadline: float) -> Call:
        call = Call(Header(Kind.REQUEST), deadline=deadline, watch=self.watch.note)
        self.calls.append(call)
        self.watch.note(call)
        return call


async def test_calls_are_cancelled_at_their_deadlines_in_any_order() -> None:
    watch, ended = Watched(), dict[float, float]()

    async def wait(call: Call) -> None:
        with trio.CancelScope() as call.scope:
            await trio.sleep_forever()
        assert call.has_expired
        ended[call.deadline] = trio.current_time()

    async with open_background() as watching:
        watching.start_soon(watch.run)
        async with trio.open_nursery() as nursery:
            for deadline in (7.0, 3.0, 5.0, 3.5):
                nursery.start_soon(wait, watch.call_until(deadline))
                await trio.sleep(0.5)
    assert ended == {deadline: pytest.approx(deadline) for deadline in (7.0, 3.0, 5.0, 3.5)}


async def test_a_deadline_that_moves_counts_as_it_is_now() -> None:
    watch = Watched()
    async with open_background() as watching:
        watching.start_soon(watch.run)
        call = watch.call_until(2.0)
        await trio.sleep(1)
        call.deadline = 4.0
        watch.watch.note(call)
        await trio.sleep(2)
        assert not call.is_cancelled
        call.deadline = 3.5
        watch.watch.note(call)
        await trio.sleep(0.75)
        assert call.has_expired


async def test_a_call_that_is_over_is_not_cancelled() -> None:
    watch = Watched()
    async with open_background() as watching:
        watching.start_soon(watch.run)
        over = watch.call_until(2.0)
        watch.calls.remove(over)
        later = watch.call_until(4.0)
        await trio.sleep(3)
        assert not over.is_cancelled
        await trio.sleep(1.5)
        assert later.has_expired


async def test_ten_thousand_deadlines_in_a_row_need_no_more_than_a_hundred_looks_a_second() -> None:
    watch, looks = Watched(), 0

    class Counted(list[Call]):
        def __iter__(self) -> Iterator[Call]:
            nonlocal looks
            looks += 1
            return super().__iter__()

    watch.calls = Counted()
    watch.watch = DeadlineWatch(watch.calls)
    for number in range(10_000):
        watch.call_until(1.0 + number / 10_000)
    async with open_background() as watching:
        watching.start_soon(watch.watch.run)
        await trio.sleep(2.1)
    assert all(call.has_expired for call in watch.calls)
    assert looks <= 110


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
