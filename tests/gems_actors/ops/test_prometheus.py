"""The router's table in Prometheus's text format."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from gems_actors.ops.prometheus import metrics_text
from protocol.identity import agent_role
from protocol.messages import ActorStatus, MeshStatus, RoleStatus


def actor(name: str, role: str, *, capacity: int = 8, busy: int = 0, version: str = "1.2") -> ActorStatus:
    return ActorStatus(
        name=name,
        role=role,
        host="here",
        pid=1,
        version=version,
        capacity=capacity,
        busy=busy,
        handled=5,
        silent_s=0.1,
        oldest_s=float(busy),
    )


def mesh(*roles: RoleStatus) -> MeshStatus:
    return MeshStatus(epoch="e", uptime_s=12.5, roles=roles, clients=2, requeued=3)


def samples(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(gems_\S+) (\S+)$", text, re.MULTILINE)}


def test_the_figures_of_a_role_sum_over_its_actors() -> None:
    verifiers = (
        actor("v-1", "verifier", busy=3),
        actor("v-2", "verifier", busy=1),
        actor("v-3", "verifier", capacity=0),
    )
    role = RoleStatus(role="verifier", queued=7, oldest_s=1.25, actors=verifiers, paused=2)
    found = samples(metrics_text(mesh(role)))
    assert {name: value for name, value in found.items() if "role_" in name} == {
        'gems_role_queue_depth{role="verifier"}': 7,
        'gems_role_oldest_seconds{role="verifier"}': 1.25,
        'gems_role_workers{role="verifier"}': 2,
        'gems_role_capacity{role="verifier"}': 16,
        'gems_role_busy{role="verifier"}': 4,
        'gems_role_paused{role="verifier"}': 2,
        'gems_role_held_seconds{role="verifier"}': 3,
    }


def test_agents_are_counted_but_not_listed_as_roles() -> None:
    role = agent_role("far")
    text = metrics_text(mesh(RoleStatus(role=role, queued=0, oldest_s=0.0, actors=(actor("far", role),))))
    assert samples(text) == {
        'gems_build_info{version="1.2"}': 1,
        "gems_router_uptime_seconds": 12.5,
        "gems_clients": 2,
        "gems_agents": 1,
        "gems_requeued_requests_total": 3,
    }


TOTALS = {
    "calls": 7.0, "call_seconds": 3.5, "pictures/all_met": 3.0, "failures/backend": 1.0, "rounds": 6.0, "images": 12.0,
    "tokens/planner/prompt": 1e9, "calls/planner": 4.0, "seconds/generator": 2.5, "cost/planner": 0.25,
    "restarts/verifier": 2.0, "calls_within/0.1": 2.0, "calls_within/1": 7.0, "pictures_of_rounds/1": 2.0,
    "pictures_of_rounds/7": 1.0, "pictures_of_rounds/nonsense": 1.0,
    "of a role of your own": 1.0, "tokens/too/many/parts": 1.0,
}  # fmt: skip


def test_totals_are_counters_summed_over_roles() -> None:
    roles = (
        RoleStatus(role="memory", queued=0, oldest_s=0.0, actors=(), totals=TOTALS),
        RoleStatus(role="memory_1", queued=0, oldest_s=0.0, actors=(), totals={"pictures/all_met": 2.0}),
        RoleStatus(role=agent_role("far"), queued=0, oldest_s=0.0, actors=(), totals={"restarts/verifier": 1.0}),
    )
    found = samples(metrics_text(mesh(*roles)))
    assert {
        name: value for name, value in found.items() if "_total" in name or "_seconds_sum" in name or "_count" in name
    } == {
        "gems_requeued_requests_total": 3,
        'gems_role_call_duration_seconds_count{role="memory"}': 7,
        'gems_role_call_duration_seconds_sum{role="memory"}': 3.5,
        'gems_tasks_total{outcome="all_met"}': 5,
        'gems_failures_total{code="backend"}': 1,
        "gems_rounds_total": 6,
        "gems_images_total": 12,
        'gems_model_calls_total{role="planner"}': 4,
        'gems_tokens_total{role="planner",type="prompt"}': 1e9,
        'gems_work_seconds_total{role="generator"}': 2.5,
        'gems_cost_total{role="planner"}': 0.25,
        'gems_role_restarts_total{role="verifier"}': 3,
        "gems_task_rounds_count": 3,
    }


def test_calls_and_rounds_are_histograms() -> None:
    found = samples(metrics_text(mesh(RoleStatus(role="memory", queued=0, oldest_s=0.0, actors=(), totals=TOTALS))))
    name = 'gems_role_call_duration_seconds_bucket{role="memory",le='
    assert (found[f'{name}"0.1"}}'], found[f'{name}"1"}}'], found[f'{name}"+Inf"}}']) == (2, 7, 7)
    rounds = {name.split('"')[1]: value for name, value in found.items() if name.startswith("gems_task_rounds_bucket")}
    assert (rounds["1"], rounds["6"], rounds["8"], rounds["+Inf"]) == (2, 2, 3, 3)
    assert found["gems_task_rounds_sum"] == 9


def test_every_sample_follows_its_help_and_type() -> None:
    text = metrics_text(mesh(RoleStatus(role="planner", queued=0, oldest_s=0.0, actors=())))
    assert text.endswith("\n")
    known: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            known.append(line.split()[2])
        elif not line.startswith("#"):
            assert re.split(r"[{ ]", line)[0] == known[-1]
    assert len(known) == len(set(known)) == text.count("# HELP ")


def test_a_version_is_escaped() -> None:
    role = RoleStatus(role="planner", queued=0, oldest_s=0.0, actors=(actor("p", "planner", version='1"\n\\'),))
    assert 'gems_build_info{version="1\\"\\n\\\\"} 1\n' in metrics_text(mesh(role))


@pytest.mark.skipif(shutil.which("promtool") is None and "CI" not in os.environ, reason="needs promtool of Prometheus")
def test_promtool_finds_nothing_to_criticise() -> None:
    roles = [
        RoleStatus(
            role=name, queued=1, oldest_s=0.5, actors=(actor(f"{name}-1", name, busy=1),), paused=1, totals=TOTALS
        )
        for name in ("planner", "generator")
    ]
    text = metrics_text(mesh(*roles))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
