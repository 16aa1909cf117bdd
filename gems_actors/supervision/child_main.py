"""The life of one process of the mesh, from its name to its exit code."""

from __future__ import annotations

import importlib
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog
import trio

from gems_actors.actor import Actor, serve_actor
from gems_actors.addresses import split_addresses
from gems_actors.blobs.server import serve_blobs
from gems_actors.config import MeshConfig
from gems_actors.errors import AddressInUseError, ConfigError, GemsError, MeshRefusedError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.os_process import EXIT_CONFIG
from gems_actors.router.server import serve_router
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from gems_actors.tasks import open_background


def load_actor(role: str) -> type[Actor]:
    """Return the class that plays a role, or a shard of memory.

    Raises:
        ConfigError: there is no such role.
    """
    roles: Mapping[str, str] = importlib.import_module("actors").ROLES
    role = MEMORY_ROLE if shard_of_role(role) else role
    if role not in roles:
        raise ConfigError(f"role: expected one of {', '.join(sorted(roles))}, got {role!r}")
    module, _, name = roles[role].partition(":")
    found: type[Actor] = getattr(importlib.import_module(module), name)
    return found


def run_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play a role until told to stop, and return the exit code; `address` is of the router, or where it shall listen.

    SIGTERM drains (exit code 0), a second one stops at once. 78 means that starting again would end the same way; its
    reason stands in one line on standard error.
    """
    configure_logging(config.log, role=role, actor=name)
    log = structlog.get_logger()
    try:
        if role == "router":
            trio.run(_run_until_stopped, partial(_play_router, config, address))
        elif role == "blobs":
            trio.run(_run_until_stopped, partial(_play_blobs, config))
        else:
            trio.run(_run_until_stopped, partial(_play_actor, load_actor(role), role, config, address, name))
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


async def _run_until_stopped(play: Callable[[trio.Event], Awaitable[None]]) -> None:
    draining = trio.Event()
    async with open_background() as nursery:
        await nursery.start(_watch_signals, draining, nursery.cancel_scope)
        await play(draining)


async def _watch_signals(
    draining: trio.Event, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if draining.is_set():
                everything.cancel()
            draining.set()


async def _play_router(config: MeshConfig, address: str, draining: trio.Event) -> None:
    _allow_many_files()
    async with open_background() as nursery:
        serve = partial(serve_router, shards=config.memory.shards, security=config.security)
        await nursery.start(serve, split_addresses(address), config.router)
        await draining.wait()


def _allow_many_files() -> None:
    """Have as many files as this process may: every peer is one, and so is every stranger."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _play_blobs(config: MeshConfig, draining: trio.Event) -> None:
    _allow_many_files()
    serve = partial(serve_blobs, is_insecure=config.router.insecure)
    async with open_background() as nursery:
        await nursery.start(serve, config.blob_addresses, config.data_path / "blobs", config.security)
        await draining.wait()


async def _play_actor(
    kind: type[Actor], role: str, config: MeshConfig, address: str, name: str, draining: trio.Event
) -> None:
    await serve_actor(
        partial(kind, config),
        address,
        name,
        role=role,
        capacity=config.role(kind.role).capacity,
        grace_s=config.supervisor.grace_s,
        draining=draining,
        security=config.security,
    )
