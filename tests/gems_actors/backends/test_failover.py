"""Failover and retry over servers that are busy, broken or unreachable, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.backends.failover import (
    BusyError,
    FailoverPool,
    LateError,
    RefusedOrBusyError,
    RequestFaultError,
    RetryPolicy,
    UnreachableError,
)
from gems_actors.call_context import Call, answering
from gems_actors.call_deadlines import DeadlineWatch
from gems_actors.errors import BackendError, OverloadedError, RefusedError, RequestError, error_of, failure_of
from gems_actors.tasks import open_background
from protocol.envelope import Header, Kind

pytestmark = pytest.mark.virtual_time

Rule = Callable[[int], str]


class FakeServer:
    """A server that answers after `takes_s` by a rule on the request's number; known to take eight at once."""

    def __init__(self, name: str, rule: Rule = lambda number: "answer", *, takes_s: float = 0.1) -> None:
        self.name, self.rule, self.takes_s, self.limit = name, rule, takes_s, AdaptiveLimit()
        self.limit.window = 8.0
        self.requests: list[tuple[float, int]] = []
        """Time and number of each request."""

    async def exchange(self, number: int) -> str:
        self.requests.append((trio.current_time(), number))
        await trio.sleep(self.takes_s)
        match self.rule(number):
            case "busy":
                raise BusyError("429")
            case "busy for 8 s":
                raise BusyError("429, retry in 8 s", 8.0)
            case "gone":
                raise UnreachableError("connection refused")
            case "broken":
                raise BackendError("500")
            case "late":
                raise LateError("no answer")
            case "nonsense":
                raise RequestFaultError("expected an answer")
            case "408":
                raise RequestFaultError("408", is_timeout=True)
            case "refused":
                raise RefusedError("400")
            case "refused or busy":
                raise RefusedOrBusyError(RefusedError("400"), BusyError("429"))
            case answer:
                return f"{self.name}: {answer}"


def call(pool: FailoverPool[FakeServer], number: int = 0, *, interactive: bool = False) -> Awaitable[str]:
    return pool.call(lambda server: server.exchange(number), interactive=interactive)


async def test_a_request_is_retried_until_it_is_answered() -> None:
    fates = iter(["gone", "broken", "busy", "late", "answer"])
    pool = FailoverPool([FakeServer("a", lambda number: next(fates))])
    assert await call(pool) == "a: answer"
    assert (pool.retries, pool.timeouts, pool.queued) == (4, 1, 0)
    assert pool.figures()["asking"] == 0


def test_the_backoff_is_uniform_up_to_a_bound_that_doubles() -> None:
    retry = RetryPolicy(first_backoff_s=0.5, max_backoff_s=3.0)
    for retries, bound_s in enumerate([0.5, 1.0, 2.0, 3.0, 3.0]):
        waits = [retry.backoff_s(retries) for _ in range(300)]
        assert 0.0 <= min(waits) < 0.1 * bound_s
        assert 0.9 * bound_s < max(waits) <= bound_s


def test_a_busy_server_s_pause_is_what_the_caller_is_told_to_wait() -> None:
    assert BusyError("429", 8.0).retry_after_s == 8.0
    assert BusyError("429").retry_after_s == 1.0


async def test_a_refusal_is_not_retried() -> None:
    server = FakeServer("a", lambda number: "refused")
    with pytest.raises(RefusedError, match="400"):
        await call(FailoverPool([server]))
    assert len(server.requests) == 1


async def test_a_request_that_a_working_server_always_fails_is_given_up_after_four_attempts() -> None:
    server = FakeServer("a", lambda number: "broken" if number == 13 else "answer")
    pool = FailoverPool([server])
    failed: list[int] = []

    async def try_one(number: int) -> None:
        try:
            await call(pool, number)
        except BackendError:
            failed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(try_one, number)
    assert failed == [13]
    assert [number for _, number in server.requests].count(13) == 4


async def fates_of(rule: Rule, numbers: int) -> tuple[dict[int, str], FakeServer]:
    """Call once for each number at the same time, and return how each call ended."""
    server = FakeServer("a", rule)
    pool = FailoverPool([server])
    ended: dict[int, str] = {}

    async def try_one(number: int) -> None:
        try:
            ended[number] = await call(pool, number)
        except RequestError as error:
            ended[number] = str(error)

    with trio.fail_after(600.0):
        async with trio.open_nursery() as nursery:
            for number in range(numbers):
                nursery.start_soon(try_one, number)
    return ended, server


