"""What comes out of tasks that run beside a block."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gems_actors.errors import ConfigError, SupervisorError
from gems_actors.tasks import open_background


async def fail_together(*errors: Exception) -> None:
    """Have a task for each error raise it, all at the same moment."""
    now = trio.Event()

    async def fail(error: Exception) -> None:
        await now.wait()
        raise error

    async with open_background() as outer:
        outer.start_soon(fail, errors[0])
        async with open_background() as inner:
            for error in errors[1:]:
                inner.start_soon(fail, error)
            await trio.testing.wait_all_tasks_blocked()  # else one may be cancelled before it waits
            now.set()
            await trio.sleep_forever()


def test_an_error_that_two_tasks_raise_comes_out_as_itself() -> None:
    error = ConfigError("memory: ended")
    with pytest.raises(ConfigError) as raised:
        trio.run(fail_together, error, error)
    assert raised.value is error


def test_errors_of_several_tasks_come_out_as_a_group() -> None:
    with pytest.raises(ExceptionGroup):
        trio.run(fail_together, ConfigError("memory: ended"), SupervisorError("router: ended"))
