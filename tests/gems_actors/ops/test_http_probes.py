"""What a supervisor answers over HTTP, at real sockets, to the polite and the rude."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio

from gems_actors.errors import AddressInUseError, ConfigError, SupervisorError
from gems_actors.ops import http_probes as monitor
from gems_actors.ops.http_probes import open_http_probes
from protocol.messages import MeshStatus


class Scene:
    """A supervisor that is as the test has it."""

    def __init__(self) -> None:
        self.is_ready = trio.Event()
        self.failure: SupervisorError | None = None

    async def ready(self) -> None:
        if self.failure is not None:
            raise self.failure
        await self.is_ready.wait()

    async def read_status(self) -> MeshStatus:
        await self.is_ready.wait()
        return MeshStatus(epoch="e", uptime_s=1.0, roles=(), clients=0, requeued=0)


def play(scene: Callable[[Scene, int], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            watched = Scene()
            async with open_http_probes(watched, "127.0.0.1:0") as port:
                await scene(watched, port)

    trio.run(main)


async def say(port: int, data: bytes) -> bytes:
    """Send some bytes and return all that comes back."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        with suppress(trio.BrokenResourceError):  # cut before it had said all
            await stream.send_all(data)
        return await hear(stream)


async def hear(stream: trio.SocketStream) -> bytes:
    try:
        return b"".join([part async for part in stream])
    except trio.BrokenResourceError:  # cut in the middle
        return b""


async def get(port: int, path: str) -> tuple[int, str]:
    """Return the code and the body of the answer."""
    answer = await say(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_a_mesh_is_alive_before_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_ANSWER_S", 0.05)

    async def scene(watched: Scene, port: int) -> None:
        assert (await get(port, "/livez"))[0] == 200
        assert await get(port, "/readyz") == (503, "not within 0.05 s\n")
        assert (await get(port, "/metrics"))[0] == 503
        watched.is_ready.set()
        assert (await get(port, "/readyz"))[0] == 200
        assert "gems_router_uptime_seconds 1\n" in (await get(port, "/metrics?x=1"))[1]
        watched.failure = SupervisorError("planner: ended too often")
        assert await get(port, "/readyz") == (503, "planner: ended too often\n")

    play(scene)


def test_what_is_not_there_and_what_would_change_something_is_refused() -> None:
    async def scene(_: Scene, port: int) -> None:
        assert await get(port, "/") == (404, "expected one of /livez, /readyz, /metrics\n")
        assert b" 405 " in await say(port, b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        head = await say(port, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert head.endswith(b"\r\n\r\n")

    play(scene)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),  # without a host
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"404"),
    ],
    ids=["tls", "http/0.9", "no host", "huge", "http/2"],
)
def test_garbage_is_answered_or_cut_and_the_next_one_is_served(said: bytes, code: bytes) -> None:
    async def scene(_: Scene, port: int) -> None:
        answer = await say(port, said)
        assert not answer or answer.split()[1] == code  # what is unread when we close may take the answer with it
        assert (await get(port, "/livez"))[0] == 200

    play(scene)


def test_who_says_nothing_and_who_is_slow_is_cut_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_CONNECTION_S", 0.1)

    async def scene(_: Scene, port: int) -> None:
        assert await say(port, b"") == b""
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream, trio.open_nursery() as nursery:

            async def drip() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(b"G")
                        await trio.sleep(0.02)

            nursery.start_soon(drip)
            assert await hear(stream) == b""

    play(scene)


def test_a_crowd_that_stays_keeps_no_probe_out() -> None:
    async def scene(_: Scene, port: int) -> None:
        crowd = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(monitor._MAX_CONNECTIONS + 20)]
        assert (await get(port, "/livez"))[0] == 200
        assert await hear(crowd[0]) == b""  # the oldest had to go
        for stream in crowd:
            await stream.aclose()

    play(scene)


def test_an_address_that_is_taken_or_elsewhere_is_said_in_one_line() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(
                AddressInUseError, match=rf"^metrics.address: expected a free address, got {address}, which is taken$"
            ):
                async with open_http_probes(Scene(), address):
                    pass
        with pytest.raises(ConfigError, match=r"^metrics.address: expected an address of this host, got 192.0.2.1:9: "):
            async with open_http_probes(Scene(), "192.0.2.1:9"):
                pass

    trio.run(main)
