"""A client that sends every type of message with the most extreme values: mesh, log and commands live on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from actors.memory_store.maintenance import archive_runs, check_log, rebuild_index
from gems_actors import __version__
from protocol.bundles import BUNDLE_START, unbundled
from protocol.codec import BODIES, encode_message
from protocol.envelope import Header, Kind, unpack_header
from protocol.errors import TooLargeError
from protocol.identity import run_bytes
from protocol.messages import (
    EVENTS,
    RECORDS,
    REPLIES,
    REQUESTS,
    AppendRecord,
    AppendRecords,
    Body,
    DrawPicture,
    GenerateImage,
    Goodbye,
    Heartbeat,
    Hello,
    ScaleRole,
    StopMesh,
)
from tests.gems_actors.cli.commands import run_gems, running_mesh
from tests.processes import descendants
from tests.protocol.strategies import extremes

pytestmark = pytest.mark.slow

_EXAMPLES = 8
_TIME_LEFT_MS = 300
_ANSWERS_WITHIN_S = 60.0
_HEARTBEAT_MS = 1000
_FOR_ADMINS = (ScaleRole, StopMesh)
"""They start 4,096 processes, and end the mesh, as they should; no client may send them where there are keys."""
_LINK_KINDS = {kind.name.title().replace("_", ""): kind for kind in Kind}
"""Kinds of frames by the names of the bodies that belong to them."""


_ASKED = ("status", "memory runs", "memory runs --status running", "memory tail", f"memory show {'0' * 32}")
_OFFLINE = (
    "runs", "runs --status failed", "tail -n 9", "recall fox", "check", "export",
    "export --format parquet -o table.parquet",
    *(f"show {digit * 32} {form}" for digit in "0f" for form in ("", "--thoughts", "--json")),
)  # fmt: skip


def kind_of(body: Body) -> Kind:
    """Return the kind of frame in which a body travels."""
    if isinstance(body, REQUESTS):
        return Kind.REQUEST
    if isinstance(body, REPLIES):
        return Kind.REPLY
    return Kind.EVENT if isinstance(body, (*EVENTS, *RECORDS)) else _LINK_KINDS[type(body).__name__]


def tamed(body: Body) -> Body:
    """Return a body with small pictures, because the largest take a minute to draw, and with the router's version."""
    match body:
        case DrawPicture():
            return structs.replace(body, settings=structs.replace(body.settings, width_px=16, height_px=16))
        case GenerateImage():
            return structs.replace(body, width_px=16, height_px=16)
        case Hello():
            return structs.replace(body, version=__version__)
    return body


class Round:
    """One body of every type, without a representation: that of 12 MB made Hypothesis hide the failure it was for."""

    def __init__(self, bodies: tuple[Body, ...]) -> None:
        self.bodies = bodies


class Sender:
    """A client that counts what it asked and what was answered."""

    def __init__(self, address: str) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.connect(address)
        self._ids = count(1)
        self._awaited: dict[bytes, str] = {}

    def say_hello(self) -> None:
        """Say hello: while Hypothesis made up the messages, the router may have removed this client as silent."""
        self._socket.send(encode_message(Header(Kind.HELLO), Hello(name="extreme", version=__version__)))

    def send(self, body: Body) -> None:
        """Send a body in the kind of frame that it belongs to; one that is larger than a frame is left out."""
        kind, id_ = kind_of(body), next(self._ids).to_bytes(16, "big")
        header = Header(
            kind,
            id_,
            getattr(body, "role", "") if kind is Kind.REQUEST else "",
            run=run_bytes(getattr(body, "run", "")),
        )
        try:
            frame = encode_message(structs.replace(header, time_left_ms=_TIME_LEFT_MS), body)
        except TooLargeError:
            return
        self._socket.send(frame)
        if kind is Kind.REQUEST:
            self._awaited[id_] = type(body).__name__
        if isinstance(body, Goodbye):
            self.say_hello()

    def await_answers(self) -> None:
        """Return once every request has been answered."""
        end = time.monotonic() + _ANSWERS_WITHIN_S
        while self._awaited:
            assert time.monotonic() < end, sorted(self._awaited.values())
            if not self._socket.poll(_HEARTBEAT_MS):
                self._socket.send(encode_message(Header(Kind.HEARTBEAT), Heartbeat()))
                continue
            frame = self._socket.recv()
            messages = unbundled(frame) if frame.startswith(BUNDLE_START) else [frame]  # a hello that it sent asks so
            for header in map(unpack_header, messages):
                if header.kind in (Kind.REPLY, Kind.FAILURE):
                    self._awaited.pop(header.id, None)
                elif header.kind is Kind.HELLO_AGAIN:
                    self.say_hello()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close(linger=0)


def messages() -> Iterator[st.SearchStrategy[Body]]:
    """Yield a strategy for each type of message that a client may send, and for each record in both kinds of append."""
    for kind in BODIES.values():
        if kind not in _FOR_ADMINS:
            yield extremes(kind).map(tamed)
    for record in RECORDS:
        found: st.SearchStrategy[Any] = extremes(record)
        yield found.map(lambda it: AppendRecord(record=it))
        yield found.map(lambda it: AppendRecords(records=(it,)))


def send_everything(address: str) -> None:
    """Send examples of every type of message, and return once every request has been answered."""
    sender = Sender(address)

    @settings(
        max_examples=_EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(st.tuples(*messages()).map(Round))
    def send(sent: Round) -> None:
        sender.say_hello()
        for body in sent.bodies:
            sender.send(body)
        sender.await_answers()

    try:
        send()
    finally:
        sender.close()


def succeed(folder: Path, *command: str) -> None:
    """Run a command, which must succeed."""
    done = run_gems(folder, *command)
    assert done.returncode == 0, (command, done.stderr)


def test_a_mesh_lives_through_extreme_values_and_its_memory_can_be_read_moved_and_continued(tmp_path: Path) -> None:
    address, data = f"ipc://{tmp_path}/run/router.ipc", tmp_path / "data"
    options = ("--set", f"data_dir={data}", "--set", f"router.runtime_dir={tmp_path}/run")
    with running_mesh(tmp_path, *options) as mesh:
        before = descendants(mesh.pid)
        send_everything(address)
        assert descendants(mesh.pid) == before
        for asked in _ASKED:
            succeed(tmp_path, *asked.split(), "--router", address, *options)
        mesh.terminate()
        assert mesh.wait() == 0
    for command in _OFFLINE:
        succeed(tmp_path, "memory", *command.split(), "--data", str(data))
    folder = data / "memory"
    checked = check_log(folder)
    assert (checked.problems, checked.notes) == ([], [])
    assert checked.records > len(RECORDS)
    records = checked.records
    assert rebuild_index(folder) == records
    archive_runs(folder, time.time() + 1, is_dry_run=False)
    assert check_log(folder).problems == []
    assert rebuild_index(folder) == records
    with running_mesh(tmp_path, *options) as mesh:
        succeed(tmp_path, "draw", "a red fox", "--router", address, *options, "-o", "fox.png")
        mesh.terminate()
        assert mesh.wait() == 0
