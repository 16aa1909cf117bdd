"""Rude clients: whatever they send, the gateway lives, serves others, and draws nothing for them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio
from starlette.requests import Request
from starlette.types import Message

from gems_actors.config import GatewayConfig
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.front import read_body
from gems_actors.gateway.http_server import open_http_server
from tests.gems_actors.gateway.doors import PROMPT, Door, open_painted_door

pytestmark = pytest.mark.slow

BODY = b'{"prompt": "' + PROMPT.encode() + b'"}'
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY

SENT = {
    "garbage": bytes(range(256)) * 40,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
    "http/0.9": b"GET /v1/models\r\n\r\n",
    "half a line": b"POST /v1/images/gen",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 100\r\n\r\n" + BODY,
    "a head without end": GET + b"X-Long: " + b"x" * 2_000_000,
    "a thousand headers": GET + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED,
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": HEAD + b"Content-Length : %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
    "a chunk too large": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + BODY,
    "a long extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000 + b"\r\n{\r\n",
    "a lone line feed": b"GET /v1/models HTTP/1.1\nHost: localhost\n\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "a NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "a path with NUL": b"GET /%00/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a path that is not UTF-8": b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another host's path": b"GET http://evil.example.org/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a proxy's method": b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: evil.example.org\r\n\r\n",
    "a websocket": GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\nx",
    "half a websocket": GET + b"Upgrade: websocket\r\n\r\nx",
    "h2c": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nx",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\xff" * 100,
    "http/2 and garbage": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(256)) * 10,
    "expect and wait": HEAD + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
    "a hundred at once": (GET + b"\r\n") * 100,
}


async def send_and_read(port: int, data: bytes) -> bytes:
    """Send everything, stay there, and return what is answered within a moment."""
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with suppress(trio.BrokenResourceError), trio.move_on_after(0.3):
            with suppress(trio.BrokenResourceError):  # closed before everything was sent
                await stream.send_all(data)
            async for part in stream:
                answer += part
    return answer


async def send_and_reset(port: int, data: bytes) -> bytes:
    """Send everything, and reset the connection."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with suppress(trio.BrokenResourceError), trio.move_on_after(0.3):
            await stream.send_all(data)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return b""


async def is_served(door: Door) -> bool:
    """Return whether another client gets a picture."""
    answer = await door.post("/v1/images/generations", {"prompt": PROMPT})
    return answer.status_code == 200


@pytest.mark.parametrize("end", [send_and_read, send_and_reset])
async def test_rude_clients_leave_the_gateway_alive_and_others_served(
    tmp_path: Path, end: Callable[[int, bytes], Awaitable[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        for name, data in SENT.items():
            answer = await end(door.port, data)
            assert b"200 OK" not in answer or name in ("a lone line feed", "half a websocket", "a hundred at once")
        async with trio.open_nursery() as nursery:
            for data in SENT.values():
                for _ in range(5):
                    nursery.start_soon(end, door.port, data)
            assert await is_served(door)
        assert await is_served(door)
        assert len(painter.begun) == 2, "nothing was drawn for the others"
    out, err = capfd.readouterr()
    assert "crashed" not in out
    assert "Traceback" not in out + err


async def test_connections_that_send_their_heads_slowly_are_closed_and_others_served(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), trio.open_nursery() as nursery:

        async def drip() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", door.port) as stream:
                with suppress(trio.BrokenResourceError):
                    for byte in GET * 10:
                        await stream.send_all(bytes([byte]))
                        await trio.sleep(0.05)

        for _ in range(200):
            nursery.start_soon(drip)
        assert await is_served(door)
        nursery.cancel_scope.cancel()


async def test_a_head_must_arrive_in_time_however_steadily_it_drips() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request is complete")

    settings = GatewayConfig()
    async with open_http_server(app, settings, "127.0.0.1:0", 1.0, idle_s=0.5) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        began = trio.current_time()
        async with stream:
            with suppress(trio.BrokenResourceError):
                while trio.current_time() < began + 30.0:
                    await stream.send_all(b"x")
                    await trio.sleep(0.02)
        assert trio.current_time() < began + 30.0


async def test_a_body_must_arrive_in_time() -> None:
    async def receive() -> Message:
        await trio.sleep_forever()
        raise AssertionError

    scope = {"type": "http", "headers": [(b"content-type", b"application/json"), (b"content-length", b"10")]}
    with pytest.raises(ApiError) as caught:
        await read_body(Request(scope, receive), within_s=0.05)
    assert caught.value.status == 408


async def test_clients_that_do_not_read_their_answers_slow_nobody(tmp_path: Path) -> None:
    body = msgspec.json.encode({"prompt": PROMPT, "n": 10, "size": "1024x1024"})
    async with open_painted_door(tmp_path, "gateway.max_draws=1000") as (door, painter):
        painter.is_noisy, streams = True, []
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", door.port)
            streams.append(stream)
            await stream.send_all(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await painter.until(lambda: len(painter.begun) == 30)
        assert await is_served(door)
        for stream in streams:
            await trio.aclose_forcefully(stream)
        assert await is_served(door)
