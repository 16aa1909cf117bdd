"""A mesh over several hosts: one is cut off, one loses packets, one has high latency, one vanishes and one joins."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gems_actors.security.keys import make_mesh_keys
from protocol.messages import MeshStatus
from tests.faults.hosts import open_network, why_not

pytestmark = pytest.mark.slow
TASKS = 300
CUT_S = 20.0
LONGEST_GAP_S = 15.0
"""Maximum seconds between two finished tasks on a quiet machine: the heartbeat timeout of six, and a task's rest."""
PORT = 7100


class Progress:
    """Counts the rows of a bulk and keeps the longest time without a new one."""

    def __init__(self, rows: Path) -> None:
        self.rows = rows
        self.count = 0
        self.longest_gap_s = 0.0
        self._grew_at = time.monotonic()
        self._probes: list[float] = []

    @property
    def slowdown(self) -> float:
        """How many times longer work took than the processor time it needed, because other processes ran too."""
        return max(1.0, sum(self._probes) / len(self._probes))

    def look(self) -> int:
        """Return the number of rows."""
        count = self.rows.read_bytes().count(b"\n") if self.rows.exists() else 0
        now, used = time.monotonic(), time.thread_time()
        while time.thread_time() < used + 0.005:
            pass
        self._probes.append((time.monotonic() - now) / 0.005)
        if self.count:
            self.longest_gap_s = max(self.longest_gap_s, now - self._grew_at)
        if count > self.count:
            self.count, self._grew_at = count, now
        return count


def until(holds: Callable[[], bool], within_s: float = 300.0) -> None:
    """Poll until a condition holds that no process announces."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(why_not() is not None and not os.environ.get("CI"), reason=str(why_not()))
def test_a_bulk_completes_through_every_failure_of_its_hosts(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{2 + line % 7} red cats left of stone dog number {line}\n" for line in range(TASKS)))
    progress = Progress(tmp_path / "out/dataset/metadata.jsonl")
    keys = tmp_path / "keys"
    make_mesh_keys(keys)

    def key(name: str) -> tuple[str, ...]:
        return ("--set", f"security.key={keys}/{name}.key", "--set", f"security.router_key={keys}/router.pub")

    with open_network(tmp_path, "head", "gpu", "cpu1", "cpu2", "cpu3") as network:
        router = f"tcp://{network.addresses['head']}:{PORT}"

        def status() -> MeshStatus | None:
            """Return the status; none if the router did not answer in the seconds that the command waits for it."""
            shown = network.gems("head", "status", "--json", "--router", router, *key("client"))
            return msgspec.json.decode(shown.stdout, type=MeshStatus) if shown.returncode == 0 else None

        def capacities(known: MeshStatus) -> dict[str, int]:
            actors = [actor for role in known.roles for actor in role.actors]
            return {host: sum(actor.capacity for actor in actors if actor.host == host) for host in network.addresses}

        def has_joined(*hosts: str) -> bool:
            known = status()
            return known is not None and all(capacities(known)[host] for host in hosts)

        def is_gone(host: str) -> bool:
            known = status()
            return known is not None and not capacities(known)[host]

        def agent(host: str, *roles: str, router: str = router) -> subprocess.Popen[str]:
            where = ("--router", router, "--set", f"data_dir={data}", *key("agent"))
            return network.start(host, "agent", "--name", host, *where, *roles)

        data = tmp_path / "data"
        bound = f"router.address={router}"
        roles = [f"roles.{role}.count=0" for role in ("generator", "verifier")]
        settings = [part for setting in (bound, f"data_dir={data}", *roles) for part in ("--set", setting)]
        network.start("head", "up", *settings, *key("router"), "--set", f"security.allowed={keys}/allowed.toml")
        until(lambda: status() is not None)
        network.delay("gpu", PORT, f"{network.addresses['head']}:{PORT}", 0.1)
        agent("gpu", "generator=1", router=f"tcp://127.0.0.1:{PORT}")
        lost = agent("cpu1", "verifier=2")
        agent("cpu2", "verifier=1")
        until(lambda: has_joined("gpu", "cpu1", "cpu2"))
        network.lose("cpu2", 0.02)

        out = [
            "--out",
            "out",
            "--rounds",
            "2",
            "--size",
            "256x256",
            "--router",
            router,
            "--set",
            f"data_dir={data}",
            *key("client"),
        ]
        bulk = network.start("head", "bulk", "prompts.txt", *out)
        until(lambda: progress.look() >= 20)
        network.cut("cpu1")
        cut_at, before = time.monotonic(), progress.count
        until(lambda: progress.look() > before + 20 and time.monotonic() > cut_at + CUT_S)
        network.mend("cpu1")
        until(lambda: progress.look() > 0 and has_joined("cpu1"))
        until(lambda: progress.look() > 0 and (known := status()) is not None and known.requeued > 0)
        lost.kill()
        network.cut("cpu1")
        agent("cpu3", "verifier=2")
        until(lambda: progress.look() > 0 and has_joined("cpu3"))
        until(lambda: progress.look() >= TASKS)
        assert bulk.wait(120) == 0
        found = [json.loads(line)["index"] for line in progress.rows.read_text().splitlines()]
        assert found == list(range(TASKS))
        # Shown by `pytest --log-cli-level=INFO`; the README states it.
        seen = "longest time without a finished task: %.1f s, on a machine slowed down %.1f times"
        logging.getLogger(__name__).info(seen, progress.longest_gap_s, progress.slowdown)
        assert progress.longest_gap_s < LONGEST_GAP_S * progress.slowdown
        assert (tmp_path / "out/failed.jsonl").read_bytes() == b""
        until(lambda: is_gone("cpu1"))
