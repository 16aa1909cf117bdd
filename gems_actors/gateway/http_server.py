"""The HTTP server: an application at an address, with limits that keep one client from stopping the others."""

from __future__ import annotations

import errno
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
import trio

from gems_actors.config import GatewayConfig
from gems_actors.errors import AddressInUseError, ConfigError
from gems_actors.files import os_reason
from gems_actors.tasks import open_background

try:
    import anycorn
except ImportError as error:
    raise ConfigError(f"gateway: expected the extra gems-actors[gateway], got {error}") from error

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_IDLE_S: Final = 15.0
"""Time in which the head of a request must have arrived, on a new connection and after each answer."""
_UNREAD_S: Final = 60.0
"""Time after which a client that takes no bytes of its answer is disconnected."""
_BACKLOG: Final = 512
_MAX_HEAD_BYTES: Final = 32 * 1024

_log = structlog.get_logger()


class HttpServer:
    """A server that runs; made by `open_http_server`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.draining, self.ended = trio.Event(), trio.Event()

    async def drain(self) -> None:
        """Stop accepting, and return once the requests in flight are answered."""
        self.draining.set()
        await self.ended.wait()


@asynccontextmanager
async def open_http_server(
    app: ASGIApp, settings: GatewayConfig, address: str, grace_s: float, *, idle_s: float = _IDLE_S
) -> AsyncIterator[HttpServer]:
    """Serve at `HOST:PORT` while the block runs; port 0 picks a free one. Draining cuts off requests after `grace_s`.

    Raises:
        AddressInUseError: another process listens there.
        ConfigError: not an address of this host, or the certificate cannot be used.
    """
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # every client needs an open file, as every stranger
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    listener = await _listen(address)
    server = HttpServer(int(listener.getsockname()[1]))
    config = anycorn.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog, config.errorlog = None, logging.getLogger("gems.http")
    config.alpn_protocols = ["http/1.1"]
    config.backlog = _BACKLOG
    config.graceful_timeout = grace_s
    config.h11_max_incomplete_size = _MAX_HEAD_BYTES
    config.include_server_header = False
    config.keep_alive_timeout = idle_s
    config.certfile, config.keyfile = settings.tls_certificate, settings.tls_key
    serve = partial(anycorn.serve, cast(Any, app), config, shutdown_trigger=server.draining.wait, mode="asgi")

    async def run(*, task_status: trio.TaskStatus[Any]) -> None:
        await serve(task_status=cast(Any, task_status))
        server.ended.set()

    async with open_background() as nursery:
        try:
            await nursery.start(run)
        except OSError as error:  # of the certificate: the address is taken already
            raise ConfigError(f"gateway.tls_certificate: expected a usable certificate, got: {error}") from error
        _log.info("http_ready", address=address, port=server.port)
        yield server


async def _listen(address: str) -> socket.socket:
    """Return a listening socket."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = await trio.socket.getaddrinfo(
            None if host == "*" else host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"gateway.address: expected an address of this host, got {address}: {os_reason(error)}"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # of every connection: the server's sends wait for ever otherwise, and cannot be cancelled
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_S * 1000))
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                f"gateway.address: expected a free address, got {address}, which is taken"
            ) from error
        raise ConfigError(
            f"gateway.address: expected an address of this host, got {address}: {os_reason(error)}"
        ) from error
    return listener
