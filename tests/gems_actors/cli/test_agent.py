"""`gems agent` runs roles on a further host, for a mesh whose router runs elsewhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import await_gone, descendants, started

pytestmark = pytest.mark.slow


@pytest.fixture
def address() -> str:
    return free_address()


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def running(tmp_path: Path, *arguments: str, more: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command in the background that prints a line on standard output once it is ready."""
    with started(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=environment(tmp_path, **(more or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process
        family = descendants(process.pid)
    assert not await_gone({*family})


def head(tmp_path: Path, address: str) -> tuple[str, ...]:
    return ("up", "--set", f"router.address={address}", "--set", "roles.verifier.count=0")


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def actors_of(tmp_path: Path, address: str, role: str) -> list[str]:
    shown = json.loads(run_gems(tmp_path, "status", "--json", "--router", address).stdout)
    return [actor["name"] for found in shown["roles"] if found["role"] == role for actor in found["actors"]]


def test_an_agent_waits_for_its_router_and_plays_the_missing_role(tmp_path: Path, address: str) -> None:
    with (
        running(tmp_path, "agent", "--router", address, "--name", "far", "verifier=2") as agent,
        running(tmp_path, *head(tmp_path, address)) as up,
    ):
        assert first_line(agent) == "agent far ready: 2 processes; stop with Ctrl-C\n"
        first_line(up)
        drawn = run_gems(tmp_path, "draw", "a red dog", "--seed", "1", "-o", "dog.png", "--router", address)
        assert (drawn.returncode, (tmp_path / "dog.png").exists()) == (0, True)

        scaled = run_gems(tmp_path, "scale", "--host", "far", "verifier=3", "--router", address)
        assert (scaled.returncode, scaled.stdout) == (0, "verifier: 2 -> 3\n")
        stranger = run_gems(tmp_path, "scale", "--host", "near", "verifier=3", "--router", address)
        assert (stranger.returncode, stranger.stderr.count("\n")) == (2, 1)
        assert "expected one of far, got 'near'" in stranger.stderr
        assert "far" in run_gems(tmp_path, "status", "--router", address).stdout

        (router,) = (pid for pid, name in descendants(up.pid).items() if name == "gems-router")
        os.kill(router, signal.SIGKILL)  # the agent's roles introduce themselves to the next router
        drawn = run_gems(tmp_path, "draw", "a red dog", "--seed", "2", "-o", "two.png", "--router", address)
        assert (drawn.returncode, (tmp_path / "two.png").exists()) == (0, True)

        while "far" not in run_gems(tmp_path, "status", "--router", address).stdout:  # until the agent is back, too
            assert up.poll() is None
        assert run_gems(tmp_path, "down", "--host", "far", "--router", address).returncode == 0
        assert agent.wait(30) == 0
        while actors_of(tmp_path, address, "verifier"):  # until it counts as silent, if its goodbye met the dead router
            assert up.poll() is None
        checked = run_gems(tmp_path, "status", "--check", "planner,verifier", "--router", address)
        assert (checked.returncode, checked.stderr) == (
            1,
            "gems: expected a ready actor of each role, got none for verifier\n",
        )


def test_a_killed_role_of_an_agent_is_restarted(tmp_path: Path, address: str) -> None:
    with (
        running(tmp_path, *head(tmp_path, address)),
        running(tmp_path, "agent", "--router", address, "--name", "far", "verifier=1") as agent,
    ):
        first_line(agent)
        (before,) = actors_of(tmp_path, address, "verifier")
        (verifier,) = (pid for pid, name in descendants(agent.pid).items() if name == "gems-verifier")
        os.kill(verifier, signal.SIGKILL)
        drawn = run_gems(tmp_path, "draw", "a red dog", "--seed", "1", "-o", "dog.png", "--router", address)
        assert (drawn.returncode, (tmp_path / "dog.png").exists()) == (0, True)
        (after,) = actors_of(tmp_path, address, "verifier")
        assert before != after
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0


def test_an_agent_follows_the_address_in_the_router_file(tmp_path: Path) -> None:
    file = tmp_path / "router.address"
    with running(tmp_path, "agent", "--router-file", str(file), "--name", "far", "verifier=1") as agent:
        for name in ("first", "second"):
            address = free_address()
            with running(tmp_path, *head(tmp_path, address), "--set", f"router.runtime_dir={tmp_path}/{name}") as up:
                first_line(up)
                (tmp_path / "part").write_text(f"{address} in {name} place\n")
                (tmp_path / "part").replace(file)
                assert first_line(agent).startswith("agent far ready: 1 process;")
                drawn = run_gems(tmp_path, "draw", "a red dog", "-o", f"{name}.png", "--router", address)
                assert drawn.returncode == 0
        agent.send_signal(signal.SIGINT)
        assert agent.wait(30) == 0


def test_a_router_file_without_an_address_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("gpu-box:8000\n")
    refused = run_gems(tmp_path, "agent", "--router-file", "file", "verifier=1")
    assert (refused.returncode, refused.stderr.count("\n")) == (78, 1)
    assert "file: expected an address such as tcp://HOST:PORT" in refused.stderr
    assert run_gems(tmp_path, "agent", "verifier=1").returncode == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 0)])
def test_sigterm_in_a_slurm_job_ends_with_the_exit_code_for_requeueing(
    tmp_path: Path, address: str, number: signal.Signals, code: int
) -> None:
    with (
        running(tmp_path, *head(tmp_path, address), more={"SLURM_JOB_ID": "7"}) as up,
        running(tmp_path, "agent", "--router", address, "verifier=1", more={"SLURM_JOB_ID": "8"}) as agent,
    ):
        first_line(agent)
        agent.send_signal(number)
        assert agent.wait(30) == code
        up.send_signal(number)
        assert up.wait(30) == code


@pytest.mark.parametrize("count", ["painter=1", "verifier", "verifier=-1"])
def test_an_invalid_count_is_refused_in_one_line(tmp_path: Path, address: str, count: str) -> None:
    refused = run_gems(tmp_path, "agent", "--router", address, count)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
