"""Answers that many pages ask for: computed once in a while."""

from __future__ import annotations

import pytest
import trio

from gems_actors.gateway.page.shared_answers import SharedAnswers

pytestmark = pytest.mark.virtual_time


async def test_an_answer_is_computed_once_for_all_who_ask_at_the_same_time_or_soon() -> None:
    answers: SharedAnswers[int] = SharedAnswers(0.5)
    computed = 0

    async def compute() -> int:
        nonlocal computed
        await trio.sleep(0.1)
        computed += 1
        return computed

    async def ask(key: str, expected: int) -> None:
        assert await answers.get(key, compute) == expected

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask, "mesh", 1)
    await trio.sleep(0.4)
    await ask("mesh", 1)
    await ask("run", 2)
    await trio.sleep(0.6)
    await ask("mesh", 3)
    answers.forget()
    await ask("mesh", 4)


async def test_a_failure_is_not_kept_and_its_key_is_asked_again() -> None:
    answers: SharedAnswers[int] = SharedAnswers(0.5)
    outcomes: list[Exception | int] = [ValueError("away"), 7]

    async def compute() -> int:
        await trio.lowlevel.checkpoint()
        if isinstance(outcome := outcomes.pop(0), Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="away"):
        await answers.get("mesh", compute)
    assert await answers.get("mesh", compute) == 7
