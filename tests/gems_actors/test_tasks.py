"""Errors of background tasks reach the caller."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gems_actors.errors import ConfigError, SupervisorError
from gems_actors.tasks import open_background


async def fail_together(*errors: Exception) -> None:
    """Raise each error in its own task, all at the same moment."""
    now = trio.Event()

    async def fail(error: Exception) -> None:
        await now.wait()
        raise error

    async with open_background() as outer:
        outer.start_soon(fail, errors[0])
        async with open_background() as inner:
            for error in errors[1:]:
                inner.start_soon(fail, error)
            await trio.testing.wait_all_tasks_blocked()  # otherwise one may be cancelled before it waits
            now.set()
            await trio.sleep_forever()


async def test_an_error_raised_by_two_tasks_is_raised_as_itself() -> None:
    error = ConfigError("memory: ended")
    with pytest.raises(ConfigError) as raised:
        await fail_together(error, error)
    assert raised.value is error


async def test_different_errors_are_raised_as_a_group() -> None:
    with pytest.raises(ExceptionGroup):
        await fail_together(ConfigError("memory: ended"), SupervisorError("router: ended"))
