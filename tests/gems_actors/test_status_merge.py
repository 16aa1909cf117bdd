"""Statuses of several routers of one mesh, merged into one."""

from __future__ import annotations

import pytest

from gems_actors.status_merge import merge_answers, merge_statuses
from protocol.messages import Controlled, ControlRun, MeshStatus, RoleStatus
from protocol.messages.values import Control, RunPhase


def status(epoch: str, totals: dict[str, float]) -> MeshStatus:
    role = RoleStatus(role="memory", queued=1, oldest_s=0.5, actors=(), totals=totals)
    return MeshStatus(epoch=epoch, uptime_s=1.0, roles=(role,), clients=1, requeued=1)


def test_calls_of_routers_are_summed_and_counts_of_actors_which_all_of_them_hear_are_not() -> None:
    one = status("a", {"calls": 3.0, "call_seconds": 1.5, "calls_within/1": 3.0, "images": 7.0})
    other = status("b", {"calls": 4.0, "call_seconds": 2.0, "calls_within/1": 2.0, "images": 6.0, "rounds": 2.0})
    (role,) = merge_statuses([one, other]).roles
    assert role.totals == {"calls": 7.0, "call_seconds": 3.5, "calls_within/1": 5.0, "images": 7.0, "rounds": 2.0}
    assert role.queued == 2


def test_the_latest_error_that_any_router_knows_stands() -> None:
    roles = [
        RoleStatus(role="memory", queued=0, oldest_s=0.0, actors=(), last_error=text, last_error_s=age)
        for text, age in (("", None), ("log: full", 9.0), ("log: away", 3.0))
    ]
    found = [
        MeshStatus(epoch=f"{n}", uptime_s=1.0, roles=(role,), clients=1, requeued=0) for n, role in enumerate(roles)
    ]
    (role,) = merge_statuses(found).roles
    assert (role.last_error, role.last_error_s) == ("log: away", 3.0)


@pytest.mark.parametrize(
    ("action", "phases", "before"),
    [
        ("pause", ("paused", "running"), "running"),  # one router had the news from a peer before the request
        ("resume", ("running", "paused"), "paused"),
        ("cancel", ("cancelled", "paused"), "paused"),
        ("pause", ("paused", "paused"), "paused"),
    ],
)
def test_the_phase_before_a_change_is_that_of_the_router_that_had_not_heard_of_it(
    action: Control, phases: tuple[RunPhase, ...], before: RunPhase
) -> None:
    answers = [Controlled(before=phase, waiting=2, in_hand=1) for phase in phases]
    merged = merge_answers(ControlRun(run="mine", action=action), answers)
    assert merged == Controlled(before=before, waiting=4, in_hand=2)
