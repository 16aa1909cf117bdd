"""The zygote is replaced by one rule, whatever ends it or keeps it from starting."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from gems_actors.config import MeshConfig, SupervisorConfig
from gems_actors.supervision.control_actor import Membership
from gems_actors.supervision.restart_policy import GiveUp, RestartPolicy
from gems_actors.supervision.zygote_client import ZygoteKeeper
from tests.processes import await_gone


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Leave this process without room for another open file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]
    top = max(taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.slow
async def test_a_zygote_that_the_system_refuses_for_want_of_descriptors_is_started_once_there_are_some() -> None:
    given_up: list[GiveUp] = []
    keeper = ZygoteKeeper(RestartPolicy(SupervisorConfig()), given_up.append, unresponsive_s=30.0)
    async with trio.open_nursery() as nursery:
        with capture_logs() as lines, no_more_descriptors():
            nursery.start_soon(keeper.run)
            while not lines and not given_up:  # noqa: ASYNC110  # a log sends no event
                await trio.sleep(0.005)
        zygote = await keeper.next(trio.Event())
        assert zygote is not None
        await keeper.close()
    assert not given_up
    assert lines[0]["event"] == "zygote_refused_by_system"


async def test_a_zygote_that_is_refused_too_often_is_given_up_by_the_documented_limit() -> None:
    given_up: list[GiveUp] = []
    settings = SupervisorConfig(max_restarts=2, period_s=60.0, backoff_s=0.01)
    keeper = ZygoteKeeper(RestartPolicy(settings), given_up.append, unresponsive_s=30.0)
    with no_more_descriptors():
        await keeper.run()
    assert given_up == [
        GiveUp(
            "zygote: ended 3 times within 60 s, expected at most 2; the last time with exit code 71 (the system refused"
            " the process)",
            is_final_exit=False,
        )
    ]


@pytest.mark.slow
async def test_a_zygote_that_is_stopped_is_killed_and_replaced() -> None:
    keeper = ZygoteKeeper(RestartPolicy(SupervisorConfig()), list[GiveUp]().append, unresponsive_s=0.3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        first = await keeper.next(trio.Event())
        assert first is not None
        await first.ping()
        os.kill(first.pid, signal.SIGSTOP)
        await first.gone.wait()
        second = await keeper.next(trio.Event())
        assert second is not None
        assert second.pid != first.pid
        await keeper.close()
    assert not await_gone({first.pid, second.pid})


class _Controlled:
    """A supervisor that is never asked for anything."""

    async def resize(self, role: str, count: int) -> tuple[int, int]:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def restarts(self) -> dict[str, int]:
        return {}


@pytest.mark.virtual_time
async def test_a_supervisor_waits_for_its_router_for_as_long_as_the_restart_policy_does(tmp_path: Path) -> None:
    membership = Membership("supervisor", is_agent=False)
    with trio.move_on_after(300) as limit:
        await membership.serve(_Controlled(), f"ipc://{tmp_path}/router.ipc", MeshConfig())
    assert limit.cancelled_caught
