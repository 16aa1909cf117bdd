"""The main function of a process of the mesh."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from gems_actors.actor import Actor, serve_actor
from gems_actors.addresses import split_addresses
from gems_actors.blobs.server import serve_blobs
from gems_actors.config import MeshConfig, load_code
from gems_actors.errors import AddressInUseError, ConfigError, GemsError, MeshRefusedError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.os_process import EXIT_CONFIG
from gems_actors.router.server import serve_router
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from gems_actors.supervision.runtime_dir import check_platform
from gems_actors.tasks import open_background


def load_actor(role: str, config: MeshConfig) -> type[Actor]:
    """Return the actor class of a role, or of a shard of memory; `import_path` is searched first for it.

    Raises:
        ConfigError: no such role, or its class cannot be imported.
    """
    specs = config.role_specs
    role = _without_shard(role)
    if role not in specs:
        raise ConfigError(f"role: expected one of {', '.join(specs)}, got {role!r}")
    found = load_code(f"roles.{role}.actor", specs[role].actor, config.import_path)
    if not (isinstance(found, type) and issubclass(found, Actor)):
        raise ConfigError(f"roles.{role}.actor: expected a subclass of Actor, got {specs[role].actor}")
    return found


def _without_shard(role: str) -> str:
    return MEMORY_ROLE if shard_of_role(role) else role


def run_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play a role until stopped, and return the exit code.

    SIGTERM drains (exit code 0), a second one stops at once. 78 means that a restart would end the same way; one line
    on standard error says why.

    Args:
        role: of the actor, a shard of memory, or one of the servers `router` and `blobs`.
        config: settings of the mesh.
        address: of the router; for the router itself, the addresses to listen at.
        name: of the actor.
    """
    log = structlog.get_logger()
    try:
        check_platform()
        configure_logging(config.log, role=role, actor=name)
        if role == "router":
            trio.run(_run_until_stopped, partial(_run_router, config, address))
        elif role == "blobs":
            trio.run(_run_until_stopped, partial(_run_blobs, config))
        else:
            trio.run(_run_until_stopped, partial(_run_actor, load_actor(role, config), role, config, address, name))
    except (ConfigError, AddressInUseError, MeshRefusedError) as error:
        print(f"gems: {role}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return EXIT_CONFIG
    except GemsError as error:
        print(f"gems: {role}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    except Exception:
        log.exception("process_crashed")
        return 1
    return 0


async def _run_until_stopped(run: Callable[[trio.Event], Awaitable[None]]) -> None:
    draining = trio.Event()
    async with open_background() as nursery:
        await nursery.start(_watch_signals, draining, nursery.cancel_scope)
        await run(draining)


async def _watch_signals(
    draining: trio.Event, process: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if draining.is_set():
                process.cancel()
            draining.set()


async def _run_router(config: MeshConfig, address: str, draining: trio.Event) -> None:
    _raise_file_limit()
    async with open_background() as nursery:
        serve = partial(serve_router, shards=config.memory.shards, security=config.security, roles=config.role_specs)
        await nursery.start(serve, split_addresses(address), config.router)
        await draining.wait()


def _raise_file_limit() -> None:
    """Raise the limit of open files to the hard limit: every peer needs one, and so does every stranger."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run_blobs(config: MeshConfig, draining: trio.Event) -> None:
    _raise_file_limit()
    serve = partial(serve_blobs, is_insecure=config.router.insecure, roles=config.role_specs)
    async with open_background() as nursery:
        await nursery.start(serve, config.blob_addresses, config.data_path / "blobs", config.security)
        await draining.wait()


async def _run_actor(
    actor_class: type[Actor], role: str, config: MeshConfig, address: str, name: str, draining: trio.Event
) -> None:
    await serve_actor(
        partial(actor_class, config),
        address,
        name,
        role=role,
        capacity=config.role(_without_shard(role)).capacity,
        grace_s=config.supervisor.grace_s,
        draining=draining,
        security=config.security,
    )
