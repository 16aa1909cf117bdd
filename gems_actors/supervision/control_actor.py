"""The supervisor as an actor of its own mesh: it can be asked to scale a role or to stop the mesh."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Protocol

import structlog
import trio

from gems_actors.actor import Actor, Mesh, answers, serve_actor
from gems_actors.config import MeshConfig
from gems_actors.errors import GemsError, MeshRefusedError, RefusedError
from protocol.identity import agent_role
from protocol.messages import Noted, Scaled, ScaleRole, StopMesh

ROUTER_TIMEOUT_S = 1.0
"""How long to wait for a router that may be gone."""

_log = structlog.get_logger()


class Controlled(Protocol):
    """What the control actor needs of a supervisor."""

    async def resize(self, role: str, count: int) -> tuple[int, int]:
        """Change the number of actors of a role, and return it before and after."""

    def stop(self) -> None:
        """Request a graceful shutdown."""

    def restarts(self) -> Mapping[str, int]:
        """Return the processes that ended unexpectedly, by role."""


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

    def totals(self) -> dict[str, float]:
        """Return how often processes were replaced."""
        return {f"restarts/{role}": float(count) for role, count in self._supervisor.restarts().items()}

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
        self.name = self._label = name
        self._is_agent = is_agent
        self.scope = trio.CancelScope()
        self.joined = trio.Event()
        self.is_decided = trio.Event()
        """It has joined, or never will."""
        self._role = agent_role(name) if is_agent else ControlActor.role
        self._draining = trio.Event()
        self._left = trio.Event()

    def served_at(self, address: str) -> float:
        """Return when the router at an address last treated the supervisor as a member; minus infinity before that."""
        return self.mesh.served_at(address) if self.joined.is_set() else -math.inf

    async def serve(self, supervisor: Controlled, address: str, config: MeshConfig) -> None:
        """Join the mesh at a router's address, and answer until `leave` or until `scope` is cancelled.

        Routers may come late, and those of the same mesh may be short of room: `ServerWatch` replaces what nobody can
        join, and the restart policy alone ends a mesh.

        Raises:
            MeshRefusedError: the router does not admit this agent.
        """

        def join(mesh: Mesh) -> Actor:
            self.mesh = mesh
            self.joined.set()
            self.is_decided.set()
            return ControlActor(config, mesh, supervisor, self._role)

        try:
            with self.scope:
                while not self._draining.is_set():
                    if not self._is_agent:
                        self.name = f"{self._label}.{os.urandom(2).hex()}"
                    try:
                        await serve_actor(
                            join,
                            address,
                            self.name,
                            draining=self._draining,
                            connect_within_s=math.inf,
                            security=config.security,
                        )
                    except MeshRefusedError as error:
                        if self._is_agent:
                            raise
                        _log.warning("supervisor_refused", reason=str(error))
                        await trio.sleep(ROUTER_TIMEOUT_S)
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
