"""The tools of `gems mcp` over HTTP, where the extra `[mcp]` is installed: the protocol's streamable HTTP at `/mcp`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from gems_actors.app.options import DrawOptions
from gems_actors.app.session import Connection
from gems_actors.config import MeshConfig
from gems_actors.errors import RefusedError
from gems_actors.gateway.answers import error_answer
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.front import MAX_BODY_BYTES, caller_of, read_body
from gems_actors.gateway.run_names import is_run_of
from gems_actors.gateway.tokens import Caller
from protocol.messages import DrawPicture

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from starlette.types import ASGIApp

PATH: Final = "/mcp"


@asynccontextmanager
async def open_mcp(
    config: MeshConfig, connection: Connection, draws: Draws, *, shows_own_only: bool
) -> AsyncIterator[list[Route]]:
    """Serve the tools while the block runs, and yield their route; none without the extra.

    Each request stands alone: no session has to be kept, and any gateway of a mesh may answer it. With
    `shows_own_only`, callers see the runs that they began with their token, and no others.
    """
    try:
        from mcp.server.transport_security import TransportSecuritySettings

        from gems_actors.app.mcp_tools import Bounds, MeshTools
    except ModuleNotFoundError:
        yield []
        return

    class CallerBounds(Bounds):
        sees_all = not shows_own_only

        @contextmanager
        def hold(self, ctx: Context[Any, Any], request: DrawPicture) -> Iterator[list[int]]:
            try:
                with draws.held(_caller_of(ctx), (request,)) as drawn:
                    yield drawn
            except ApiError as error:
                raise RefusedError(str(error)) from error

        def name_run(self, ctx: Context[Any, Any]) -> str:
            return f"http-{_caller_of(ctx).name}-{secrets.token_hex(8)}"

        def may_see(self, ctx: Context[Any, Any], run: str) -> bool:
            caller = _caller_of(ctx)
            return self.sees_all or caller.is_admin or is_run_of(caller, run)

    tools = MeshTools(config, DrawOptions(), CallerBounds())
    tools.connect(connection)
    app = tools.server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        max_request_body_size=MAX_BODY_BYTES,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # `Front` checks the host
    )
    async with tools.server.session_manager.run():
        yield [Route(PATH, _WholeBody(app), methods=["GET", "POST", "DELETE"])]


def _caller_of(ctx: Context[Any, Any]) -> Caller:
    request = ctx.request_context.request
    assert isinstance(request, Request)
    return caller_of(request)


class _WholeBody:
    """An application that gets a request once its body is here, whole and in time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(Request(scope, receive))
        except ApiError as error:
            await error_answer(error)(scope, receive, send)
            return
        is_given = False

        async def receive_whole() -> Message:
            nonlocal is_given
            if is_given:
                return await receive()
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_whole, send)
