"""Chaos: `python -m tests.chaos [--seed N | --seeds N | --minutes M] [--at-once K] [--table]`."""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.chaos.run import LIMIT_S, Outcome, draw_reference, run_seed
from tests.chaos.schedule import KINDS, schedule_of
from tests.chaos.world import python_environment
from tests.processes import take_signals

KEPT = Path(__file__).parents[2] / ".chaos"


def main() -> int:
    """Return the exit code: 0, or 1 after a broken invariant."""
    take_signals()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="the only seed, or the first one of several")
    parser.add_argument("--seeds", type=int, help="number of seeds (default 20, or as many as fit the minutes)")
    parser.add_argument("--minutes", type=float, help="begin no further seed after this time")
    parser.add_argument("--at-once", type=int, default=2, help="seeds that run side by side (default 2)")
    parser.add_argument("--table", action="store_true", help="print the table of faults for tests/README.md")
    parser.add_argument("--go-on", action="store_true", help="go on after a broken invariant")
    parser.add_argument("--in-this-process", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mounts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_this_process is not None:
        reference = msgspec.msgpack.decode(options.in_this_process.read_bytes(), type=dict[str, dict[str, bytes]])
        print(msgspec.json.encode(run_seed(options.seed, reference, mounts=options.mounts, keep=KEPT)).decode())
        return 0
    first = 1 if options.seed is None else options.seed
    count = options.seeds or (None if options.minutes else 20 if options.seed is None else 1)
    seeds = itertools.count(first) if count is None else range(first, first + count)
    if count == 1:
        print(schedule_of(first))
    began = time.monotonic()
    outcomes = []
    for outcome in run_all(seeds, options.at_once, 60 * (options.minutes or 1e9), goes_on=options.go_on):
        outcomes.append(outcome)
        print(text_of(outcome, shows_all=count == 1), flush=True)
    broken = [outcome for outcome in outcomes if outcome.problems]
    minutes = (time.monotonic() - began) / 60
    hits = sum(sum(outcome.hit.values()) for outcome in outcomes)
    print(f"{len(outcomes)} seeds with {hits} faults in {minutes:.1f} min, {len(broken)} with a broken invariant")
    if options.table:
        print("\n".join(table_of(outcomes)))
    return int(bool(broken))


def run_all(seeds: Iterable[int], at_once: int, limit_s: float, *, goes_on: bool) -> Iterator[Outcome]:
    """Yield the outcomes of seeds, each run in a process and a mount namespace of its own."""
    end = time.monotonic() + limit_s
    with TemporaryDirectory(prefix="chaos-") as name, ThreadPoolExecutor(at_once) as pool:
        file = Path(name) / "reference"
        file.write_bytes(msgspec.msgpack.encode(draw_reference(Path(name))))
        running: set[Future[Outcome]] = set()
        is_broken = False
        for seed in itertools.chain(seeds, itertools.repeat(None, at_once)):
            if seed is not None and time.monotonic() < end and not (is_broken and not goes_on):
                running.add(pool.submit(run_in_process, seed, file))
                if len(running) < at_once:
                    continue
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                is_broken |= bool(future.result().problems)
                yield future.result()


def run_in_process(seed: int, reference: Path) -> Outcome:
    """Run a seed in a process, and return its outcome."""
    command = [sys.executable, "-m", "tests.chaos", "--seed", f"{seed}", "--in-this-process", str(reference)]
    for options in ([], ["--map-root-user"]):
        namespace = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            *options,
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode == 0:
            command = [*namespace, *command, "--mounts"]
            break
    done = subprocess.run(command, check=False, capture_output=True, env=python_environment(), timeout=16 * LIMIT_S)
    if done.returncode != 0:
        return Outcome(seed=seed, problems=[f"the tool failed: {done.stderr.decode()[-3000:]}"])
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)


def text_of(outcome: Outcome, *, shows_all: bool) -> str:
    """Return what is printed of a seed: one line, or all of it."""
    faults, runs = sum(outcome.hit.values()), ", ".join(map(str, outcome.codes))
    line = (
        f"seed {outcome.seed}: {outcome.seconds:.1f} s, {faults} faults, exit codes {runs}, {outcome.peak_mib:.0f} MiB"
    )
    if not outcome.problems and not shows_all:
        return line
    ends = [f"  exit code {code}: {end}" for code, end in zip(outcome.codes, outcome.ends, strict=True)]
    schedule = [f"  {schedule_line}" for schedule_line in f"{schedule_of(outcome.seed)}".splitlines()]
    if not outcome.problems:
        return "\n".join((line, *ends))
    shown = [f"  {problem}" for problem in outcome.problems[:20]]
    again = f"  folder: {outcome.kept}", f"  see it again: make chaos SEED={outcome.seed}"
    return "\n".join((f"{line}: BROKEN", *shown, *ends, *schedule, *again))


def table_of(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the table of faults: how often each hit something, in seeds without a broken invariant."""
    hit, seeds = Counter[str](), Counter[str]()
    for outcome in outcomes:
        if not outcome.problems:
            hit.update(outcome.hit)
            seeds.update(kind for kind, count in outcome.hit.items() if count)
    yield "| fault | hit | in seeds |"
    yield "|---|---|---|"
    for kind in KINDS:
        yield f"| {kind.name} | {hit[kind.name]} | {seeds[kind.name]} |"


if __name__ == "__main__":
    sys.exit(main())
