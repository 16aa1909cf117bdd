"""Runs a mesh, or the roles of one further host of it, in this process until it is interrupted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from gems_actors.app.interrupts import Interrupts
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.app.slurm.rendezvous import await_router
from gems_actors.config import MeshConfig
from gems_actors.errors import SupervisorError, UsageError
from gems_actors.supervision.runtime_dir import check_platform
from gems_actors.supervision.service import open_service
from gems_actors.supervision.supervisor import open_agent, open_supervisor
from gems_actors.tasks import open_background
from protocol.limits import MAX_ACTORS


def parse_role_counts(config: MeshConfig, texts: Iterable[str]) -> dict[str, int]:
    """Return the number of actors by role from texts such as `verifier=4`.

    Raises:
        UsageError: a role is unknown or named twice, or a number too large.
    """
    counts: dict[str, int] = {}
    for text in texts:
        match = re.fullmatch(r"([a-z0-9_]+)=(\d{1,5})", text)
        if match is None or match[1] not in config.role_specs or int(match[2]) > MAX_ACTORS:
            roles = f"{', '.join(config.role_specs)} (or a role of your own, with --config)"
            raise UsageError(f"ROLE=N: expected one of {roles} and a number up to {MAX_ACTORS}, got {text!r}")
        if match[1] in counts:
            raise UsageError(f"ROLE=N: expected each role once, got {match[1]} twice")
        counts[match[1]] = int(match[2])
    return counts


def config_of_agent(config: MeshConfig, counts: Mapping[str, int]) -> MeshConfig:
    """Return the settings of an agent that plays only the given roles; other roles are not autoscaled either."""
    replace = msgspec.structs.replace
    roles = {role: replace(settings, count=0, min=None, max=None) for role, settings in config.roles.items()}
    roles |= {role: replace(config.roles[role], count=count) for role, count in counts.items() if count}
    return replace(config, roles=roles)


async def host_mesh(config: MeshConfig, interrupts: Interrupts, on_ready: Callable[[int], None]) -> None:
    """Run a mesh until it stops: the first interrupt drains it, the second kills it.

    `on_ready` gets the number of processes once every role is ready.

    Raises:
        AddressInUseError, ConfigError, SupervisorError: the mesh cannot run.
    """
    async with open_supervisor(config) as supervisor:
        interrupts.on_hurry(supervisor.stop_now)
        async with open_service(supervisor, config.metrics), open_background() as nursery:

            async def announce() -> None:
                await supervisor.ready()
                on_ready(len(supervisor.children()))

            nursery.start_soon(interrupts.call_at_first, supervisor.stop)
            nursery.start_soon(announce)
            with registered(RegistryEntry(address=supervisor.address)):
                await supervisor.wait()


async def host_agent(
    config: MeshConfig,
    router: str | Path,
    name: str,
    interrupts: Interrupts,
    on_join: Callable[[str], None],
    on_ready: Callable[[int], None],
) -> None:
    """Play roles for a mesh whose router runs elsewhere until interrupted, or until the mesh stops this agent.

    The agent follows the address in a file if `router` is a path. The first interrupt drains the roles, the second
    kills them. `on_join` gets the address of each router that the agent joins, `on_ready` the number of processes once
    every role is ready.

    Raises:
        ConfigError, SupervisorError: the roles cannot run.
    """
    check_platform()
    async with open_background() as nursery:
        life = trio.CancelScope()

        async def serve(address: str) -> None:
            on_join(address)
            async with open_agent(config, address, name) as agent, open_service(agent, config.metrics):
                interrupts.on_hurry(agent.stop_now)
                with suppress(SupervisorError):  # `wait` raises it again, and returns if the agent was only stopped
                    await agent.ready()
                    on_ready(len(agent.children()))
                await agent.wait()

        nursery.start_soon(interrupts.call_at_first, life.cancel)
        with life:
            if isinstance(router, Path):
                await _follow_router(router, serve)
            else:
                await serve(router)


async def _follow_router(file: Path, serve: Callable[[str], Awaitable[None]]) -> None:
    """Serve the router whose address is in a file, and start again whenever the file names another one."""
    is_over = False
    while not is_over:
        address = await await_router(file)
        async with open_background() as nursery:

            async def leave_when_moved(known: str, here: trio.CancelScope) -> None:
                await await_router(file, other_than=known)
                here.cancel()

            nursery.start_soon(leave_when_moved, address, nursery.cancel_scope)
            await serve(address)
            is_over = True
