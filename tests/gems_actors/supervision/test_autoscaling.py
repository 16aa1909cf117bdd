"""Scaling up and down with the load: the policy by itself, and a real mesh under load."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gems_actors.config import RoleConfig, load_config
from gems_actors.errors import ConfigError
from gems_actors.supervision.autoscaling import AUTOSCALE_PERIOD_S, Load, RoleAutoscaler, load_of
from protocol.messages import ActorStatus, RoleStatus
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import started


def scale(scaler: RoleAutoscaler, loads: Iterable[tuple[float, float]], actors: int = 1) -> list[int]:
    """Return the number of actors after each look, given the oldest request's age and the busy share at each."""
    counts = []
    for look, (oldest_s, busy_share) in enumerate(loads):
        actors = scaler.decide(look * AUTOSCALE_PERIOD_S, Load(actors, oldest_s, busy_share))
        counts.append(actors)
    return counts


def simulate(erlangs: Callable[[float], float], seconds: float, settings: RoleConfig) -> list[int]:
    """Return the number of actors, of capacity 8, at each look, for an offered load that depends on the time.

    Load beyond the capacity is queued and ages.
    """
    scaler, actors, waiting_s, counts = RoleAutoscaler(settings), 1, 0.0, []
    for look in range(int(seconds / AUTOSCALE_PERIOD_S)):
        now = look * AUTOSCALE_PERIOD_S
        share = erlangs(now) / (8 * actors)
        waiting_s = max(0.0, waiting_s + (share - 1) * AUTOSCALE_PERIOD_S)
        actors = scaler.decide(now, Load(actors, waiting_s, min(share, 1.0)))
        counts.append(actors)
    return counts


LATE, IDLE, BUSY = (9.0, 1.0), (0.0, 0.0), (0.0, 1.0)


def test_a_role_grows_within_seconds_to_what_its_load_needs_and_stays_there() -> None:
    counts = simulate(lambda now: 50.0, 120, RoleConfig(max=16))
    assert counts[int(20 / AUTOSCALE_PERIOD_S)] >= 7
    assert max(counts) <= 12
    assert len(set(counts[int(60 / AUTOSCALE_PERIOD_S) :])) == 1


def test_a_role_shrinks_to_its_minimum_when_the_work_is_done() -> None:
    counts = simulate(lambda now: 50.0 if now < 30 else 0.0, 600, RoleConfig(max=16, min=1))
    assert max(counts) >= 7
    assert counts[-1] == 1
    assert counts.index(1, int(30 / AUTOSCALE_PERIOD_S)) > int(50 / AUTOSCALE_PERIOD_S)


def test_growth_is_by_half_after_two_late_looks_and_then_once_per_cool_down() -> None:
    counts = scale(RoleAutoscaler(RoleConfig(max=16)), [LATE] * 18)
    assert counts == [1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 6, 6, 6, 6, 9]


def test_shrinking_waits_for_the_cool_down_too() -> None:
    scaler = RoleAutoscaler(RoleConfig(max=16))
    idle_looks = int(20 / AUTOSCALE_PERIOD_S)
    assert scaler.decide(0.0, Load(17, 0.0, 0.0)) == 16  # above the maximum, which needs no idle time
    assert scaler.decide(0.5, Load(8, 0.0, 0.0)) == 8
    assert scaler.decide(20.0, Load(8, 0.0, 0.0)) == 8
    assert scaler.decide(20.5, Load(8, 0.0, 0.0)) == 7
    assert scale(RoleAutoscaler(RoleConfig(max=4)), [IDLE] * (2 * idle_looks + 2), actors=3) == [
        *[3] * idle_looks,
        *[2] * (idle_looks + 1),
        1,
    ]


def test_a_load_that_alternates_faster_than_the_idle_time_does_not_shrink_a_role() -> None:
    looks = int(19 / AUTOSCALE_PERIOD_S)
    assert {*scale(RoleAutoscaler(RoleConfig(max=4)), ([IDLE] * looks + [BUSY]) * 5, actors=4)} == {4}


@pytest.mark.parametrize(("actors", "busy_share", "count"), [(2, 0.25, 1), (2, 0.26, 2), (5, 0.4, 4), (5, 0.41, 5)])
def test_a_role_shrinks_only_if_half_of_the_remaining_capacity_suffices(
    actors: int, busy_share: float, count: int
) -> None:
    looks = int(20 / AUTOSCALE_PERIOD_S) + 1
    assert scale(RoleAutoscaler(RoleConfig(max=8)), [(0.0, busy_share)] * looks, actors)[-1] == count


def test_a_role_with_a_late_queue_does_not_shrink() -> None:
    loads = [(200.0 - look, 0.0) for look in range(100)]  # getting younger, so that it does not grow either
    assert {*scale(RoleAutoscaler(RoleConfig(max=4)), loads, actors=3)} == {3}


def test_the_last_actor_is_kept() -> None:
    assert {*scale(RoleAutoscaler(RoleConfig(min=0, max=4)), [IDLE] * 100)} == {1}


