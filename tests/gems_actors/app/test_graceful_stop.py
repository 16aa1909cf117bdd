"""A graceful stop that waits for what nobody can finish."""

from __future__ import annotations

import pytest
import trio

from gems_actors.actor import Actor, answers
from gems_actors.app.graceful_stop import await_hopeless, obstacle_in
from gems_actors.testing import open_test_mesh
from protocol.messages import ActorStatus, ControlRun, DrawPicture, GenerateImage, Picture, RoleStatus

TASK = DrawPicture(run="test", prompt="a red cat", seed=7)


class StuckConductor(Actor):
    """A conductor that waits for a generator."""

    role = "conductor"

    @answers
    async def draw(self, request: DrawPicture) -> Picture:
        await self.mesh.ask(GenerateImage(prompt="x", seed=1, width_px=64, height_px=64))
        raise AssertionError


def status(role: str, *, queued: int = 0, actors: tuple[ActorStatus, ...] = ()) -> RoleStatus:
    return RoleStatus(role=role, queued=queued, oldest_s=0.0, actors=actors)


def actor(*, capacity: int = 1, busy: int = 1, failing_s: float = 0.0, note: str = "") -> ActorStatus:
    return ActorStatus(
        name="g", role="generator", host="h", pid=1, version="1", capacity=capacity, busy=busy, handled=0,
        silent_s=0.0, oldest_s=0.0, figures={"failing_s": failing_s} if failing_s else {}, note=note,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("role", "obstacle"),
    [
        (status("generator", queued=1), "no generator is ready"),
        (status("generator", queued=1, actors=(actor(capacity=0),)), "no generator is ready"),
        (status("generator", actors=(actor(failing_s=3.0, note="busy"),)), "generator: busy"),
        (status("generator", actors=(actor(failing_s=3.0), actor())), ""),
        (status("generator", actors=(actor(failing_s=3.0, busy=0),)), ""),
        (status("generator", queued=1, actors=(actor(),)), ""),
        (status("generator"), ""),
        (status("own_role", queued=1), ""),
    ],
)
def test_nobody_can_finish_what_waits_for_a_role_without_a_ready_actor_or_for_servers_that_are_away(
    role: RoleStatus, obstacle: str
) -> None:
    assert obstacle_in([role]) == obstacle


async def test_a_stop_is_bounded_while_no_actor_is_there() -> None:
    asked = trio.Event()
    asked.set()
    async with open_test_mesh(StuckConductor) as mesh, trio.open_nursery() as nursery:
        nursery.start_soon(mesh.ask, TASK)
        assert await await_hopeless(mesh, "test", asked, patience_s=0.05) == "no generator is ready"
        nursery.cancel_scope.cancel()


async def test_a_stop_of_a_paused_run_is_bounded() -> None:
    asked = trio.Event()
    asked.set()
    async with open_test_mesh() as mesh:
        await mesh.ask(ControlRun(run="test", action="pause", by="alice"))
        assert await await_hopeless(mesh, "test", asked, patience_s=0.05) == "the run is paused by alice"
