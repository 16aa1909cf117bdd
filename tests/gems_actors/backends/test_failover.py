"""Servers that are busy, broken and away, asked with patience; on a clock that only these tests wind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.backends.failover import BusyError, FailoverPool, LateError, UnreachableError
from gems_actors.errors import BackendError, OverloadedError, RefusedError, RequestError

Rule = Callable[[int], str]


class Fake:
    """A server that takes 0.1 s, and does what a rule says of the asker's number."""

    def __init__(self, name: str, rule: Rule = lambda number: "answer") -> None:
        self.name, self.rule, self.pace = name, rule, AdaptiveLimit()
        self.asked: list[tuple[float, int]] = []

    async def ask(self, number: int) -> str:
        self.asked.append((trio.current_time(), number))
        await trio.sleep(0.1)
        match self.rule(number):
            case "busy":
                raise BusyError("429")
            case "busy for 8 s":
                raise BusyError("429, come in 8 s", 8.0)
            case "gone":
                raise UnreachableError("connection refused")
            case "broken":
                raise BackendError("500")
            case "late":
                raise LateError("no answer")
            case "refused":
                raise RefusedError("400")
            case said:
                return f"{self.name}: {said}"


def play(scene: Callable[[], Awaitable[None]]) -> None:
    trio.run(scene, clock=MockClock(autojump_threshold=0))


def ask(servers: FailoverPool[Fake], number: int = 0, *, interactive: bool = False) -> Awaitable[str]:
    return servers.ask(lambda server: server.ask(number), interactive=interactive)


async def fill(servers: FailoverPool[Fake]) -> str:
    """Have an answer, so that the server has been there."""
    return await ask(servers)


def test_what_fails_for_a_while_is_tried_again_until_it_is_answered() -> None:
    async def scene() -> None:
        said = iter(["gone", "broken", "busy", "late", "answer"])
        servers = FailoverPool([Fake("a", lambda number: next(said))])
        assert await ask(servers) == "a: answer"
        assert servers.tried_again == 4
        assert servers.figures()["asking"] == servers.waiting == 0

    play(scene)


def test_a_refusal_is_not_tried_again() -> None:
    async def scene() -> None:
        server = Fake("a", lambda number: "refused")
        with pytest.raises(RefusedError, match="400"):
            await ask(FailoverPool([server]))
        assert len(server.asked) == 1

    play(scene)


def test_a_request_that_a_well_server_always_fails_is_given_up_after_four() -> None:
    async def scene() -> None:
        server = Fake("a", lambda number: "broken" if number == 13 else "answer")
        servers = FailoverPool([server])
        failed: list[int] = []

        async def one(number: int) -> None:
            try:
                await ask(servers, number)
            except BackendError:
                failed.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
        assert failed == [13]
        assert [number for _, number in server.asked].count(13) == 4

    play(scene)


def test_a_server_that_never_was_there_is_waited_for_three_seconds() -> None:
    async def scene() -> None:
        server = Fake("a", lambda number: "gone")
        servers = FailoverPool([server])
        took: list[float] = []

        async def one() -> None:
            with pytest.raises(BackendError, match="connection refused"):
                await ask(servers)
            took.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one)
        assert len(took) == 50
        assert max(took) < 6.0
        assert len(server.asked) < 40, "most of them have learnt it from the others"

    play(scene)


@pytest.mark.parametrize(("how", "words"), [("gone", "connection refused"), ("broken", "500")])
def test_a_server_that_is_away_for_minutes_is_waited_for_by_all_and_asked_by_few(how: str, words: str) -> None:
    async def scene() -> None:
        back_at = 300.0
        server = Fake("a", lambda number: how if 1.0 < trio.current_time() < back_at else "answer")
        servers = FailoverPool([server])
        await fill(servers)
        await trio.sleep(1.0)
        answered: list[float] = []

        async def one() -> None:
            assert await ask(servers) == "a: answer"
            answered.append(trio.current_time())

        with trio.fail_after(600.0):
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(one)
                await trio.sleep(100.0)
                assert servers.figures()["servers_down"] == 1
                assert servers.note() in {f"breaker open: {words}", f"breaker half-open: {words}"}
        assert len(answered) == 200
        assert max(answered) < back_at + 60.0
        assert len([time for time, _ in server.asked if 1.0 < time < back_at]) < 60
        assert servers.note() == ""

    play(scene)


