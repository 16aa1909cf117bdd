"""No request is lost or begun twice, whatever happens to routers, actors and messages."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.ledger import BrokenInvariantError
from tests.simulation.scenarios import SCENARIOS, Scenario, dying_at
from tests.simulation.world import simulate

SMALL = Scenario("small", actors=2, capacity=2, clients=1, requests=6, spread_s=2.0, longest_s=3.0)
SEEDS = 6
"""Seeds of each scenario, so that all take a few seconds; `make simulate` has no limit."""
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_every_scenario_keeps_the_invariants() -> None:
    """Another hash seed changes a run, so this is a process as `make simulate` starts it."""
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{SEEDS * len(SCENARIOS)} runs, ")


@pytest.mark.parametrize("routers", [1, 2])
@pytest.mark.slow
def test_a_router_may_die_before_any_message(routers: int) -> None:
    scenario = replace(SMALL, routers=routers)
    for number in range(1, simulate(scenario, 1).messages + 1):
        simulate(dying_at(scenario, number), 1)


@pytest.mark.parametrize("name", ["everything", "pictures-unreliable"])
def test_the_same_seed_is_the_same_run(name: str) -> None:
    first, again, other = (simulate(SCENARIOS[name], seed) for seed in (5, 5, 6))
    assert first == again
    assert first.digest != other.digest


def test_a_request_whose_client_and_actor_both_stood_still_is_answered() -> None:
    scenario = Scenario(
        "both-stand-still",
        actors=1,
        clients=1,
        requests=12,
        silence_s=2.0,
        spread_s=6.0,
        actor_stalls=1,
        client_stalls=1,
        longest_stall_s=12.0,
    )
    for seed in range(1, 31):
        simulate(scenario, seed)


def test_a_request_that_is_begun_twice_is_reported_with_the_messages_that_led_to_it() -> None:
    """The silence after which an actor counts as lost is shorter than its heartbeats."""
    hasty = Scenario("hasty", silence_s=0.5)
    with pytest.raises(BrokenInvariantError, match=r"<- router actor\d router1 +REQUEST [^~]* is begun by actor"):
        simulate(hasty, 1)
