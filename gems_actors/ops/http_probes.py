"""What a supervisor answers over HTTP: `/livez` and `/readyz` for probes, `/metrics` for Prometheus.

It reads and never acts, knows no keys, and is off unless `metrics.address` says where to listen. Whoever reaches it may
be rude: a connection has one request and a few seconds, whatever it says or does not say.
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
from protocol.messages import MeshStatus

_CONNECTION_S: Final = 5.0
_ANSWER_S: Final = 1.0
"""What the mesh has to answer; a probe of Kubernetes waits no longer by default."""
_MAX_CONNECTIONS: Final = 64
_RECEIVE_BYTES: Final = 4096
_TEXT: Final = "text/plain; charset=utf-8"


class Watched(Protocol):
    """What is asked of a supervisor."""

    async def ready(self) -> None:
        """Return when every actor that is wanted takes requests."""

    async def read_status(self) -> MeshStatus:
        """Return the router's table."""


class _Answer(NamedTuple):
    code: int
    body: str
    content_type: str = _TEXT


@asynccontextmanager
async def open_http_probes(watched: Watched, address: str) -> AsyncIterator[int]:
    """Answer at `HOST:PORT` while the block runs, and give the port.

    Raises:
        AddressInUseError: somebody else listens there.
        ConfigError: it is no address of this host.
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
    talks: dict[trio.CancelScope, None] = {}

    async def take(stream: trio.SocketStream) -> None:
        if len(talks) == _MAX_CONNECTIONS:  # the oldest goes: a probe takes milliseconds, who stays longer is rude
            oldest = next(iter(talks))
            del talks[oldest]
            oldest.cancel()
        with trio.move_on_after(_CONNECTION_S) as talk, suppress(trio.BrokenResourceError):
            talks[talk] = None
            await _converse(stream, watched)
        talks.pop(talk, None)
        await trio.aclose_forcefully(stream)

    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, take, listeners)
        yield int(listeners[0].socket.getsockname()[1])


async def _converse(stream: trio.SocketStream, watched: Watched) -> None:
    """Read one request and answer it; what follows is not read."""
    connection = h11.Connection(h11.SERVER)
    is_head = False
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_RECEIVE_BYTES))
        if not isinstance(event, h11.Request):
            return
        is_head = event.method == b"HEAD"
        answer = await _answer(event, watched)
    except h11.RemoteProtocolError as error:
        answer = _Answer(error.error_status_hint, "expected a request of HTTP/1.1, got something else\n")
    body = answer.body.encode()
    headers = [("content-type", answer.content_type), ("content-length", str(len(body))), ("connection", "close")]
    response: list[h11.Event] = [h11.Response(status_code=answer.code, headers=headers)]
    response += [h11.EndOfMessage()] if is_head else [h11.Data(data=body), h11.EndOfMessage()]
    await stream.send_all(b"".join(connection.send(event) or b"" for event in response))
    await stream.send_eof()


async def _answer(request: h11.Request, watched: Watched) -> _Answer:
    path = request.target.decode("ascii", "replace").partition("?")[0]
    look = _LOOKS.get(path)
    if look is None:
        return _Answer(404, f"expected one of {', '.join(_LOOKS)}\n")
    if request.method not in (b"GET", b"HEAD"):
        return _Answer(405, "expected GET or HEAD\n")
    try:
        with trio.fail_after(_ANSWER_S):
            return await look(watched)
    except trio.TooSlowError:
        return _Answer(503, f"not within {_ANSWER_S:g} s\n")
    except GemsError as error:
        return _Answer(503, f"{error}\n")


async def _is_alive(_: Watched) -> _Answer:
    await trio.lowlevel.checkpoint()
    return _Answer(200, "the loop moves\n")


async def _is_ready(watched: Watched) -> _Answer:
    await watched.ready()
    return _Answer(200, "every actor of this host takes requests\n")


async def _tell_metrics(watched: Watched) -> _Answer:
    return _Answer(200, metrics_text(await watched.read_status()), CONTENT_TYPE)


_LOOKS: dict[str, Callable[[Watched], Awaitable[_Answer]]] = {
    "/livez": _is_alive,
    "/readyz": _is_ready,
    "/metrics": _tell_metrics,
}
