"""What every HTTP request passes before its route sees it: host, origin and token; and what every answer gets."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import structlog
import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gems_actors.gateway.allowances import Allowances
from gems_actors.gateway.answers import error_answer
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.tokens import LOCAL, Caller, Tokens
from gems_actors.ops import tracing
from gems_actors.tasks import open_background

_CALLER: Final = "gems.caller"
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
BODY_TIMEOUT_S: Final = 30.0
"""Time in which a request's body must have arrived."""
MAX_BODY_BYTES: Final = 1024 * 1024
"""Enough for the longest prompts, with every character escaped."""

_log = structlog.get_logger()


def caller_of(request: Request) -> Caller:
    """Return who sends a request."""
    caller: Caller = request.scope[_CALLER]
    return caller


async def read_body(
    request: Request,
    max_bytes: int = MAX_BODY_BYTES,
    within_s: float = BODY_TIMEOUT_S,
    *,
    media_type: str = "application/json",
    room: Callable[[int], None] = lambda size: None,
) -> bytes:
    """Return the body of a request.

    Args:
        request: the request.
        max_bytes: size of the largest body that is read.
        within_s: time in which it must have arrived.
        media_type: the only one that is accepted; by default JSON, which a page of another site cannot send without
            asking first.
        room: gets the size of each piece as it arrives, and may refuse it.

    Raises:
        ApiError: it is of another type, too large, or late.
        ClientDisconnect: the client has gone.
    """
    got = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if got != media_type:
        code = "not_json" if media_type == "application/json" else "not_a_form"
        raise ApiError(415, f"content-type: expected {media_type}, got {got[:80]!r}", code=code)
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdecimal() and len(declared) < 20 else max_bytes + 1
    parts: list[bytes] = []
    with trio.move_on_after(within_s):
        if size <= max_bytes:
            size = 0
            while size <= max_bytes:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                parts.append(message["body"])
                size += len(parts[-1])
                room(len(parts[-1]))
                if not message["more_body"] and size <= max_bytes:
                    return b"".join(parts)
        raise ApiError(413, f"body: expected up to {max_bytes} bytes, got more", code="too_large")
    raise ApiError(408, f"body: expected it within {within_s:g} s", code="late")


class Front:
    """The application around the routes."""

    def __init__(
        self, app: ASGIApp, tokens: Tokens, allowances: Allowances, hosts: Iterable[str], public: Iterable[str]
    ) -> None:
        """Wrap the routes.

        Args:
            app: the routes.
            tokens: who may use them.
            allowances: how often.
            hosts: names under which clients reach the gateway, in addition to IP addresses and this host's own.
            public: beginnings of paths that need no token.
        """
        self._app, self._tokens, self._allowances = app, tokens, allowances
        self._hosts = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower(), *hosts}
        self._public = tuple(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003, "reason": "no websockets here"})
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, is_begun, is_read = f"req_{secrets.token_hex(12)}", False, not _has_body(scope)

        async def receive_noted() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                headers = [*message["headers"], *_headers(request_id)]
                if not is_read and scope["http_version"].startswith("1"):  # which ends the connection
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            if is_read or message["type"] != "http.response.body" or message.get("more_body", False):
                return await send(message)
            async with open_background() as nursery:
                nursery.start_soon(_discard, receive)
                await send(message)

        try:
            app = self._check(request := Request(scope)) or self._app
            with _traced(request):
                await app(scope, receive_noted, send_with_id)
        except ClientDisconnect:
            _log.debug("http_client_gone", request_id=request_id)
        except Exception:  # the loop that serves requests: a fault in one of them ends no other
            _log.exception("http_request_crashed", request_id=request_id)
            if not is_begun:
                await error_answer(ApiError(500, "internal error", code="internal"))(scope, receive, send_with_id)

    def _check(self, request: Request) -> Response | None:
        """Return the answer to a request that goes no further, and note the caller of another."""
        try:
            _check_framing(request)
            self._check_host(request)
            self._check_origin(request)
            request.scope[_CALLER] = self._find_caller(request)
        except ApiError as error:
            return error_answer(error)
        return None

    def _check_host(self, request: Request) -> None:
        """Refuse names that the gateway does not have: a page of another site could have itself resolved to it."""
        hosts = request.headers.getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        name = match["name"].strip("[]").lower() if match else ""
        if match is None or not (name in self._hosts or _is_ip_address(name)):
            got = hosts[0][:200] if hosts else "none"
            raise ApiError(421, f"host: expected localhost, an IP address or one of gateway.hosts, got {got!r}")

    def _check_origin(self, request: Request) -> None:
        """Refuse what a browser sends for pages of other sites, which gives them no answer either (no CORS).

        A person may follow a link to here from anywhere: no other page reads what a GET opens in its own tab.
        """
        origin = request.headers.get("origin")
        is_foreign = origin is not None and origin.partition("://")[2] != request.headers["host"]
        is_cross_site = request.headers.get("sec-fetch-site", "none") == "cross-site"
        if is_foreign or (is_cross_site and not _is_followed_link(request)):
            raise ApiError(403, "origin: expected a request of this gateway's own page, or of a program")

    def _find_caller(self, request: Request) -> Caller:
        path = request.url.path
        if not self._tokens.are_needed or path == "/" or path.startswith(self._public):  # the page asks for a token
            return LOCAL
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        caller = self._tokens.table.caller_of(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise ApiError(401, "authorization: expected `Bearer` and a valid token", code="invalid_api_key")
        self._allowances.count_request(caller, time.time())
        return caller


def _is_followed_link(request: Request) -> bool:
    how = request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-dest")
    return request.method in ("GET", "HEAD") and how == ("navigate", "document")


def _traced(request: Request) -> AbstractContextManager[object]:
    """Record what may draw as a span, in the trace of the client if it names one."""
    if not tracing.is_on() or request.method != "POST":
        return nullcontext()
    return tracing.serving(request.headers.get("traceparent"), f"POST {request.url.path[:100]}")


def _check_framing(request: Request) -> None:
    """Refuse a body whose end is not the same for everybody: behind a proxy, what follows would be a request to us."""
    if "transfer-encoding" in request.headers and "content-length" in request.headers:
        raise ApiError(400, "body: expected content-length or transfer-encoding, got both")


def not_found(request: Request, error: Exception) -> Response:
    """Answer a request for a path or a method that no route has."""
    status = getattr(error, "status_code", 404)
    what = f"{request.method} {request.url.path[:200]}"
    return error_answer(ApiError(status, f"expected a path and method of this gateway, got {what}", code="not_found"))


def failed(request: Request, error: Exception) -> Response:
    """Answer a request that failed with a known error."""
    assert isinstance(error, ApiError)
    return error_answer(error)


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol here: Starlette would turn a cancellation into a failure."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _discard(receive: Receive) -> None:
    """Take what is left of a body: the server closes the request only after it has handed all of it over."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


def _headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
