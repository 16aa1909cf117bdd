"""The mesh against what others use in its place: the same request to one of two workers, by turns in each repeat.

Each system runs in processes of its own: client, router or broker, two workers; msgpack at both ends. Measured are
requests alone, with 256 in flight and with 10,000, and the CPU time of all processes together. Systems that are not
installed are left out: NATS needs nats-server and nats-py (with uvloop where that is installed), Celery a redis-server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles

from tests.benchmarks.figures import ROOT, Figure, table
from tests.benchmarks.peers.load import RESULT, requests_for

REPEATS = int(os.environ.get("REPEATS", "5"))
SYSTEMS: Mapping[str, str] = {
    "mesh": "mesh",
    "blocking pyzmq": "raw_pyzmq",
    "asyncio pyzmq": "asyncio_pyzmq",
    "NATS": "nats_requests",
    "Ray actors": "ray_actors",
    "Celery": "celery_tasks",
}
_STEPS = ("alone", "256", "10000")
_CELERY_REQUESTS = 2_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
Measured = dict[str, dict[str, list[float]]]


def missing(module: str) -> str:
    """Return what is not installed of a system, if anything."""
    peer = import_module(f"tests.benchmarks.peers.{module}")
    absent = [name for name in getattr(peer, "REQUIRES", ()) if find_spec(name) is None]
    return absent[0] if absent else getattr(peer, "missing", str)()


@contextmanager
def open_system(module: str) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """Start a system's processes, and give its client and the sessions that they run in."""
    name = f"tests.benchmarks.peers.{module}"
    running: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="gems-") as folder:

        def start(*arguments: str) -> subprocess.Popen[str]:
            command = (sys.executable, "-P", "-m", name, folder, *arguments)
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            }
            running.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            )
            return running[-1]

        try:
            for arguments in import_module(name).COMMANDS:
                start(*arguments)
            yield start(), {process.pid for process in running}
        finally:
            for process in reversed(running):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def cpu_of_sessions(sessions: set[int]) -> float:
    """Return the CPU seconds of all processes of some sessions."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) in sessions:
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS_PER_S


def measure(module: str, into: Measured) -> None:
    """Add the figures of one repeat of a system."""
    with open_system(module) as (client, sessions):
        assert client.stdin is not None
        assert client.stdout is not None
        if not any(line.strip() == "ready" for line in client.stdout):
            raise RuntimeError(f"{module}: expected a client that is ready, got none")
        for step in _STEPS if module != "celery_tasks" else _STEPS[:2]:
            before = cpu_of_sessions(sessions)
            client.stdin.write(f"{step}\n")
            client.stdin.flush()
            line = next((line for line in client.stdout if line.startswith(RESULT)), None)
            if line is None:
                raise RuntimeError(f"{module}: expected the result of {step}, got the end of its client")
            result = json.loads(line.removeprefix(RESULT))
            if step == "alone":
                into["p50"][module].append(1e3 * median(result))
                into["p99"][module].append(1e3 * quantiles(result, n=100)[98])
                continue
            into[step][module].append(result)
            requests = _CELERY_REQUESTS if module == "celery_tasks" else requests_for(int(step))
            if step == "256" and module != "ray_actors":  # whose processes leave the session
                into["cpu"][module].append(1e6 * (cpu_of_sessions(sessions) - before) / requests)


def figures_of(measured: Measured, names: Mapping[str, str]) -> list[Figure]:
    """Return the mesh's figures against each other system."""
    rows = (
        ("256", "256 requests in flight", "/s"),
        ("10000", "10,000 requests in flight", "/s"),
        ("p50", "a request alone, p50", "ms"),
        ("p99", "a request alone, p99", "ms"),
        ("cpu", "CPU of a request, 256 in flight", "µs"),
    )
    return [
        Figure(text, unit, measured[key]["mesh"], name, measured[key][module])
        for key, text, unit in rows
        for name, module in names.items()
        if module != "mesh" and module in measured[key]
    ]


def main() -> list[Figure]:
    """Print the table, and return its figures."""
    names = {name: module for name, module in SYSTEMS.items() if not missing(module)}
    for name in SYSTEMS.keys() - names.keys():
        print(f"{name}: not installed ({missing(SYSTEMS[name])})")
    measured: Measured = defaultdict(lambda: defaultdict(list))
    for repeat in range(REPEATS):
        modules = list(names.values())
        for module in modules if repeat % 2 == 0 else reversed(modules):
            measure(module, measured)
    figures = figures_of(measured, names)
    print("\n".join(table(figures)))
    return figures
