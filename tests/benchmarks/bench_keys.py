"""Cost of keys: round trips a second over tcp with CURVE, against tcp without in the same run.

One client with 256 requests in flight, a router, two workers of a trivial role; and the time of a request alone.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import trio

from gems_actors.config import load_config
from gems_actors.security.keys import make_mesh_keys
from tests.benchmarks.echo import ECHO_WORKER, describe, time_mesh
from tests.gems_actors.blobs.pictures import free_router
from tests.processes import started

_TURNS = 3
_ROUTER = """
import sys
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
config = load_config(environment={}, settings=["log.level=error", *sys.argv[2:]])
sys.exit(run_role("router", config, config.router_addresses[0], "router-1"))
"""


def measure(folder: Path, *, has_keys: bool) -> tuple[float, list[float]]:
    """Return round trips a second, and the seconds of each request alone."""
    router = free_router()
    keys = folder / "keys"
    here = (f"security.key={keys}/router.key", f"security.allowed={keys}/allowed.toml") if has_keys else ()
    there = (f"security.key={keys}/agent.key", f"security.router_key={keys}/router.pub") if has_keys else ()
    admin = tuple(
        setting.replace("agent.key", "admin.key") for setting in there
    )  # the key that may send requests to a planner
    with ExitStack() as stack:
        places = (f"router.runtime_dir={folder}/run", f"router.address={router}")
        stack.enter_context(started((sys.executable, "-P", "-c", _ROUTER, "router", *places, *here)))
        for name in ("planner-1", "planner-2"):
            stack.enter_context(started((sys.executable, "-P", "-c", ECHO_WORKER, router, name, *there)))
        return trio.run(time_mesh, router, load_config(environment={}, settings=admin).security)


def main() -> None:
    """Print the table."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    pings: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="gems-") as name:
        folder = Path(name)
        (folder / "run").mkdir()
        make_mesh_keys(folder / "keys")
        for _ in range(_TURNS):  # interleaved, because a virtual machine's speed changes by the minute
            for has_keys in (False, True):
                rate, alone = measure(folder, has_keys=has_keys)
                rates[has_keys].append(rate)
                pings[has_keys] += alone
    print(describe("tcp", rates[False], pings[False]))
    print(describe("tcp with keys", rates[True], pings[True]))
    print(f"with keys / without: {median(rates[True]) / median(rates[False]):.2f}")
