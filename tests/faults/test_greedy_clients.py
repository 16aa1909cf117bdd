"""A client that floods a real mesh with valid requests: the mesh draws, and draws again after its router was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import zmq

from protocol.codec import encode_message
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes
from protocol.messages import Body, ControlRun, Hello, ReadLog
from tests.gems_actors.cli.commands import run_gems, running_mesh
from tests.processes import descendants

pytestmark = pytest.mark.slow

MARKS, READERS = 20_000, 1_100


def frame(number: int, role: str, body: Body, kind: Kind = Kind.REQUEST) -> bytes:
    header = Header(kind, number.to_bytes(16, "big"), role, run=run_bytes("hostile"))
    return encode_message(header, body)


def flood(address: str) -> zmq.Socket[bytes]:
    """Pause runs that do not exist and wait for records that never come; the connection stays open."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.sndhwm = 0
    socket.connect(address)
    socket.send(encode_message(Header(Kind.HELLO), Hello(name="hostile")))
    for number in range(READERS):
        socket.send(frame(number, "memory", ReadLog(since=2**40, wait_s=300)))
    for number in range(READERS, READERS + MARKS):
        socket.send(frame(number, "router", ControlRun(run=f"run-{number}", action="pause", by="x" * 200)))
    return socket


def test_a_mesh_draws_under_a_flood_of_valid_requests_and_after_its_router_was_killed(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/run/router.ipc"
    settings = ("--set", f"data_dir={tmp_path}/data", "--set", f"router.runtime_dir={tmp_path}/run")
    with running_mesh(tmp_path, *settings) as mesh:
        with flood(address):
            draw = ("draw", "a red fox", "--router", address, "--set", f"data_dir={tmp_path}/data")
            done = run_gems(tmp_path, *draw, "-o", "first.png")
            assert done.returncode == 0, done.stderr
            routers = [pid for pid, name in descendants(mesh.pid).items() if name == "gems-router"]
            os.kill(routers[0], signal.SIGKILL)
            done = run_gems(tmp_path, *draw, "-o", "second.png")
            assert done.returncode == 0, done.stderr
        mesh.terminate()
        assert mesh.wait() == 0
