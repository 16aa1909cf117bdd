"""A mesh, or one host of it, as a service: systemd is told how it is, and probes are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from gems_actors.config import MetricsConfig
from gems_actors.errors import GemsError
from gems_actors.ops.systemd import keep_watchdog, notify
from gems_actors.tasks import open_background

if TYPE_CHECKING:  # which opens one of these for `run_mesh`
    from gems_actors.supervision.supervisor import Supervisor


@asynccontextmanager
async def open_service(supervisor: Supervisor, settings: MetricsConfig) -> AsyncIterator[None]:
    """Tell of a supervisor while the block runs; leaving says that it ends.

    Raises:
        AddressInUseError, ConfigError: as `open_monitor`.
    """
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(open_background())
        nursery.start_soon(keep_watchdog)
        nursery.start_soon(_tell_when_ready, supervisor)
        if settings.address is not None:
            from gems_actors.ops.http_probes import open_monitor  # h11 need not be read where nobody asks

            await stack.enter_async_context(open_monitor(supervisor, settings.address))
        try:
            yield
        finally:
            notify("STOPPING=1", "STATUS=draining")


async def _tell_when_ready(supervisor: Supervisor) -> None:
    with suppress(GemsError):  # whoever waits for the supervisor says it
        await supervisor.ready()
        notify("READY=1", f"STATUS={len(supervisor.children())} processes, router at {supervisor.address}")
