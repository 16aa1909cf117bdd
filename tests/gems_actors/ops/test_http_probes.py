"""The HTTP server of a supervisor, at real sockets, with well-behaved and misbehaving clients."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
import trio

from gems_actors.errors import AddressInUseError, ConfigError, SupervisorError
from gems_actors.ops.http_probes import MAX_CONNECTIONS, open_http_probes
from protocol.messages import MeshStatus


class FakeSupervisor:
    """A supervisor whose state the test sets."""

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


async def send(port: int, data: bytes) -> bytes:
    """Send some bytes and return the whole answer."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        with suppress(trio.BrokenResourceError):  # closed before everything was sent
            await stream.send_all(data)
        return await receive(stream)


async def receive(stream: trio.SocketStream) -> bytes:
    try:
        return b"".join([part async for part in stream])
    except trio.BrokenResourceError:  # reset in the middle
        return b""


async def get(port: int, path: str) -> tuple[int, str]:
    """Return the status code and the body of the answer."""
    answer = await send(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def test_a_mesh_is_alive_before_it_is_ready() -> None:
    supervisor = FakeSupervisor()
    async with open_http_probes(supervisor, "127.0.0.1:0", answer_timeout_s=0.05) as port:
        assert (await get(port, "/livez"))[0] == 200
        assert await get(port, "/readyz") == (503, "no answer within 0.05 s\n")
        assert (await get(port, "/metrics"))[0] == 503
    async with open_http_probes(supervisor, "127.0.0.1:0", connection_timeout_s=60.0, answer_timeout_s=60.0) as port:
        supervisor.is_ready.set()
        assert (await get(port, "/readyz"))[0] == 200
        assert "gems_router_uptime_seconds 1\n" in (await get(port, "/metrics?x=1"))[1]
        supervisor.failure = SupervisorError("planner: ended too often")
        assert await get(port, "/readyz") == (503, "planner: ended too often\n")


async def test_unknown_paths_and_other_methods_are_refused() -> None:
    async with open_http_probes(FakeSupervisor(), "127.0.0.1:0", connection_timeout_s=60.0) as port:
        assert await get(port, "/") == (404, "expected one of /livez, /readyz, /metrics\n")
        assert b" 405 " in await send(port, b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        head = await send(port, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),  # without a host
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"404"),
    ],
    ids=["tls", "http/0.9", "no host", "huge", "http/2"],
)
async def test_a_malformed_request_is_refused_and_the_next_one_is_served(sent: bytes, code: bytes) -> None:
    async with open_http_probes(FakeSupervisor(), "127.0.0.1:0", connection_timeout_s=60.0) as port:
        answer = await send(port, sent)
        assert not answer or answer.split()[1] == code  # closing with unread bytes may discard the answer
        assert (await get(port, "/livez"))[0] == 200


async def test_a_silent_or_slow_client_is_disconnected_after_the_timeout() -> None:
    async with open_http_probes(FakeSupervisor(), "127.0.0.1:0", connection_timeout_s=0.1) as port:
        assert await send(port, b"") == b""
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream, trio.open_nursery() as nursery:

            async def drip() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(b"G")
                        await trio.sleep(0.02)

            nursery.start_soon(drip)
            assert await receive(stream) == b""


async def test_idle_connections_do_not_keep_probes_out() -> None:
    async with open_http_probes(FakeSupervisor(), "127.0.0.1:0", connection_timeout_s=60.0) as port:
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 20)]
        assert (await get(port, "/livez"))[0] == 200
        assert await receive(idle[0]) == b""  # the oldest was closed
        for stream in idle:
            await stream.aclose()


async def test_an_address_that_is_taken_or_of_another_host_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            AddressInUseError, match=rf"^metrics.address: expected a free address, got {address}, which is taken$"
        ):
            async with open_http_probes(FakeSupervisor(), address):
                pass
    with pytest.raises(ConfigError, match=r"^metrics.address: expected an address of this host, got 192.0.2.1:9: "):
        async with open_http_probes(FakeSupervisor(), "192.0.2.1:9"):
            pass
