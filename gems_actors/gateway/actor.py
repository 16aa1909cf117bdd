"""The role `gateway`: a client of the mesh that serves HTTP, supervised and shown like every other role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from gems_actors.actor import Actor
from gems_actors.app.session import Connection
from gems_actors.blobs import blob_store
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.image_counts import keep_counts, read_counts
from gems_actors.gateway.jobs import webhooks
from gems_actors.gateway.jobs.runner import Jobs
from gems_actors.gateway.tokens import Caller, Tokens
from gems_actors.tasks import open_background

if TYPE_CHECKING:
    from gems_actors.gateway.http_server import HttpServer

_RELOAD_S: Final = 1.0
"""Seconds between two checks whether the file of tokens has changed."""
_SHARE_OF_GRACE: Final = 0.8
"""Of the supervisor's grace period, the rest of which is for leaving the mesh."""


class Gateway(Actor):
    """Serves HTTP while it is open; answers no requests of the mesh."""

    role = "gateway"

    def __init__(
        self, config: MeshConfig, mesh: Mesh, *, webhook_delays_s: Sequence[float] = webhooks.DELAYS_S
    ) -> None:
        super().__init__(config, mesh)
        self._blobs = blob_store(config, mesh.address)
        self._tokens = Tokens(config.gateway)
        self._counts = config.data_path / "gateway" / "images.json"
        self._allowances = read_counts(self._counts)
        self._draws = Draws(config, mesh, self._blobs, self._allowances)
        self._jobs = Jobs(config, mesh, self._draws, self._find_caller, webhook_delays_s=webhook_delays_s)
        self._server: HttpServer | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve HTTP."""
        from gems_actors.gateway.http_server import open_http_server  # what the extra installs
        from gems_actors.gateway.mcp_route import open_mcp
        from gems_actors.gateway.routes import application

        grace_s = _SHARE_OF_GRACE * self.config.supervisor.grace_s
        connection = Connection(self.mesh, self._blobs)
        async with (
            self._blobs.open(),
            super().open(),
            open_mcp(self.config, connection, self._draws, shows_own_only=self._tokens.are_needed) as mcp,
            open_background() as nursery,
        ):
            app = application(self.config, self.mesh, self._tokens, self._allowances, self._draws, self._jobs, mcp)
            await nursery.start(self._jobs.run)
            nursery.start_soon(self._reload_tokens)
            if self._tokens.are_needed:
                nursery.start_soon(keep_counts, self._counts, self._allowances)
            address = self.config.gateway.address or "127.0.0.1:0"
            async with open_http_server(app, self.config.gateway, address, grace_s) as self._server:
                yield

    @property
    def port(self) -> int:
        """Port at which it serves; 0 before it does."""
        return self._server.port if self._server else 0

    async def drain(self) -> None:
        """Stop accepting connections, and finish the requests in flight, for which the mesh is needed."""
        self._jobs.close_events()
        if self._server is not None:
            await self._server.drain()

    def figures(self) -> dict[str, float]:
        """Return the pictures in flight, and the requests that were told to come back."""
        admission = self._draws.admission
        return {"drawing": admission.in_flight, "refused": admission.refused}

    def _find_caller(self, name: str) -> Caller:
        """Return who has begun a job.

        Raises:
            ApiError: its token was taken away.
        """
        if (caller := self._tokens.named(name)) is None:
            raise ApiError(401, f"expected a token of {name}, got none any more", code="invalid_api_key")
        return caller

    async def _reload_tokens(self) -> None:
        while True:
            await trio.sleep(_RELOAD_S)
            self._tokens.reload()
