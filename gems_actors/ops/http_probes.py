"""The HTTP server of a supervisor: `/livez` and `/readyz` for health checks, `/metrics` for Prometheus.

It is read-only and without keys, and off unless `metrics.address` is set. Clients are untrusted: each connection gets
one request and a few seconds.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, Protocol

import h11
import trio

from gems_actors.errors import AddressInUseError, ConfigError, GemsError
from gems_actors.ops.prometheus import CONTENT_TYPE, metrics_text
from gems_actors.tasks import open_background
from gems_actors.terminal_text import printable
from protocol.messages import MeshStatus

CONNECTION_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 1.0
"""How long the mesh has to answer; Kubernetes probes wait no longer by default."""
MAX_CONNECTIONS: Final = 64
_RECEIVE_BYTES: Final = 4096


class Probed(Protocol):
    """What the probes need of a supervisor."""

    async def ready(self) -> None:
        """Return when every expected actor accepts requests."""

    async def read_status(self) -> MeshStatus:
        """Return the router's table."""


class _Answer(NamedTuple):
    code: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


@asynccontextmanager
async def open_http_probes(
    probed: Probed,
    address: str,
    *,
    connection_timeout_s: float = CONNECTION_TIMEOUT_S,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
) -> AsyncIterator[int]:
    """Serve at `HOST:PORT` while the block runs, and yield the port; port 0 picks a free one.

    An answer that is late is a 503; a connection beyond the maximum closes the oldest.

    Raises:
        AddressInUseError: another process listens there.
        ConfigError: not an address of this host.
    """
    host, _, port = address.rpartition(":")
    try:
        listeners = await trio.open_tcp_listeners(int(port), host=host.strip("[]"))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                f"metrics.address: expected a free address, got {address}, which is taken"
            ) from error
        raise ConfigError(
            f"metrics.address: expected an address of this host, got {address}: {error.strerror}"
        ) from error
    connections: dict[trio.CancelScope, None] = {}

    async def serve(stream: trio.SocketStream) -> None:
        if len(connections) == max_connections:  # a probe takes milliseconds, so the oldest is the one that idles
            oldest = next(iter(connections))
            del connections[oldest]
            oldest.cancel()
        with trio.move_on_after(connection_timeout_s) as connection, suppress(trio.BrokenResourceError):
            connections[connection] = None
            await _serve_request(stream, probed, answer_timeout_s)
        connections.pop(connection, None)
        await trio.aclose_forcefully(stream)

    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield int(listeners[0].socket.getsockname()[1])


async def _serve_request(stream: trio.SocketStream, probed: Probed, timeout_s: float) -> None:
    """Answer one request; anything after it is not read."""
    connection = h11.Connection(h11.SERVER)
    is_head = False
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_RECEIVE_BYTES))
        if not isinstance(event, h11.Request):
            return
        is_head = event.method == b"HEAD"
        answer = await _answer(event, probed, timeout_s)
    except h11.RemoteProtocolError as error:
        answer = _Answer(error.error_status_hint, "expected a request of HTTP/1.1, got something else\n")
    body = answer.body.encode()
    headers = [("content-type", answer.content_type), ("content-length", str(len(body))), ("connection", "close")]
    response: list[h11.Event] = [h11.Response(status_code=answer.code, headers=headers)]
    response += [h11.EndOfMessage()] if is_head else [h11.Data(data=body), h11.EndOfMessage()]
    await stream.send_all(b"".join(connection.send(event) or b"" for event in response))
    await stream.send_eof()


async def _answer(request: h11.Request, probed: Probed, timeout_s: float) -> _Answer:
    path = request.target.decode("ascii", "replace").partition("?")[0]
    handler = _HANDLERS.get(path)
    if handler is None:
        return _Answer(404, f"expected one of {', '.join(_HANDLERS)}\n")
    if request.method not in (b"GET", b"HEAD"):
        return _Answer(405, "expected GET or HEAD\n")
    try:
        with trio.fail_after(timeout_s):
            return await handler(probed)
    except trio.TooSlowError:
        return _Answer(503, f"no answer within {timeout_s:g} s\n")
    except GemsError as error:
        return _Answer(503, f"{printable(str(error))}\n")


async def _is_alive(_: Probed) -> _Answer:
    await trio.lowlevel.checkpoint()
    return _Answer(200, "the event loop is running\n")


async def _is_ready(probed: Probed) -> _Answer:
    await probed.ready()
    return _Answer(200, "every actor of this host accepts requests\n")


async def _serve_metrics(probed: Probed) -> _Answer:
    return _Answer(200, metrics_text(await probed.read_status()), CONTENT_TYPE)


_HANDLERS: dict[str, Callable[[Probed], Awaitable[_Answer]]] = {
    "/livez": _is_alive,
    "/readyz": _is_ready,
    "/metrics": _serve_metrics,
}
