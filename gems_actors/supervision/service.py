"""A mesh, or one host of it, as a service: it reports its state to systemd and answers health checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
import trio

from gems_actors.config import MeshConfig, MetricsConfig
from gems_actors.errors import GemsError, SupervisorError
from gems_actors.ops.systemd import keep_watchdog, notify
from gems_actors.os_process import stop_signals
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import require_trio

_log = structlog.get_logger()


@asynccontextmanager
async def open_service(supervisor: Supervisor, settings: MetricsConfig) -> AsyncIterator[None]:
    """Report on a supervisor while the block runs; leaving reports that it is stopping.

    Raises:
        AddressInUseError, ConfigError: as `open_http_probes`.
    """
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(open_background())
        nursery.start_soon(keep_watchdog)
        nursery.start_soon(_notify_when_ready, supervisor)
        if settings.address is not None:
            from gems_actors.ops.http_probes import open_http_probes  # spares importing h11 where nothing is served

            await stack.enter_async_context(open_http_probes(supervisor, settings.address))
        try:
            yield
        finally:
            notify("STOPPING=1", "STATUS=draining")


async def run_mesh(config: MeshConfig) -> None:
    """Run a mesh as a service until it is asked to stop: SIGTERM, SIGINT or SIGHUP drains it, a second one kills it.

    Raises:
        AddressInUseError, ConfigError, SupervisorError: as `open_supervisor` and `Supervisor.wait`.
        UsageError: the caller does not run under trio.
    """
    require_trio("run_mesh")
    supervisor: Supervisor | None = None
    life = trio.CancelScope()

    async def obey(signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            if life.cancel_called and supervisor is not None:
                supervisor.stop_now()
            life.cancel()

    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with open_background() as nursery:
            nursery.start_soon(obey, signals)
            with life:
                async with open_supervisor(config) as supervisor, open_service(supervisor, config.metrics):
                    with suppress(SupervisorError):  # `wait` raises it again, and returns if the mesh was only stopped
                        await supervisor.ready()
                        _log.info("mesh_ready", address=supervisor.address)
                    await supervisor.wait()


async def _notify_when_ready(supervisor: Supervisor) -> None:
    with suppress(GemsError):  # raised to the caller of `Supervisor.wait`
        await supervisor.ready()
        notify("READY=1", f"STATUS={len(supervisor.children())} processes, router at {supervisor.address}")
