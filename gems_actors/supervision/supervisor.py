"""Starts the processes of a mesh, restarts them, scales them and shuts them down.

The decisions are made elsewhere: `restart_policy` says what follows when a process ends unexpectedly, `autoscaling` how
many actors a role needs. The `zygote` forks the processes. The supervisor is also an actor of its mesh, in
`control_actor`. As an agent it does the same on a further host, for a router that runs elsewhere and may come and go.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
import trio

from gems_actors.backends.proxies import check_network
from gems_actors.config import MESH_BLOBS, MeshConfig
from gems_actors.errors import ConfigError, GemsError, MeshRefusedError, RequestError, SupervisorError
from gems_actors.roles import OPTIONAL_ROLES
from gems_actors.supervision.autoscaling import AUTOSCALE_PERIOD_S, RoleAutoscaler, load_of
from gems_actors.supervision.control_actor import ROUTER_TIMEOUT_S, Membership
from gems_actors.supervision.restart_policy import GiveUp, RestartPolicy
from gems_actors.supervision.runtime_dir import check_platform, claim_runtime_dir
from gems_actors.supervision.seats import SERVERS, Child, Seats, parts_of
from gems_actors.supervision.server_watch import ServerWatch
from gems_actors.supervision.zygote_client import KILL_WAIT_S, ZygoteKeeper
from gems_actors.supervision.zygote_process import ZygoteProcess
from gems_actors.tasks import open_background
from protocol.messages import MeshStatus, ReadStatus, ReportLoss

RUN_ROLE = "gems_actors.supervision.child_main:run_role"

_log = structlog.get_logger()


class Supervisor:
    """The processes of one mesh, or of one of its hosts; made by `open_supervisor` and `open_agent`."""

    def __init__(
        self,
        config: MeshConfig,
        entry: str,
        *,
        router: str | None = None,
        name: str = "supervisor",
        zygote: ZygoteProcess | None = None,
    ) -> None:
        self.address = config.local_address if router is None else router
        self.stopped = trio.Event()
        """The mesh was asked to stop, or the supervisor gave up: the context must be left."""
        self._config = config
        servers = SERVERS if config.blobs == MESH_BLOBS else SERVERS[:1]
        own_servers = servers if router is None else ()
        self._roles = (*own_servers, *config.start_order)
        self._stop_order = (*config.stop_order, *((server,) for server in reversed(own_servers)))
        policy = RestartPolicy(config.supervisor)
        unresponsive_s = config.supervisor.unresponsive_s
        self._zygotes = ZygoteKeeper(policy, self._give_up, unresponsive_s=unresponsive_s, first=zygote)
        self._seats = Seats(
            config, self.address, entry, self._zygotes, policy, report_dead=self._report_dead, give_up=self._give_up
        )
        self._failure: GemsError | None = None
        self._nursery: trio.Nursery
        self._is_open = trio.Event()
        self._is_killed = trio.Event()
        self._membership = Membership(name, is_agent=router is not None)
        self._watch = ServerWatch(
            config,
            lambda: [seat for role in servers for seat in self._seats.of_role(role)],
            responded_at=self._membership.served_at,
            kill=self._zygotes.signal,
            give_up=self._give_up,
        )

    async def ready(self) -> None:
        """Return when every expected actor accepts requests.

        Raises:
            SupervisorError: the mesh ended first.
            ConfigError: an actor cannot run with this configuration.
        """
        while not self.stopped.is_set():
            with trio.move_on_after(ROUTER_TIMEOUT_S):
                await self._membership.joined.wait()
                async with self._membership.mesh.events("mesh") as events:
                    while not await self._are_all_registered():
                        await events.receive()
                return
        raise self._failure or SupervisorError("the mesh was stopped before all of its actors were ready")

    async def wait(self) -> None:
        """Return when the mesh was asked to stop.

        Raises:
            SupervisorError: the supervisor gave up.
            ConfigError: an actor cannot run with this configuration.
        """
        await self.stopped.wait()
        if self._failure is not None:
            raise self._failure

    async def read_status(self) -> MeshStatus:
        """Return the router's table, once the supervisor has joined the mesh.

        Raises:
            RequestError: the router did not answer.
        """
        await self._membership.joined.wait()
        return await self._membership.mesh.ask(ReadStatus())

    def stop(self) -> None:
        """Request a graceful shutdown, which happens when the context is left."""
        self.stopped.set()

    def stop_now(self) -> None:
        """Kill every process at once, also while the context is being left."""
        self.stopped.set()
        self._is_killed.set()

    async def resize(self, role: str, count: int) -> tuple[int, int]:
        """Change the number of actors of a role, and return it before and after; surplus actors drain.

        Raises:
            ConfigError: no such role, or a number that it cannot have.
            SupervisorError: the mesh is stopping.
        """
        _check_count(self._config, role, count)
        if self.stopped.is_set():
            raise SupervisorError("the mesh is about to end")
        before = 0
        for part in parts_of(role, self._config):
            staying = self._seats.staying(part)
            for seat in staying[count:]:
                self._seats.dismiss(seat)
            taken = {seat.number for seat in staying}
            free = (number for number in range(1, count + 1) if number not in taken)
            for number in [*free][: max(0, count - len(staying))]:
                self._seats.add(role, part, number, is_extra=True)
            before = len(staying)
        _log.info("role_scaled", scaled_role=role, before=before, after=count)
        await trio.lowlevel.checkpoint()
        return before, count

    def restarts(self) -> Mapping[str, int]:
        """Return how many processes ended unexpectedly since the start, by role."""
        return self._seats.restarts

    def children(self) -> tuple[Child, ...]:
        """Return the running role processes in start order."""
        return self._seats.children()

    # ----------------------------------------------------------------------------------------- opening and closing

    async def run(self) -> None:
        """Hold the tasks that keep the mesh alive; they survive the caller's cancellation until `close` is done."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self._seats.run)
                self._nursery.start_soon(self._zygotes.run)
                self._nursery.start_soon(self._join_mesh)
                self._nursery.start_soon(self._kill_on_request)
                self._nursery.start_soon(self._autoscale)
                self._nursery.start_soon(self._watch.run)
                self._is_open.set()

    async def start(self) -> None:
        """Start every process, servers before roles; an agent first waits for its router."""
        await self._is_open.wait()
        if "router" not in self._roles:
            await self._membership.is_decided.wait()  # without a router a role would end and be restarted repeatedly
            if self.stopped.is_set():
                return await self.wait()
        for role in self._roles:
            count = self._count_of(role)
            for number, part in itertools.product(range(1, count + 1), parts_of(role, self._config) if count else ()):
                await self._seats.add(role, part, number).is_filled.wait()
                if self.stopped.is_set():
                    return await self.wait()

    def _count_of(self, role: str) -> int:
        config = self._config
        return config.router.count if role == "router" else 1 if role == "blobs" else config.role(role).count

    async def close(self) -> None:
        """Stop every process, those that ask others first: each has the grace period to drain, then it is killed."""
        self.stopped.set()
        with trio.CancelScope(shield=True):
            await self._is_open.wait()
            for roles in self._stop_order:
                if "router" in roles:
                    await self._membership.leave()
                seats = [seat for role in roles for seat in self._seats.of_role(role)]
                for seat in seats:
                    self._seats.dismiss(seat)
                with trio.move_on_after(self._config.supervisor.grace_s + KILL_WAIT_S):
                    for seat in seats:
                        await seat.is_gone.wait()
            await self._membership.leave()
            await self._zygotes.close()
            if children := self.children():
                _log.error("processes_left_behind", names=[child.name for child in children])
            self._nursery.cancel_scope.cancel()

    async def _kill_on_request(self) -> None:
        await self._is_killed.wait()
        self._membership.scope.cancel()
        await self._seats.kill_all()

    async def _autoscale(self) -> None:
        """Keep the number of actors of each role with a `max` at what its queue needs."""
        scalers = {
            role: RoleAutoscaler(settings) for role, settings in self._config.roles.items() if settings.max is not None
        }
        await self._membership.joined.wait()
        while scalers and not self.stopped.is_set():
            await trio.sleep(AUTOSCALE_PERIOD_S)
            with suppress(RequestError):
                found = {role.role: role for role in (await self._membership.mesh.ask(ReadStatus())).roles}
                for role, scaler in scalers.items():
                    actors = len(self._seats.staying(role))
                    count = scaler.decide(trio.current_time(), load_of(found.get(role), actors))
                    if count != actors and not self.stopped.is_set():
                        await self.resize(role, count)

    # ----------------------------------------------------------------------------------------- failures

    async def _report_dead(self, name: str, how: str) -> None:
        """Have the router requeue the requests of a dead actor now, not only after the heartbeat timeout."""
        if self._membership.joined.is_set():
            with trio.move_on_after(ROUTER_TIMEOUT_S), suppress(GemsError):  # the timeout is the fallback
                await self._membership.mesh.ask(ReportLoss(name=name, how=how))

    async def _are_all_registered(self) -> bool:
        status = await self._membership.mesh.ask(ReadStatus())
        registered = {actor.name for role in status.roles for actor in role.actors if actor.capacity}
        return self._membership.name in registered and self._seats.are_all_in(registered)

    def _give_up(self, decision: GiveUp) -> None:
        self._fail((ConfigError if decision.is_final_exit else SupervisorError)(decision.reason))

    def _fail(self, error: GemsError) -> None:
        self._failure = self._failure or error
        self.stopped.set()
        self._seats.release_waiters()

    async def _join_mesh(self) -> None:
        try:
            await self._membership.serve(self, self.address, self._config)
        except MeshRefusedError as error:
            self._fail(error)
        except GemsError as error:
            self._fail(SupervisorError(f"supervisor: cannot join its own mesh: {error}"))


