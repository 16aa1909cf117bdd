"""A mesh in which an actor, a peer and a user say what would command a terminal: no command ever prints it raw."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import which

import pytest
import trio
import zmq

from gems_actors import __version__
from gems_actors.actor import Actor, answers, serve_actor
from gems_actors.config import MeshConfig
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import open_dealer
from protocol.codec import encode_message
from protocol.envelope import Header, Kind
from protocol.messages import Heartbeat, Hello, Plan, PlanPrompt
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.test_terminal_text import UNSAFE
from tests.processes import started

pytestmark = pytest.mark.slow

HOSTILE = "x\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b5m\x1b]8;;http://evil\x1b\\y\r\u202e\u200b\x7fz"
OURS = re.compile(r"\x1b\[([\d;]*m|\?25[lh]|K|J|\d+F)")
"""What the commands themselves write to a terminal."""


class HostilePlanner(Actor):
    role = "planner"

    @answers
    async def plan(self, request: PlanPrompt) -> Plan:
        await trio.lowlevel.checkpoint()
        return Plan(prompt=f"{request.prompt} {HOSTILE}", skill=HOSTILE, reasoning=HOSTILE)

    def figures(self) -> dict[str, float]:
        return {HOSTILE: 1.0}

    def note(self) -> str:
        return f"{HOSTILE}\nplanner-1: all is well"


def check(name: str, output: str) -> None:
    raw = UNSAFE & {*OURS.sub("", output)} - {"\r"}
    assert not raw, (name, raw, output)


def on_terminal(folder: Path, *arguments: str) -> str:
    """Run a command with a terminal as its standard streams, and return what it wrote to them."""
    script = which("script")
    assert script is not None
    line = " ".join(f"'{word}'" for word in (*COMMAND, *arguments))
    surroundings = environment(folder, TERM="xterm-256color", PYTHONUTF8="1")
    done = subprocess.run(
        [script, "-qec", line, os.devnull], cwd=folder, env=surroundings, capture_output=True, check=False, timeout=120
    )
    return done.stdout.decode().replace("\r\n", "\n")


async def keep_alive(peer: zmq.Socket[bytes]) -> None:
    """Introduce a conductor that takes no requests, and report in its name."""
    hello = Hello(name=f"peer{HOSTILE}", host=HOSTILE, version=f"{__version__}{HOSTILE}", accepts=("DrawPicture",))
    peer.send(encode_message(Header(Kind.HELLO, role="conductor"), hello))
    while True:
        heartbeat = Heartbeat(note=HOSTILE, figures={HOSTILE: 1.0})
        peer.send(encode_message(Header(Kind.HEARTBEAT, role="conductor"), heartbeat))
        await trio.sleep(0.2)


async def test_no_command_prints_control_characters_of_actors_peers_or_prompts(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/gems-actors/router.ipc"
    settings = ("--set", "roles.planner.count=0", "--set", f"data_dir={tmp_path}/data")
    gems = partial(trio.to_thread.run_sync, partial(run_gems, tmp_path))
    terminal = partial(trio.to_thread.run_sync, partial(on_terminal, tmp_path))
    (tmp_path / "tasks.txt").write_text("a blue bowl \x1b[2J\x9b5m\u202e\u200b\n")
    with started(
        [*COMMAND, "up", *settings], cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process, ExitStack() as stack:  # fmt: skip
        context = zmq.Context[zmq.Socket[bytes]]()
        assert process.stdout is not None
        assert "mesh ready" in await trio.to_thread.run_sync(process.stdout.readline)
        peer = open_dealer(context, address, b"peer-1.12345678")
        stack.callback(context.destroy, 0)
        async with open_background() as nursery:
            nursery.start_soon(keep_alive, peer)
            nursery.start_soon(
                partial(serve_actor, partial(HostilePlanner, MeshConfig()), address, f"planner{HOSTILE}")
            )
            to_mesh = ("--router", address, "--set", f"data_dir={tmp_path}/data")
            drawn = await gems("draw", "a red fox \x9b5m\u202e", "-o", "fox.png", *to_mesh)
            assert drawn.returncode == 0, drawn.stderr
            bulk = await gems("bulk", "tasks.txt", "--out", "out", *to_mesh)
            assert bulk.returncode == 0, bulk.stderr
            outputs = {"draw": drawn.stdout + drawn.stderr, "bulk": bulk.stdout + bulk.stderr}
            trajectory = (await gems("memory", "runs", "--status", "ended", *to_mesh)).stdout.splitlines()[1].split()[0]
            commands = [
                ("status", *to_mesh),
                ("status", "--json", *to_mesh),
                ("status", "--prometheus", *to_mesh),
                ("runs", *to_mesh),
                ("history",),
                ("history", "--json"),
                ("show", "fox.png"),
                ("show", "fox.png", "--json"),
                ("memory", "runs", *to_mesh),
                ("memory", "show", trajectory, "--thoughts", *to_mesh),
                ("memory", "show", trajectory, "--json", *to_mesh),
                ("memory", "tail", *to_mesh),
                ("memory", "tail", "--json", *to_mesh),
                ("memory", "export", "--data", f"{tmp_path}/data"),
                ("doctor", *to_mesh),
                ("pause", HOSTILE, *to_mesh),
                ("skills", "show", HOSTILE),
            ]
            for words in commands:
                done = await gems(*words)
                assert "Traceback" not in done.stderr
                outputs[" ".join(words)] = done.stdout + done.stderr
            for words in [
                ("draw", "a red fox \x9b5m", "-o", "again.png", *to_mesh),
                ("status", *to_mesh),
                ("memory", "show", trajectory, *to_mesh),
            ]:
                outputs[f"{words[0]} on a terminal"] = await terminal(*words)
            nursery.cancel_scope.cancel()
        process.terminate()
        _, outputs["logs"] = await trio.to_thread.run_sync(process.communicate)
    outputs["report.html"] = (tmp_path / "out/report.html").read_text()
    for name, output in outputs.items():
        check(name, output)
    status = outputs[" ".join(("status", *to_mesh))]
    assert "peerx\ufffd[2J" in status, status
    assert not re.search(r"^planner-1: all is well", status, re.MULTILINE), "a note adds no line"
    assert '"\\u001b]52' not in outputs["draw"]
    assert "[2J" in outputs["draw on a terminal"]
