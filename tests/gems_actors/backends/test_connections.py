"""Connections to a model server that answers: how many there are, and what a request costs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import FrameType

import httpx
import pytest
import trio

from gems_actors.backends import connections
from gems_actors.backends.connections import RoutedTransport

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Send = Callable[[int], Awaitable[None]]


class Server:
    """Answers once as many requests wait as a test says, and counts its connections."""

    def __init__(self) -> None:
        self.opened = self.open = 0
        self.expected = 1
        self._waiting = 0
        self._all_there = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection."""
        self.opened += 1
        self.open += 1
        async with stream:
            while await stream.receive_some():
                all_there = self._all_there
                self._waiting += 1
                if self._waiting == self.expected:
                    self._waiting, self._all_there = 0, trio.Event()
                    all_there.set()
                await all_there.wait()
                await stream.send_all(_ANSWER)
        self.open -= 1


@asynccontextmanager
async def open_server() -> AsyncIterator[tuple[Server, Send]]:
    """Yield a server, and a function that sends it some requests at once and returns when all are answered."""
    server = Server()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        async with httpx.AsyncClient(transport=RoutedTransport(), trust_env=False, timeout=None) as client:

            async def ask() -> None:
                assert (await client.get(url)).text == "ok"

            async def send(count: int) -> None:
                server.expected = count
                async with trio.open_nursery() as asking:
                    for _ in range(count):
                        asking.start_soon(ask)

            yield server, send
        nursery.cancel_scope.cancel()


async def test_as_many_connections_are_opened_as_requests_are_in_flight_and_they_are_used_again() -> None:
    async with open_server() as (server, send):
        await send(1)
        assert server.opened == 1
        await send(30)
        assert server.opened == 30
        for _ in range(3):
            await send(30)
        assert server.opened == 30


async def test_connections_without_requests_are_closed_by_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_server() as (server, send):
        await send(20)
        monkeypatch.setattr(connections, "_KEPT_S", -1.0)
        await send(1)
        while server.open > 2:  # noqa: ASYNC110 -- the server hears of it in its own time
            await trio.sleep(0.001)


async def test_a_request_costs_the_same_with_many_connections_as_with_few() -> None:
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += "httpcore" in frame.f_code.co_filename

    async def calls_for(send: Send, requests: int) -> float:
        nonlocal calls
        await send(requests)  # opens the connections
        calls = 0
        sys.setprofile(count)
        try:
            await send(requests)
        finally:
            sys.setprofile(None)
        return calls / requests

    async with open_server() as (_, send):
        few = await calls_for(send, 4)
        assert await calls_for(send, 80) < 1.5 * few
