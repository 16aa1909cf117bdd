"""Seats without processes: when an actor counts as ready."""

from __future__ import annotations

from gems_actors.config import MeshConfig, SupervisorConfig
from gems_actors.supervision.restart_policy import GiveUp, RestartPolicy
from gems_actors.supervision.seats import Seats
from gems_actors.supervision.zygote_client import ChildProcess, ZygoteKeeper
from gems_actors.tasks import open_background


async def test_a_dead_actor_that_the_router_still_lists_is_not_ready() -> None:
    async def report_dead(name: str, how: str) -> None:
        raise AssertionError(name, how)

    def give_up(decision: GiveUp) -> None:
        raise AssertionError(decision.reason)

    policy = RestartPolicy(SupervisorConfig())
    zygotes = ZygoteKeeper(policy, give_up, unresponsive_s=30.0)  # not running, so that the test says what runs
    seats = Seats(MeshConfig(), "", "", zygotes, policy, report_dead=report_dead, give_up=give_up)
    async with open_background() as nursery:
        await nursery.start(seats.run)
        seat = seats.add("verifier", "verifier", 1)
        assert not seats.are_all_in({seat.name})
        seat.process = ChildProcess()
        seat.process.pid = 7
        assert seats.are_all_in({seat.name, "planner-1"})
        assert not seats.are_all_in({"planner-1"})
        seat.process.end(-9)
        assert not seats.are_all_in({seat.name})