@asynccontextmanager
async def open_supervisor(
    config: MeshConfig, *, entry: str = RUN_ROLE, zygote: ZygoteProcess | None = None
) -> AsyncIterator[Supervisor]:
    """Start a mesh, and yield its supervisor once every process has started; `ready` waits until they accept requests.

    Leaving drains the mesh, those that ask others first, also on cancellation, and leaves no process behind. `entry` is
    the `module:function` that each process runs, with the parameters of `child_main.run_role`. `zygote` is a fork
    server that was started ahead, which this takes over.

    Raises:
        AddressInUseError: another mesh of this host holds the runtime directory or the port.
        ConfigError: the mesh cannot run with this configuration, or not on this operating system.
        SupervisorError: the processes do not stay alive.
    """
    _check(config)
    with claim_runtime_dir(config):
        async with _keeping(Supervisor(config, entry, zygote=zygote)) as supervisor:
            yield supervisor


@asynccontextmanager
async def open_agent(config: MeshConfig, router: str, name: str, *, entry: str = RUN_ROLE) -> AsyncIterator[Supervisor]:
    """Start the roles of a configuration on this host for a router elsewhere, as soon as the router answers.

    `roles` of the configuration give the number of actors of each role; its `router` table is ignored. `name` is that
    of this host in the mesh.

    Raises:
        ConfigError: the roles cannot run with this configuration, or not on this operating system.
        SupervisorError: the processes do not stay alive.
    """
    _check(config)
    async with _keeping(Supervisor(config, entry, router=router, name=name)) as supervisor:
        yield supervisor


@asynccontextmanager
async def _keeping(supervisor: Supervisor) -> AsyncIterator[Supervisor]:
    async with open_background() as nursery:
        nursery.start_soon(supervisor.run)
        try:
            await supervisor.start()
            yield supervisor
        finally:
            await supervisor.close()


def _check(config: MeshConfig) -> None:
    check_platform()
    check_network(config)
    for role, settings in config.roles.items():
        _check_count(config, role, settings.count)


def _check_count(config: MeshConfig, role: str, count: int) -> None:
    spec = config.role_specs.get(role)
    if spec is None:
        raise ConfigError(f"roles: expected one of {', '.join(config.role_specs)}, got {role!r}")
    if spec.sharded and count > 1:
        raise ConfigError(f"roles.{role}.count: expected at most 1, because one process owns the log, got {count}")
    if role in OPTIONAL_ROLES and count > 1:
        raise ConfigError(f"roles.{role}.count: expected at most 1, because one process owns the address, got {count}")
