"""Requests to a running mesh, with the time limits of an interactive command."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import trio

from gems_actors.app.run_registry import live_entries
from gems_actors.client import Mesh, open_client
from gems_actors.config import SecurityConfig
from gems_actors.errors import DeadlineError, MeshUnavailableError, UsageError
from protocol.identity import agent_role, is_agent_role
from protocol.messages import ReadStatus, ReplyT, Request

CONNECT_S = 2.0
"""Time limit for a router to answer before its mesh counts as not running."""
_ANSWER_S = 10.0


def open_mesh(address: str, security: SecurityConfig) -> AbstractAsyncContextManager[Mesh]:
    """Connect to the router of a running mesh.

    Raises:
        MeshUnavailableError: no router answers within 2 s.
    """
    return open_client(address, connect_within_s=CONNECT_S, security=security)


async def ask_within(
    mesh: Mesh, request: Request[ReplyT], *, role: str | None = None, within_s: float = _ANSWER_S
) -> ReplyT:
    """Return the reply to a request, of a role other than that of its type if one is named.

    Raises:
        DeadlineError: no reply arrived in time.
        RequestError: the request failed; the class names the failure.
    """
    with trio.move_on_after(within_s):
        return await mesh.ask(request, role=role)
    raise DeadlineError(f"{mesh.address}: expected a reply from {role or request.role} within {within_s:g} s, got none")


async def ask_mesh(address: str, security: SecurityConfig, request: Request[ReplyT], host: str | None = None) -> ReplyT:
    """Connect to a mesh and return the reply to a request, of the agent with the name `host` if one is given.

    Raises:
        MeshUnavailableError: no router answers; the text names the meshes that this user runs on this host.
        UsageError: the mesh has no agent with this name.
        RequestError: the request failed; the class names the failure.
    """
    try:
        return await _ask(address, security, request, host)
    except MeshUnavailableError as error:
        running = dict.fromkeys(entry.address for entry in live_entries() if entry.address != address)
        hint = f"; running on this host: {' and '.join(running)}; see --router" if running else ""
        raise MeshUnavailableError(f"{error}{hint}") from error


async def _ask(address: str, security: SecurityConfig, request: Request[ReplyT], host: str | None) -> ReplyT:
    async with open_mesh(address, security) as mesh:
        if host is None:
            return await ask_within(mesh, request)
        status = await ask_within(mesh, ReadStatus())
        agents = [actor.name for role in status.roles if is_agent_role(role.role) for actor in role.actors]
        if host not in agents:
            known = ", ".join(sorted(agents)) or "the agents of the mesh, which has none"
            raise UsageError(f"--host: expected one of {known}, got {host!r}")
        return await ask_within(mesh, request, role=agent_role(host))
