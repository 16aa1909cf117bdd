"""The router with real peers: replaced, given malformed frames, and losing actors."""

from __future__ import annotations

import os
import socket as network
import stat
from pathlib import Path

import pytest
import trio
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gems_actors.client import open_client
from gems_actors.config import RouterConfig
from gems_actors.errors import AddressInUseError, ConfigError
from gems_actors.router.server import serve_router
from protocol.codec import decode_message, encode_message
from protocol.envelope import Header, Kind
from protocol.messages import Failure, Plan, PlanPrompt, ReadStatus, ReportLoss
from tests.gems_actors.meshes import Echo, open_local_mesh


@pytest.mark.slow
async def test_a_replaced_router_loses_no_request_and_runs_none_twice(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Echo, "a", capacity=2)
        answers: dict[str, Plan] = {}
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:

            async def ask(prompt: str) -> None:
                answers[prompt] = await mesh.ask(PlanPrompt(prompt=prompt))

            for number in range(6):  # the actor holds two, four are queued
                nursery.start_soon(ask, f"wait {number}")
            await running.echo.seen(begun=2)
            await local.kill_router()
            await local.start_router()
            nursery.start_soon(ask, "wait at the new router")
            running.echo.go.set()
        assert len(answers) == 7
        assert set(running.echo.begun.values()) == {1}


async def test_an_answer_given_without_a_router_arrives_once_there_is_one(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Echo, "a")
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait"))
            await running.echo.seen(begun=1)
            await local.kill_router()
            running.echo.go.set()
            await running.echo.seen(answered=1)
            await local.start_router()
        assert running.echo.begun == {"wait": 1}


@pytest.mark.slow
@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "silent"])
async def test_requests_of_a_lost_actor_are_answered_by_another(tmp_path: Path, is_reported: bool) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        first = await local.add(Echo, "first")
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(mesh.ask, PlanPrompt(prompt="wait"))
            await first.echo.seen(begun=1)
            first.scope.cancel()
            await first.ended.wait()
            second = await local.add(Echo, "second")
            second.echo.go.set()
            if is_reported:
                await mesh.ask(ReportLoss(name="first"))
        assert second.echo.begun == {"wait": 1}


@pytest.mark.slow
async def test_processes_send_heartbeats_within_the_allowed_silence(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path), RouterConfig(heartbeat_s=0.1, silence_s=0.4)) as local:
        await local.add(Echo, "a")
        async with open_client(local.address) as mesh:
            while (status := await mesh.ask(ReadStatus())).uptime_s < 1.2:
                await trio.sleep(0.05)
                assert "a" in {actor.name for role in status.roles for actor in role.actors}


async def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        with pytest.raises(AddressInUseError, match="got one that is taken"):
            await serve_router([local.address], RouterConfig())
    with network.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUseError, match=f"tcp://127.0.0.1:{port}"):
            await serve_router([f"tcp://127.0.0.1:{port}"], RouterConfig())


async def test_an_ipc_socket_is_accessible_to_its_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with open_local_mesh(str(tmp_path)):
            mode = (tmp_path / "router.ipc").stat().st_mode
    finally:
        os.umask(before)
    assert stat.S_IMODE(mode) & 0o077 == 0


async def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        await serve_router([f"ipc://{tmp_path}/{'x' * 107}.ipc"], RouterConfig())


REQUEST = encode_message(Header(Kind.REQUEST, id=b"i" * 16, role="planner"), PlanPrompt(prompt="hello"))


@pytest.mark.slow
@given(frames=st.lists(st.one_of(st.binary(max_size=200), st.builds(
    lambda at, byte: REQUEST[:at] + bytes([byte]) + REQUEST[at + 1 :], st.integers(0, len(REQUEST)), st.integers(0, 255)
)), min_size=1, max_size=3))  # fmt: skip
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_malformed_frames_do_not_stop_the_router(tmp_path: Path, frames: list[bytes]) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Echo, "a")
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            with context.socket(zmq.DEALER) as dealer, context.socket(zmq.REQ) as req:
                for stranger in (dealer, req):
                    stranger.connect(local.address)
                    stranger.send_multipart(frames)
                async with open_client(local.address) as mesh:
                    assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")
        finally:
            context.destroy(linger=0)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (REQUEST[:2] + b"\x63" + REQUEST[3:], "version 1 of the wire, got 99"),
        (REQUEST[:3] + b"\x63" + REQUEST[4:], "got 99"),
        (encode_message(Header(Kind.REQUEST, id=b"i" * 16), PlanPrompt(prompt="hello")), "names a role"),
    ],
    ids=["version", "kind", "role"],
)
async def test_an_unreadable_frame_is_answered_with_the_reason(tmp_path: Path, frame: bytes, reason: str) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            with context.socket(zmq.DEALER) as stranger:
                stranger.connect(local.address)
                stranger.send(frame)
                frame_back = await trio.to_thread.run_sync(stranger.recv)
                header, body = decode_message(frame_back)
        finally:
            context.destroy(linger=0)
        assert isinstance(body, Failure)
        assert (header.kind, header.id, body.code) == (Kind.FAILURE, b"i" * 16, "refused")
        assert reason in body.message
