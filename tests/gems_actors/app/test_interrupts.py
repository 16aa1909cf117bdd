"""Ctrl-C and SIGTERM: graceful first, then at once."""

from __future__ import annotations

import signal

import pytest
import trio

from gems_actors.app.interrupts import open_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_and_the_second_cancels_the_block(number: signal.Signals) -> None:
    calls: list[str] = []
    async with open_interrupts() as interrupts:
        interrupts.on_hurry(lambda: calls.append("hurry"))
        signal.raise_signal(number)
        await interrupts.asked.wait()
        assert (interrupts.is_by_term, interrupts.is_hurried, calls) == (number == signal.SIGTERM, False, [])
        signal.raise_signal(number)
        await trio.Event().wait()
    assert (interrupts.is_hurried, calls) == (True, ["hurry"])


async def test_after_the_block_signals_have_their_usual_effect() -> None:
    before = signal.getsignal(signal.SIGINT)
    async with open_interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


async def test_in_another_thread_than_the_main_one_the_block_runs_without_signals() -> None:
    async def block() -> bool:
        async with open_interrupts() as interrupts:
            return interrupts.asked.is_set()

    assert not await trio.to_thread.run_sync(trio.run, block)
