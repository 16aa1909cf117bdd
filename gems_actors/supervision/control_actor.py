"""The supervisor as an actor of its own mesh: it can be asked to scale a role or to stop the mesh."""

from __future__ import annotations

import math
import os
from typing import Protocol

import trio

from gems_actors.actor import Actor, Mesh, answers, serve_actor
from gems_actors.config import MeshConfig
from gems_actors.errors import GemsError, RefusedError
from protocol.identity import agent_role
from protocol.messages import Noted, Scaled, ScaleRole, StopMesh

ROUTER_TIMEOUT_S = 1.0
"""How long to wait for a router that may be gone."""


class Controlled(Protocol):
    """What the control actor needs of a supervisor."""

    async def resize(self, role: str, count: int) -> tuple[int, int]:
        """Change the number of actors of a role, and return it before and after."""

    def stop(self) -> None:
        """Request a graceful shutdown."""


class ControlActor(Actor):
    """Lets the mesh scale the roles of a host and stop the mesh."""

    role = "supervisor"

    def __init__(self, config: MeshConfig, mesh: Mesh, supervisor: Controlled, role: str) -> None:
        super().__init__(config, mesh)
        self.role = role  # each agent has its own, so that requests can be addressed to one host
        self._supervisor = supervisor

    def figures(self) -> dict[str, float]:
        """Return the load of the host: processes that run or wait for a core, divided by its cores."""
        return {"host_load_share": os.getloadavg()[0] / (os.cpu_count() or 1)}

    @answers
    async def scale(self, request: ScaleRole) -> Scaled:
        """Change the number of actors of a role."""
        try:
            before, after = await self._supervisor.resize(request.scaled_role, request.count)
        except GemsError as error:
            raise RefusedError(str(error)) from error
        return Scaled(before=before, after=after)

    @answers
    async def stop(self, request: StopMesh) -> Noted:
        """Request a graceful shutdown of the mesh."""
        self._supervisor.stop()
        return Noted()


class Membership:
    """The supervisor's membership in its mesh, from joining to leaving."""

    mesh: Mesh
    """Valid once `joined` is set."""

    def __init__(self, name: str, *, is_agent: bool) -> None:
        self.name = name if is_agent else f"{name}.{os.urandom(2).hex()}"
        self.scope = trio.CancelScope()
        self.joined = trio.Event()
        self.is_decided = trio.Event()
        """It has joined, or never will."""
        self._role = agent_role(name) if is_agent else ControlActor.role
        self._connect_within_s = math.inf if is_agent else 30.0
        self._draining = trio.Event()
        self._left = trio.Event()

    async def serve(self, supervisor: Controlled, address: str, config: MeshConfig) -> None:
        """Join the mesh at a router's address, and answer until `leave` or until `scope` is cancelled."""

        def join(mesh: Mesh) -> Actor:
            self.mesh = mesh
            self.joined.set()
            self.is_decided.set()
            return ControlActor(config, mesh, supervisor, self._role)

        try:
            with self.scope:
                await serve_actor(
                    join,
                    address,
                    self.name,
                    draining=self._draining,
                    connect_within_s=self._connect_within_s,
                    security=config.security,
                )
        finally:
            self.is_decided.set()
            self._left.set()

    async def leave(self) -> None:
        """Say goodbye to the router, without waiting long for one that does not answer."""
        self._draining.set()
        if self.joined.is_set():
            with trio.move_on_after(ROUTER_TIMEOUT_S):
                await self._left.wait()
        self.scope.cancel()
        await self._left.wait()