@pytest.mark.parametrize("fate", ["nonsense", "408", "broken", "refused or busy"])
@pytest.mark.parametrize("others", [0, 1, 30])
async def test_a_request_that_fails_for_its_own_sake_ends_and_the_others_are_answered(fate: str, others: int) -> None:
    poisoned = {0, 1, 2}
    ended, server = await fates_of(lambda number: fate if number in poisoned else "answer", 3 + others)
    assert {number for number, end in ended.items() if end == "a: answer"} == ended.keys() - poisoned
    most = {"408": 11, "broken": 11}.get(fate, 4)  # the server may be slow for all, or restart
    assert all([number for _, number in server.requests].count(number) <= most for number in ended)


async def test_unusable_answers_never_open_the_breaker() -> None:
    _, server = await fates_of(lambda number: "nonsense", 20)
    assert server.limit.is_closed
    assert len(server.requests) == 80


async def test_an_unusable_answer_counts_while_the_breaker_is_open() -> None:
    unusable: list[float] = []

    def answer(_: int) -> str:
        if trio.current_time() < 20.0:
            return "gone"
        unusable.append(trio.current_time())
        return "nonsense"

    server = FakeServer("a", answer)
    server.limit.has_answered = True
    pool = FailoverPool([server])
    with pytest.raises(RequestFaultError) as caught, trio.fail_after(120.0):
        await call(pool)
    assert not error_of(failure_of(caught.value)).is_retryable, "the pool has tried it often enough"
    assert error_of(failure_of(BackendError("500"))).is_retryable
    assert len(unusable) == 4, "counted by what was answered: a request may begin before the server is back"


async def test_a_request_alone_at_a_server_that_only_says_500_is_bounded_by_twelve_tries() -> None:
    server = FakeServer("a", lambda number: "broken")
    server.limit.has_answered = True
    with pytest.raises(BackendError, match="500"), trio.fail_after(600.0):
        await call(FailoverPool([server], RetryPolicy(max_faults=5)))  # as if it had failed once before
    assert len(server.requests) == 4 + 8


async def test_a_request_late_while_others_are_answered_may_have_waited_and_is_tried_longer() -> None:
    def rule(number: int) -> str:
        return "late" if number == 13 else "answer"

    server = FakeServer("a", rule)
    pool = FailoverPool([server])

    async def keep_busy() -> None:
        while True:
            await call(pool, 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_busy)
        nursery.start_soon(keep_busy)
        await trio.sleep(0.05)
        with pytest.raises(LateError):
            await call(pool, 13)
        nursery.cancel_scope.cancel()
    assert 8 <= [number for _, number in server.requests].count(13) <= 11


async def test_a_refusal_is_kept_while_the_server_is_busy_with_the_request_in_another_form() -> None:
    fates = iter(["refused or busy", "refused or busy", "answer"])
    assert await call(FailoverPool([FakeServer("a", lambda number: next(fates))])) == "a: answer"
    with pytest.raises(RefusedError, match="400"):
        await call(FailoverPool([FakeServer("a", lambda number: "refused or busy")]))


async def test_a_long_pause_is_told_with_its_reason() -> None:
    server = FakeServer("a", lambda number: "busy for 8 s" if trio.current_time() < 1.0 else "answer")
    pool = FailoverPool([server])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, pool)
        await trio.sleep(1.1)
        assert pool.note() == "paused for 7 s: 429, retry in 8 s"
    assert pool.note() == ""


async def test_the_time_limit_of_a_handler_runs_only_while_a_server_works_for_it_or_is_down() -> None:
    server = FakeServer("a")
    server.limit.window = 1.0
    server.limit.reject(0.0, "429", None)  # its window stays at one
    server.limit.start()
    pool = FailoverPool([server])
    answered: list[int] = []
    calls: list[Call] = []
    deadlines = DeadlineWatch(calls)

    async def handle(number: int, within_s: float = 0.25) -> None:  # enough for two exchanges of its own
        request = Call(Header(Kind.REQUEST), deadline=trio.current_time() + within_s, watch=deadlines.note)
        calls.append(request)
        deadlines.note(request)
        with trio.CancelScope() as request.scope, answering(request):
            await call(pool, number)
            await call(pool, number)
            answered.append(number)

    server.limit.cancel()
    async with open_background() as watching:
        watching.start_soon(deadlines.run)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(handle, number)
        assert len(answered) == 20
        server.limit.pause(trio.current_time(), 5.0, "paused")
        began = trio.current_time()
        await handle(99, within_s=5.15)
    assert trio.current_time() - began == pytest.approx(5.15), "a server that takes nobody uses up the time"
    assert 99 not in answered