def test_while_the_first_is_away_the_next_is_asked_and_once_it_is_back_it_alone() -> None:
    async def scene() -> None:
        first = Fake("a", lambda number: "gone" if trio.current_time() < 60.0 else "answer")
        second = Fake("b")
        servers = FailoverPool([first, second])
        said = []
        for _ in range(1000):
            said.append(await ask(servers))
            if trio.current_time() > 130.0:
                break
            await trio.sleep(0.5)
        assert said[0] == "b: answer"
        assert said[-1] == "a: answer"
        assert said == sorted(said, reverse=True), "first all of one, then all of the other"

    play(scene)


def test_a_server_that_wants_to_be_left_alone_is_and_the_next_is_asked() -> None:
    async def scene() -> None:
        first = Fake("a", lambda number: "busy for 8 s" if trio.current_time() < 1.0 else "answer")
        servers = FailoverPool([first, Fake("b")])
        assert [await ask(servers) for _ in range(3)] == ["b: answer"] * 3
        await trio.sleep(9.0)
        assert await ask(servers) == "a: answer"
        assert len(first.asked) == 2

    play(scene)


def test_one_that_somebody_waits_for_goes_before_those_of_a_bulk() -> None:
    async def scene() -> None:
        server = Fake("a")
        servers = FailoverPool([server])
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(partial(ask, servers, number))
            await trio.sleep(0.01)
            nursery.start_soon(partial(ask, servers, 99, interactive=True))
        assert [number for _, number in server.asked].index(99) < 25, "with the next to have a place"

    play(scene)


@pytest.mark.parametrize(("what", "kind"), [("busy for 8 s", OverloadedError), ("gone", BackendError)])
def test_before_the_deadline_comes_what_is_wrong_is_said(what: str, kind: type[RequestError]) -> None:
    async def scene() -> None:
        server = Fake("a", lambda number: what if trio.current_time() > 0.05 else "answer")
        servers = FailoverPool([server])
        server.pace.has_answered = True
        with trio.fail_after(7.0), pytest.raises(kind, match=r"429|refused"):
            await ask(servers)
        assert trio.current_time() < 7.0

    play(scene)


def test_one_that_is_not_wanted_any_more_leaves_its_place_to_others() -> None:
    async def scene() -> None:
        server = Fake("a")
        servers = FailoverPool([server])
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(partial(ask, servers, number))
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        assert (server.pace.in_flight, servers.waiting) == (0, 0)
        assert await ask(servers) == "a: answer"

    play(scene)


@settings(max_examples=60, deadline=None)
@given(
    fates=st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(["answer", "busy", "busy for 8 s", "gone", "broken", "late", "refused"]), max_size=6
            ),
            st.floats(0.0, 3.0),
            st.none() | st.floats(0.0, 40.0),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_whatever_happens_every_request_ends_and_no_place_is_lost(
    fates: list[tuple[list[str], float, float | None, bool]],
) -> None:
    async def scene() -> None:
        left = {number: [*said] for number, (said, _, _, _) in enumerate(fates)}
        rule: Rule = lambda number: left[number].pop(0) if left[number] else "answer"  # noqa: E731
        fakes = [Fake("a", rule), Fake("b", rule)]
        servers = FailoverPool(fakes)
        ended = 0

        async def one(number: int) -> None:
            nonlocal ended
            _, after_s, within_s, interactive = fates[number]
            await trio.sleep(after_s)
            with trio.move_on_after(float("inf") if within_s is None else within_s):
                with suppress(RequestError):
                    assert (await ask(servers, number, interactive=interactive)).endswith(": answer")
            ended += 1

        with trio.fail_after(3600.0):
            async with trio.open_nursery() as nursery:
                for number in range(len(fates)):
                    nursery.start_soon(one, number)
        assert ended == len(fates)
        assert [fake.pace.in_flight for fake in fakes] == [0, 0]
        assert servers.waiting == 0

    play(scene)
