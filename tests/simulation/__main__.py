"""Simulate meshes whose network, routers and actors fail by a seed, and check that the invariants hold."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time

import structlog

from tests.simulation.ledger import BrokenInvariantError
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.world import simulate


def main() -> int:
    """Run each scenario with each seed; print what breaks an invariant, and return whether something did."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="number of seeds for each scenario")
    parser.add_argument("--seed", type=int, help="the only seed to run, to see a failure again")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="by default all")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of a set of ids depends on it
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seeds = range(1, options.seeds + 1) if options.seed is None else range(options.seed, options.seed + 1)
    totals = [run(SCENARIOS[name], seeds) for name in options.scenario or SCENARIOS]
    simulated_s, cpu_s = (sum(column) for column in zip(*totals, strict=True))
    print(f"{len(totals) * len(seeds)} runs, {simulated_s / cpu_s:,.0f} times real time")
    return int(not simulated_s)


def run(scenario: Scenario, seeds: range) -> tuple[float, float]:
    """Run a scenario with each seed, and return the simulated seconds and the CPU seconds; end at the first failure."""
    began, simulated_s, messages, begun_twice = time.process_time(), 0.0, 0, 0
    for seed in seeds:
        try:
            outcome = simulate(scenario, seed)
        except BrokenInvariantError as error:
            print(error)
            print(f"see it again: make simulate SCENARIO={scenario.name} SEED={seed}")
            raise SystemExit(1) from None
        simulated_s += outcome.simulated_s
        messages += outcome.messages
        begun_twice += outcome.begun_twice
    cpu_s = time.process_time() - began
    print(
        f"{scenario.name:24}{len(seeds):6} seeds {messages:9} messages to routers, {begun_twice:5} begun again after a "
        f"loss, {simulated_s / cpu_s:6,.0f} times real time"
    )
    return simulated_s, cpu_s


if __name__ == "__main__":
    sys.exit(main())