async def test_a_client_that_gives_up_ends_its_request_in_the_queue() -> None:
    server = FakeServer("a")
    pool = FailoverPool([server])
    for _ in range(8):
        server.limit.start()
    calls: list[Call] = []
    deadlines = DeadlineWatch(calls)
    request = Call(Header(Kind.REQUEST), deadline=3.0, client_deadline=3.0, watch=deadlines.note)
    calls.append(request)
    deadlines.note(request)
    async with open_background() as watching:
        watching.start_soon(deadlines.run)
        with trio.CancelScope() as request.scope, answering(request):
            await call(pool)
        assert request.scope.cancelled_caught
    assert trio.current_time() == pytest.approx(3.0)
    assert pool.queued == 0


async def test_a_server_that_never_answered_is_given_up_after_three_seconds() -> None:
    server = FakeServer("a", lambda number: "gone")
    pool = FailoverPool([server])
    ended: list[float] = []

    async def try_one() -> None:
        with pytest.raises(BackendError, match="connection refused"):
            await call(pool)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(try_one)
    assert len(ended) == 50
    assert max(ended) < 6.0
    assert len(server.requests) < 40, "most requests fail without trying the server themselves"


@pytest.mark.parametrize(("fate", "reason"), [("gone", "connection refused"), ("broken", "500")])
@pytest.mark.slow
async def test_requests_wait_for_a_server_that_is_down_for_minutes_and_few_of_them_try_it(
    fate: str, reason: str
) -> None:
    back_at = 300.0
    server = FakeServer("a", lambda number: fate if 1.0 < trio.current_time() < back_at else "answer")
    pool = FailoverPool([server])
    await call(pool)
    await trio.sleep_until(1.0)
    answered: list[float] = []

    async def try_one() -> None:
        assert await call(pool) == "a: answer"
        answered.append(trio.current_time())

    with trio.fail_after(600.0):
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(try_one)
            await trio.sleep(100.0)
            assert pool.figures()["servers_down"] == 1
            assert pool.note() in {f"breaker open: {reason}", f"breaker half-open: {reason}"}
    assert len(answered) == 200
    assert max(answered) < back_at + 60.0
    assert len([time for time, _ in server.requests if 1.0 < time < back_at]) < 60
    assert pool.note() == ""


async def test_the_second_server_takes_over_while_the_first_is_down_and_not_after() -> None:
    first = FakeServer("a", lambda number: "gone" if trio.current_time() < 60.0 else "answer")
    pool = FailoverPool([first, FakeServer("b")])
    answers = []
    while trio.current_time() < 130.0:
        answers.append(await call(pool))
        await trio.sleep(0.5)
    assert answers[0] == "b: answer"
    assert answers[-1] == "a: answer"
    assert answers == sorted(answers, reverse=True), "first all from one, then all from the other"


async def test_while_a_server_asks_for_a_pause_the_next_one_takes_over() -> None:
    first = FakeServer("a", lambda number: "busy for 8 s" if trio.current_time() < 1.0 else "answer")
    pool = FailoverPool([first, FakeServer("b")])
    assert [await call(pool) for _ in range(3)] == ["b: answer"] * 3
    await trio.sleep(9.0)
    assert await call(pool) == "a: answer"
    assert len(first.requests) == 2


async def test_an_interactive_request_goes_ahead_of_bulk_requests() -> None:
    server = FakeServer("a")
    pool = FailoverPool([server])
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(partial(call, pool, number))
        await trio.sleep(0.01)
        nursery.start_soon(partial(call, pool, 99, interactive=True))
    started_at = {number: time for time, number in server.requests}
    assert started_at[99] == pytest.approx(0.1), "as soon as the first eight are answered"
    assert max(started_at.values()) > 0.25


