"""Answers of the gateway: JSON, errors, and streams of server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gems_actors.gateway.api_errors import ApiError
from gems_actors.tasks import open_background


def json_answer(tree: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON, which no cache keeps."""
    return Response(
        msgspec.json.encode(tree), status, {"cache-control": "no-store"} | (headers or {}), "application/json"
    )


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


class Gone(Response):
    """The answer to a client that is not there any more: nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
