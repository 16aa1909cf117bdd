"""Answers of the gateway: JSON, errors, and streams of server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gems_actors.errors import RequestError
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.tasks import open_background

_FIRST_COMMENT_S: Final = 1.0
"""Failures until then have their HTTP status."""
_COMMENTS_S: Final = 15.0
"""Proxies end connections that are silent for a minute."""


def json_answer(tree: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON, which no cache keeps."""
    return Response(
        msgspec.json.encode(tree), status, {"cache-control": "no-store"} | (headers or {}), "application/json"
    )


def json_bytes(data: bytes) -> Response:
    """Return an answer whose JSON is encoded already."""
    return Response(data, headers={"cache-control": "no-store"}, media_type="application/json")


def error_answer(error: ApiError) -> Response:
    """Return the answer to a request that failed."""
    return json_answer(error.tree, error.status, error.headers)


async def until_disconnected(receive: Receive, work: Callable[[], Awaitable[None]]) -> bool:
    """Do some work while the client is there, and return whether it was done."""
    is_done = False
    async with open_background() as nursery:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await work()
        is_done = True
    return is_done


class Emit(Protocol):
    """Sends one event."""

    async def __call__(self, event: str, tree: Any, id_: str | None = None) -> None:
        """Send the event with its data, which is a tree for JSON, and an id if it has one."""


class _Streamed(Response):
    """An answer that some work writes while the client is there; a failure before its first byte has its status."""

    def __init__(self, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(headers={"cache-control": "no-store"} | headers, media_type=media_type)
        del self.headers["content-length"]
        self._is_begun = False
        self._lock = trio.Lock()
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        answer: Response | None = None

        async def run() -> None:
            nonlocal answer
            try:
                await self._run()
            except (ApiError, RequestError) as error:
                found = error if isinstance(error, ApiError) else api_error_of(error)
                if self._is_begun:
                    await self._end_with(found)
                else:
                    answer = error_answer(found)

        if not await until_disconnected(receive, run):
            return
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self._write(b"", is_last=True)

    async def _run(self) -> None:
        """Write the answer."""
        raise NotImplementedError

    async def _end_with(self, error: ApiError) -> None:
        """End an answer that has begun with a failure."""
        raise NotImplementedError

    async def _write(self, data: bytes, *, is_last: bool = False) -> None:
        async with self._lock:
            if not self._is_begun:
                self._is_begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})


class EventStream(_Streamed):
    """A stream of server-sent events, which some work emits.

    A failure after the first event is an event `error`. A stream that has nothing to say is kept alive by comments,
    from one second after its start.
    """

    def __init__(self, work: Callable[[Emit], Awaitable[None]]) -> None:
        super().__init__("text/event-stream", {"x-accel-buffering": "no"})
        self._work = work

    async def _run(self) -> None:
        async with open_background() as nursery:
            nursery.start_soon(self._keep_alive)
            await self._work(self._emit)

    async def _end_with(self, error: ApiError) -> None:
        await self._emit("error", error.tree)

    async def _emit(self, event: str, tree: Any, id_: str | None = None) -> None:
        lines = [f"id: {id_}".encode()] if id_ is not None else []
        lines += [f"event: {event}".encode(), b"data: " + msgspec.json.encode(tree), b"", b""]
        await self._write(b"\n".join(lines))

    async def _keep_alive(self) -> None:
        await trio.sleep(_FIRST_COMMENT_S)
        while True:
            await self._write(b": waiting\n\n")
            await trio.sleep(_COMMENTS_S)


class FileStream(_Streamed):
    """A file that is written while it is sent; after its first byte, a failure cuts it off."""

    def __init__(
        self, work: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]], media_type: str, name: str
    ) -> None:
        super().__init__(media_type, {"content-disposition": f'attachment; filename="{name}"'})
        self._work = work

    async def _run(self) -> None:
        await self._work(self._write)

    async def _end_with(self, error: ApiError) -> None:
        raise error


class Gone(Response):
    """The answer to a client that is not there any more: nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
