"""The HTTP connections to model servers: by the route that the environment names, and kept in small pools.

httpx's pool looks at each of its connections twice a request, and at each pair of idle ones: with 30 connections that
was more than half of the CPU of a request (2.4 ms, and 0.9 without). So each pool here has a few connections only.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from typing import Final

import httpx
import trio

from gems_actors.backends.proxies import check_address, route_to
from gems_actors.errors import ConfigError

_IN_POOL: Final = 2
"""Maximum requests in flight of one pool."""
_IN_POOL_OVER_TLS: Final = 8
"""The same over TLS, where a server may offer HTTP/2 and requests then share one connection."""
_MAX_REQUESTS: Final = 1024
"""Maximum requests in flight, the highest capacity of a role; the adaptive limit keeps the number far below."""
_KEPT_S: Final = 5.0
"""How long connections stay open without a request."""


class _Pool:
    """A few connections."""

    def __init__(self, proxy: str | None, context: ssl.SSLContext, size: int) -> None:
        limits = httpx.Limits(max_connections=size, max_keepalive_connections=size, keepalive_expiry=_KEPT_S)
        self.transport = httpx.AsyncHTTPTransport(verify=context, http2=True, limits=limits, proxy=proxy)
        self.in_flight = 0
        self._idle_since = trio.current_time()

    def is_expired(self) -> bool:
        """Return whether it had nothing to do for so long that its connections are to be closed."""
        return not self.in_flight and trio.current_time() > self._idle_since + _KEPT_S

    def end_request(self) -> None:
        """Count a request that has ended."""
        self.in_flight -= 1
        self._idle_since = trio.current_time()


class _Route:
    """The pools of one route."""

    def __init__(self, proxy: str | None, *, is_tls: bool) -> None:
        self._proxy = proxy
        self._size = _IN_POOL_OVER_TLS if is_tls else _IN_POOL
        self._context = httpx.create_ssl_context(verify=is_tls)  # loads no certificates without TLS: it takes a while
        self._pools = [self._new_pool()]

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request by the first pool with room, so that the last ones expire while there is little to do."""
        while len(self._pools) > 1 and self._pools[-1].is_expired():
            await self._pools.pop().transport.aclose()
        pool = next((pool for pool in self._pools if pool.in_flight < self._size), None)
        if pool is None and len(self._pools) < _MAX_REQUESTS // self._size:
            pool = self._new_pool()
            self._pools.append(pool)
        elif pool is None:  # it makes the request wait
            pool = min(self._pools, key=lambda pool: pool.in_flight)
        pool.in_flight += 1
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            pool.end_request()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Body(response.stream, pool)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.transport.aclose()

    def _new_pool(self) -> _Pool:
        return _Pool(self._proxy, self._context, self._size)


class _Body(httpx.AsyncByteStream):
    """The body of a response, which ends its request when it is closed."""

    def __init__(self, body: httpx.AsyncByteStream, pool: _Pool) -> None:
        self._body = body
        self._pool: _Pool | None = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield chunk

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        try:
            await self._body.aclose()
        finally:
            if pool is not None:
                pool.end_request()


class RoutedTransport(httpx.AsyncBaseTransport):
    """Sends each request directly or through the proxy that the environment names for its address.

    httpx reads the environment too, but knows no networks in `no_proxy`, and fails on variables that it does not need.
    """

    def __init__(self) -> None:
        self._routes: dict[tuple[str | None, bool], _Route] = {}
        """Connections by proxy and whether TLS is spoken."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            ConfigError: the environment names a proxy or certificates that cannot be used.
        """
        url = str(request.url)
        route = route_to(url, os.environ)
        key = (route.proxy if route else None, request.url.scheme == "https")
        if key not in self._routes:
            check_address(url, os.environ)
            try:
                self._routes[key] = _Route(key[0], is_tls=key[1])
            except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:
                where = route.variable if route else "SSL_CERT_FILE"
                raise ConfigError(f"{where}: expected what reaches {request.url.host}, got: {error}") from error
        return await self._routes[key].send(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for route in self._routes.values():
            await route.aclose()