def test_a_single_late_look_is_a_burst() -> None:
    scaler = RoleAutoscaler(RoleConfig(max=4, target_delay_s=1.0))
    assert scale(scaler, [(5.0, 1.0), (0.0, 1.0), (5.0, 1.0), (5.0, 1.0)]) == [1, 1, 1, 2]


def test_the_first_look_counts() -> None:
    assert scale(RoleAutoscaler(RoleConfig(max=4, target_delay_s=0.1)), [(0.5, 1.0)] * 2) == [1, 2]


def test_a_queue_at_the_target_delay_is_not_late() -> None:
    scaler = RoleAutoscaler(RoleConfig(max=4, target_delay_s=1.0))
    assert {*scale(scaler, [(1.0, 1.0)] * 10)} == {1}


def test_a_queue_that_gets_younger_waits_for_the_actors_it_has() -> None:
    younger = [(9.0 - look / 2, 1.0) for look in range(16)]
    assert {*scale(RoleAutoscaler(RoleConfig(max=4)), younger)} == {1}
    assert {*scale(RoleAutoscaler(RoleConfig(max=4)), [LATE, LATE, *younger[1:]])} == {1, 2}


@pytest.mark.parametrize(("late_looks", "count"), [(1, 2), (2, 3)])
def test_growth_after_a_cool_down_needs_two_late_looks_in_it(late_looks: int, count: int) -> None:
    younger = [(8.0 - look, 1.0) for look in range(4 - late_looks)]
    assert scale(RoleAutoscaler(RoleConfig(max=4)), [LATE, LATE, *[LATE] * late_looks, *younger])[-1] == count


def test_a_role_stays_within_its_bounds_also_during_the_cool_down() -> None:
    scaler = RoleAutoscaler(RoleConfig(min=2, count=2, max=3))
    assert scale(scaler, [LATE] * 20) == [2, *[2] * 3, *[3] * 16]
    assert scaler.decide(10.0, Load(5, 0.0, 1.0)) == 3
    assert scaler.decide(10.5, Load(0, 0.0, 1.0)) == 2


def test_a_role_without_a_minimum_keeps_its_count() -> None:
    assert RoleAutoscaler(RoleConfig(count=2, max=3)).decide(0.0, Load(1, 0.0, 1.0)) == 2
    assert RoleAutoscaler(RoleConfig(count=2, min=1, max=3)).decide(0.0, Load(1, 0.0, 1.0)) == 1
    with pytest.raises(ValueError, match=r"^expected a role with a maximum number of actors$"):
        RoleAutoscaler(RoleConfig())


def test_the_load_of_a_role_is_that_of_all_its_actors() -> None:
    def role(queued: int, *busy: int) -> RoleStatus:
        actors = tuple(
            ActorStatus(
                name=f"v-{number}",
                role="verifier",
                host="here",
                pid=1,
                version="1",
                capacity=4,
                busy=count,
                handled=0,
                silent_s=0.0,
                oldest_s=0.0,
            )
            for number, count in enumerate(busy)
        )
        return RoleStatus(role="verifier", queued=queued, oldest_s=2.5, actors=actors)

    assert load_of(None, 3) == Load(3, 0.0, 0.0)
    assert load_of(role(1, 1, 2), 2) == Load(2, 2.5, 3 / 8)
    assert load_of(role(0, 1, 2), 2) == Load(2, 0.0, 3 / 8)
    assert load_of(role(1), 1) == Load(1, 2.5, 1.0)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("roles.verifier.min=1", "roles.verifier.min: expected it together with roles.verifier.max, got 1 alone"),
        ("roles.verifier={count=3, max=2}", "roles.verifier: expected min <= count <= max, got 3, 3 and 2"),
        ("roles.verifier={min=2, max=4}", "roles.verifier: expected min <= count <= max, got 2, 1 and 4"),
        ("roles.generator.max=2", "roles.generator.max: expected it of a role that scales freely"),
        ("roles.memory.max=2", "roles.memory.max: expected it of a role that scales freely"),
    ],
)
def test_impossible_bounds_are_refused(setting: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}"):
        load_config(environment={}, settings=[setting])


@pytest.mark.slow
def test_a_busy_role_of_a_real_mesh_grows(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("seven red cats left of five stone dogs above a blue fish\n" * 600)
    settings = ["--set", "roles.verifier={count=1, capacity=1, max=3, target_delay_s=0.1}"]
    how = {"cwd": tmp_path, "env": environment(tmp_path), "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with started([*COMMAND, "up", *settings], **how) as mesh:
        assert mesh.stdout is not None
        address = mesh.stdout.readline().split()[3].removesuffix(":")
        with started([*COMMAND, "bulk", "prompts.txt", "--out", "out", "--router", address], **how) as bulk:
            count = 1
            while count < 3:
                assert bulk.poll() is None
                roles = json.loads(run_gems(tmp_path, "status", "--json", "--router", address).stdout)["roles"]
                count = sum(len(role["actors"]) for role in roles if role["role"] == "verifier")
                time.sleep(0.05)  # the router reports the present and sends no event when a role will grow
