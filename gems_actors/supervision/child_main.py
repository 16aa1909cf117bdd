"""The main function of a process of the mesh."""

from __future__ import annotations

import resource
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
from gems_actors.ops import tracing
from gems_actors.ops.log_setup import configure_logging
from gems_actors.os_process import EXIT_CONFIG, collect_garbage_rarely, is_shortage, protect_files, stop_signals
from gems_actors.router.server import serve_router
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from gems_actors.supervision.runtime_dir import check_platform
from gems_actors.supervision.stall_watch import end_soon, stop_watching, watch_for_stalls
from gems_actors.tasks import open_background
from gems_actors.terminal_text import printable, protect_standard_streams


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
    if not found.handlers and specs[role].requests:
        raise ConfigError(f"roles.{role}.actor: expected methods marked @answers, got none in {specs[role].actor}")
    return found


def _without_shard(role: str) -> str:
    return MEMORY_ROLE if shard_of_role(role) else role


def run_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play a role until stopped, and return the exit code.

    SIGTERM drains (exit code 0), a second one stops at once. 78 means that a restart would end the same way; one line
    on standard error says why. A process that cannot end by itself, or waits for a thread that never began, is killed
    by SIGALRM. The role is that of an actor, a shard of memory, or one of the servers `router` and `blobs`. The address
    is that of the router; for the router itself, those to listen at.
    """
    try:
        protect_standard_streams()
        protect_files(config.access)
        check_platform()
        collect_garbage_rarely()
        configure_logging(config.log, role=role, actor=name)
        with tracing.recording(config.traces, role, name):
            try:
                trio.run(_run_until_stopped, _main_of(role, config, address, name))
            finally:
                stop_watching()
    except GemsError as error:
        print(printable(f"gems: {role}: {error}"), file=sys.stderr, flush=True)  # noqa: T201
        is_final = isinstance(error, ConfigError | AddressInUseError | MeshRefusedError)
        may_pass = error.__cause__ is not None and is_shortage(error.__cause__)
        return EXIT_CONFIG if is_final and not may_pass else 1
    except Exception as error:  # the last frame of the process: its log gets the traceback
        if (shortage := _shortage_in(error)) is not None:
            structlog.get_logger().error("process_ran_out_of_resources", reason=repr(shortage))
        else:
            structlog.get_logger().exception("process_crashed")
        return 1
    return 0


def _shortage_in(error: Exception) -> BaseException | None:
    """Return the lack of memory or threads that ended the process, if any.

    When trio's own tasks fail for it, others of its assertions fail as well.
    """
    if not isinstance(error, trio.TrioInternalError):
        return error if is_shortage(error) else None
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return cause.subgroup(is_shortage)
    return cause if cause is not None and is_shortage(cause) else None


def _main_of(role: str, config: MeshConfig, address: str, name: str) -> Callable[..., Awaitable[None]]:
    """Return the function that plays a role until its keyword argument `draining` is set."""
    if role == "router":
        serve = partial(serve_router, split_addresses(address), config.router, shards=config.memory.shards)
        return partial(_run_server, partial(serve, security=config.security, roles=config.role_specs))
    if role == "blobs":
        serve = partial(serve_blobs, config.blob_addresses, config.data_path / "blobs", config.security)
        return partial(_run_server, partial(serve, is_insecure=config.router.insecure, roles=config.role_specs))
    play = partial(serve_actor, partial(load_actor(role, config), config), address, name, role=role)
    capacity, grace_s = config.role(_without_shard(role)).capacity, config.supervisor.grace_s
    return partial(play, capacity=capacity, grace_s=grace_s, security=config.security)


async def _run_until_stopped(run: Callable[..., Awaitable[None]]) -> None:
    draining = trio.Event()
    try:
        async with open_background() as nursery:
            await nursery.start(_watch_signals, draining, nursery.cancel_scope)
            await nursery.start(watch_for_stalls)
            await run(draining=draining)
    finally:
        end_soon()


async def _watch_signals(
    draining: trio.Event, process: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(*stop_signals()) as signals:
        task_status.started()
        async for _ in signals:
            if draining.is_set():
                process.cancel()
            draining.set()


async def _run_server(serve: Callable[..., Awaitable[None]], *, draining: trio.Event) -> None:
    # Every peer needs an open file, and so does every stranger.
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    async with open_background() as nursery:
        await nursery.start(serve)
        await draining.wait()
