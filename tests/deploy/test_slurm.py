"""A mesh on a real Slurm cluster of two nodes survives the loss of a role, of a node and of its head."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gems_actors.app.slurm.mesh import read_status
from gems_actors.errors import DeadlineError, MeshUnavailableError
from protocol.messages import ActorStatus
from tests.deploy.private_slurm import NODES, Cluster, await_true, open_cluster, what_is_missing
from tests.gems_actors.cli.commands import COMMAND
from tests.processes import started

pytestmark = pytest.mark.slow

LINES = 60
ROLES = ("generator", "verifier", "planner")
"""Roles of the groups."""
THINGS = ("red cats", "glass owls", "pigs", "metal toys")
MESH = """\
data_dir = "data"
blobs = "mesh:"
[draw]
max_rounds = 2
width_px = 128
height_px = 128
[slurm.head]
options = ["--nodelist=n1"]
[[slurm.groups]]
name = "gpu"
roles = { generator = 1 }
gres = "gpu:1"
[[slurm.groups]]
name = "chat"
roles = { verifier = 1, planner = 1 }
options = ["--nodelist=n1"]
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes in a folder with a short path; in CI, missing Slurm is a failure."""
    if reason := what_is_missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="gems-") as folder, open_cluster(Path(folder)) as cluster:
        yield cluster


class MeshOnSlurm:
    """A mesh in a folder of batch files, used through the command line."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.config = folder / "mesh.toml"
        self.config.write_text(MESH)

    def gems(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.cluster.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def slurm(self, command: str, *arguments: str) -> str:
        return self.gems("slurm", command, self.folder / "jobs", *arguments)

    def job(self, name: str) -> str:
        """Return the number of the first job of a batch file."""
        return str(json.loads((self.folder / "jobs" / "jobs.json").read_text())["submitted"][name][0])

    def job_details(self, name: str) -> dict[str, str]:
        """Return what Slurm knows of the first job of a batch file."""
        output = self.cluster.ask("scontrol", "show", "job", "--oneliner", self.job(name))
        return dict(word.partition("=")[::2] for word in output.split())

    def states(self, name: str) -> list[str]:
        return self.cluster.ask("squeue", "--noheader", "--array", f"--name=gems-{name}", "--format=%T").split()

    @property
    def router(self) -> str:
        """The line of the head's address file."""
        return (self.folder / "jobs" / "router.address").read_text()

    def actors(self, role: str) -> list[ActorStatus]:
        """Return the ready actors of a role; none where no router answers."""
        try:
            status = trio.run(read_status, self.router.split()[0])
        except (MeshUnavailableError, DeadlineError):
            return []
        return [actor for found in status.roles if found.role == role for actor in found.actors if actor.capacity]

    def counts(self) -> list[int]:
        """Return the number of ready actors of each role of the groups."""
        return [len(self.actors(role)) for role in ROLES]

    def log(self, name: str) -> str:
        return (self.folder / "jobs" / f"{name}.log").read_text()

    @contextmanager
    def bulk(self) -> Iterator[subprocess.Popen[str]]:
        """A bulk that runs in the background."""
        prompts = [f"{n % 7 + 2} {THINGS[n % 4]} left of a stone dog" for n in range(LINES)]
        (self.folder / "prompts.txt").write_text("\n".join(prompts))
        command = ("bulk", self.folder / "prompts.txt", "--out", self.folder / "out", "--concurrency", "1")
        with (
            (self.folder / "bulk.log").open("w") as log,
            started(
                [*COMMAND, *command, "--router", self.router.split()[0], "--config", self.config],
                env=self.cluster.environment,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            yield process

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that the bulk has finished so far."""
        path = self.folder / "out" / "dataset" / "metadata.jsonl"
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def test_a_bulk_completes_although_its_mesh_loses_a_role_a_node_and_its_head(cluster: Cluster, tmp_path: Path) -> None:
    mesh = MeshOnSlurm(cluster, tmp_path)
    mesh.gems("slurm", "render", mesh.config, "--out", tmp_path / "jobs")
    head = tmp_path / "jobs" / "head.sbatch"  # edited, so that the address shows on which of the two nodes the head is
    head.write_text(
        head.read_text().replace("\nport=", "\nif [ $SLURMD_NODENAME = n2 ]; then host=127.0.0.2; fi\nport=")
    )
    assert mesh.slurm("up").splitlines()[-1] == f"mesh at {mesh.router.split()[0]}"
    await_true(lambda: mesh.counts() == [1, 1, 1])
    with mesh.bulk() as bulk:
        await_true(lambda: len(mesh.rows()) >= 2)

        (lost,) = mesh.actors("generator")
        os.kill(lost.pid, signal.SIGKILL)
        await_true(lambda: [actor.name for actor in mesh.actors("generator")] not in ([], [lost.name]))

        cluster.lose_node("n2")  # with every generator
        cluster.ask("scancel", "--batch", "--signal=TERM", f"{mesh.job('chat')}_0")  # as before the time limit
        await_true(lambda: mesh.job_details("chat")["Restarts"] == "1")
        assert "actor_drained" in mesh.log("chat-0")
        cluster.ask("scontrol", "requeue", mesh.job("head"))
        await_true(lambda: mesh.states("gpu") == ["PENDING"])
        assert cluster.state_of_nodes()["n2"].startswith("down")
        assert len(mesh.rows()) < LINES

        cluster.start_node("n2")
        await_true(lambda: mesh.router.endswith(f" job {mesh.job('head')} restart 1\n"))
        await_true(lambda: mesh.counts() == [1, 1, 1])
        for name in ("head", "chat", "gpu"):
            assert mesh.job_details(name)["Restarts"] == "1"

        assert mesh.slurm("scale", "gpu=3") == "gpu: 1 -> 3\n"  # one of them stays pending: there are two GPUs
        await_true(lambda: len(mesh.actors("generator")) == 2)
        assert bulk.wait(240) == 0

    rows = mesh.rows()
    assert [row["index"] for row in rows] == [*range(LINES)]
    pictures = {path.name for path in (tmp_path / "out" / "dataset").rglob("*.png")}
    assert len(pictures) == len({Path(row["file_name"]).name for row in rows} & pictures) == LINES

    assert mesh.router.startswith("tcp://127.0.0.1:")
    cluster.ask("scontrol", "requeue", mesh.job("head"))
    cluster.ask("scontrol", "update", f"JobId={mesh.job('head')}", "ReqNodeList=n2")
    await_true(lambda: mesh.router.startswith("tcp://127.0.0.2:"))
    await_true(lambda: mesh.counts() == [2, 1, 1])

    assert mesh.slurm("scale", "gpu=1") == "gpu: 3 -> 1\n"
    assert "gpu   " in mesh.slurm("status")
    assert mesh.slurm("down") == "3 jobs ended\n"
    assert cluster.ask("squeue", "--noheader") == ""
    for name in ("head", "chat", "gpu"):  # and not requeued
        assert {what: mesh.job_details(name)[what] for what in ("JobState", "ExitCode")} == {
            "JobState": "COMPLETED",
            "ExitCode": "0:0",
        }
    assert len(cluster.processes()) == len(NODES)  # only the daemon of each node


def test_a_head_that_cannot_run_is_reported_with_its_last_log_line(cluster: Cluster, tmp_path: Path) -> None:
    mesh = MeshOnSlurm(cluster, tmp_path)
    mesh.gems("slurm", "render", mesh.config, "--out", tmp_path / "jobs")
    mesh.config.write_text("[draw]\nmax_rounds = 0\n")
    command = [*COMMAND, "slurm", "up", str(tmp_path / "jobs")]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1
    assert "gems: head: expected a job that runs, got one that ended; " in done.stderr
    assert "draw.max_rounds: expected a whole number of at least 1, got 0" in done.stderr.splitlines()[-1]
    assert cluster.ask("squeue", "--noheader") == ""