@pytest.mark.parametrize(("fate", "kind"), [("busy for 8 s", OverloadedError), ("gone", BackendError)])
async def test_the_last_failure_is_raised_before_the_deadline(fate: str, kind: type[RequestError]) -> None:
    server = FakeServer("a", lambda number: fate if number else "answer")
    pool = FailoverPool([server])
    await call(pool, 0)
    with trio.fail_after(7.0), pytest.raises(kind, match=r"429|refused"):
        await call(pool, 1)


async def test_a_pause_beyond_the_deadline_is_an_overload_with_a_reason() -> None:
    server = FakeServer("a")
    pool = FailoverPool([server])
    await call(pool)
    server.limit.pause(trio.current_time(), 60.0, "a: expected requests left in its rate limit, got none")
    with trio.fail_after(7.0), pytest.raises(OverloadedError, match="a: expected requests left in its rate limit"):
        await call(pool)


async def test_cancelled_requests_free_their_places() -> None:
    server = FakeServer("a")
    pool = FailoverPool([server])
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(partial(call, pool, number))
        await trio.sleep(0.05)
        assert (server.limit.in_flight, pool.queued) == (8, 92)
        nursery.cancel_scope.cancel()
    assert (server.limit.in_flight, pool.queued) == (0, 0)
    assert await call(pool) == "a: answer"


@pytest.mark.parametrize("fate", ["gone", "busy"])
async def test_requests_fail_since_the_first_failure_after_the_last_answer(fate: str) -> None:
    fates = {1: fate}
    pool = FailoverPool([FakeServer("a", lambda number: fates.get(number, "answer"))])

    def failing_s() -> float:
        return pool.figures()["failing_s"]

    assert await call(pool) == "a: answer"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, pool, 1)
        await trio.sleep(40.1)
        assert failing_s() == pytest.approx(40.0)
        fates[2] = "refused"
        with pytest.raises(RefusedError):
            await call(pool, 2)
        assert failing_s() < 40.0, "a refusal is an answer"
        nursery.cancel_scope.cancel()
    assert failing_s() == 0.0, "nobody waits"


class LongBackoff(RetryPolicy):
    """Waits long before each retry, where the usual wait is random and may be almost none."""

    def backoff_s(self, retries: int) -> float:
        return 10.0


@pytest.mark.parametrize("fate", ["late", "nonsense", "408"])
async def test_a_slow_server_and_an_unusable_answer_are_no_sign_that_servers_are_away(fate: str) -> None:
    server = FakeServer("a", lambda number: fate)
    pool = FailoverPool([server], LongBackoff())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, pool)
        await trio.sleep(0.15)
        assert len(server.requests) == 1
        assert pool.figures()["failing_s"] == 0.0
        nursery.cancel_scope.cancel()


@settings(max_examples=60, deadline=None)
@given(
    scripts=st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(
                    ["answer", "busy", "busy for 8 s", "gone", "broken", "late", "refused", "nonsense", "408"]
                ),
                max_size=6,
            ),
            st.floats(0.0, 3.0),
            st.none() | st.floats(0.0, 40.0),
            st.booleans(),
        ),
        max_size=40,
    )
)
async def test_every_request_ends_and_no_place_is_lost(
    scripts: list[tuple[list[str], float, float | None, bool]],
) -> None:
    left = {number: [*fates] for number, (fates, _, _, _) in enumerate(scripts)}
    rule: Rule = lambda number: left[number].pop(0) if left[number] else "answer"  # noqa: E731
    servers = [FakeServer("a", rule), FakeServer("b", rule)]
    pool = FailoverPool(servers)
    ended = 0

    async def try_one(number: int) -> None:
        nonlocal ended
        _, after_s, within_s, interactive = scripts[number]
        await trio.sleep(after_s)
        with trio.move_on_after(float("inf") if within_s is None else within_s):
            with suppress(RequestError):
                assert (await call(pool, number, interactive=interactive)).endswith(": answer")
        ended += 1

    with trio.fail_after(3600.0):
        async with trio.open_nursery() as nursery:
            for number in range(len(scripts)):
                nursery.start_soon(try_one, number)
    assert ended == len(scripts)
    assert [server.limit.in_flight for server in servers] == [0, 0]
    assert pool.queued == 0
