"""Growing and shrinking by what waits: the rule by itself, and a real mesh under load."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from gems_actors.config import RoleConfig, load_config
from gems_actors.errors import ConfigError
from gems_actors.supervision.autoscaling import AUTOSCALE_PERIOD_S, Load, RoleAutoscaler
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import started


def live(scale: RoleAutoscaler, load_at: Callable[[float, int], Load], seconds: float, actors: int = 1) -> list[int]:
    """Return how many actors there are at each look, with a load that depends on the time and on them."""
    counts = []
    for look in range(int(seconds / AUTOSCALE_PERIOD_S)):
        actors = scale.decide(look * AUTOSCALE_PERIOD_S, load_at(look * AUTOSCALE_PERIOD_S, actors))
        counts.append(actors)
    return counts


def offered(erlangs: Callable[[float], float], capacity: int = 8) -> Callable[[float, int], Load]:
    """A role that is offered so many requests to have in hand: what is beyond its capacity waits and ages."""
    waiting_s = 0.0

    def load_at(now: float, actors: int) -> Load:
        nonlocal waiting_s
        share = erlangs(now) / (capacity * actors)
        waiting_s = max(0.0, waiting_s + (share - 1) * AUTOSCALE_PERIOD_S)
        return Load(actors, waiting_s, min(share, 1.0))

    return load_at


def test_a_role_grows_within_seconds_to_what_its_load_needs_and_stays_there() -> None:
    counts = live(RoleAutoscaler(RoleConfig(max=16)), offered(lambda now: 50.0), 120)
    assert counts[int(20 / AUTOSCALE_PERIOD_S)] >= 7
    assert max(counts) <= 12
    assert len(set(counts[int(60 / AUTOSCALE_PERIOD_S) :])) == 1


def test_it_shrinks_to_its_least_when_the_work_is_done() -> None:
    counts = live(RoleAutoscaler(RoleConfig(max=16, min=1)), offered(lambda now: 50.0 if now < 30 else 0.0), 600)
    assert max(counts) >= 7
    assert counts[-1] == 1
    assert counts.index(1, int(30 / AUTOSCALE_PERIOD_S)) > int(50 / AUTOSCALE_PERIOD_S)


def test_a_load_that_comes_and_goes_within_seconds_makes_no_role_flap() -> None:
    counts = live(RoleAutoscaler(RoleConfig(max=16)), offered(lambda now: 30.0 if int(now) % 6 < 3 else 4.0), 600)
    late = counts[int(120 / AUTOSCALE_PERIOD_S) :]
    assert sum(one != other for one, other in pairwise(late)) <= 2


def test_one_late_look_is_no_queue_and_the_most_is_never_passed() -> None:
    scale = RoleAutoscaler(RoleConfig(max=3, target_delay_s=1.0))
    assert scale.decide(0.0, Load(1, 5.0, 1.0)) == 1
    assert scale.decide(0.5, Load(1, 0.0, 1.0)) == 1
    assert scale.decide(1.0, Load(1, 5.0, 1.0)) == 1
    assert scale.decide(1.5, Load(1, 5.0, 1.0)) == 2
    assert [scale.decide(2.0 + AUTOSCALE_PERIOD_S * look, Load(3, 99.0, 1.0)) for look in range(20)] == [3] * 20


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
def test_bounds_that_make_no_sense_are_refused(setting: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}"):
        load_config(environment={}, settings=[setting])


@pytest.mark.slow
def test_a_busy_role_of_a_real_mesh_grows_by_itself(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("seven red cats left of five stone dogs above a blue fish\n" * 60)
    settings = ["--set", "roles.verifier={count=1, capacity=1, max=3, target_delay_s=0.1}"]
    how = {"cwd": tmp_path, "env": environment(tmp_path), "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with started([*COMMAND, "up", *settings], **how) as mesh:
        assert mesh.stdout is not None
        address = mesh.stdout.readline().split()[3].removesuffix(":")
        with started([*COMMAND, "bulk", "prompts.txt", "--out", "out", "--router", address], **how) as bulk:
            counts = {1}
            while max(counts) < 3:
                assert bulk.poll() is None
                roles = json.loads(run_gems(tmp_path, "status", "--json", "--router", address).stdout)["roles"]
                counts |= {len(role["actors"]) for role in roles if role["role"] == "verifier"}
                time.sleep(0.05)  # the router answers what is so now, and tells nobody what will be
            assert max(counts) == 3
