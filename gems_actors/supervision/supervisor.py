"""Starts the processes of a mesh, keeps them alive, and ends them.

It knows roles by name only. What follows when a process ends unasked is decided in `restarts`; forking is the
`zygote`'s. The supervisor is an actor of its own mesh, so that it can be asked for more of a role, or for the end. As
an agent it does the same on a further host, for a router that runs elsewhere and may come and go.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import structlog
import trio

from gems_actors.actor import Actor, Mesh, answers, serve_actor
from gems_actors.config import GROWING_ROLES, MESH_BLOBS, ROLES, MeshConfig
from gems_actors.errors import (
    ConfigError,
    GemsError,
    MeshRefusedError,
    RefusedError,
    RequestError,
    SupervisorError,
)
from gems_actors.os_process import describe_exit
from gems_actors.supervision.autoscaling import LOOK_S, RoleScale, load_of
from gems_actors.supervision.parts import parts_of
from gems_actors.supervision.restart_policy import GiveUp, RestartRule
from gems_actors.supervision.runtime_dir import claim_places
from gems_actors.supervision.service import open_service
from gems_actors.supervision.zygote import Spawn
from gems_actors.supervision.zygote_client import KILL_WAIT_S, Forked, ZygoteKeeper
from gems_actors.tasks import open_background
from protocol.identity import agent_role
from protocol.messages import MeshStatus, Noted, ReadStatus, ReportLoss, Scaled, ScaleRole, StopMesh

RUN_ROLE = "gems_actors.supervision.child_main:run_role"
_SERVERS = ("router", "blobs")
"""Processes that are no actors, which the router's table does not list."""
_LOOK_AGAIN_S = 1.0
"""How long at most to wait for word from a router that may be gone."""

_log = structlog.get_logger()


class Child(NamedTuple):
    """One role process, for the live view."""

    name: str
    role: str
    pid: int
    restarts: int


class _Seat:
    """A place for one actor of a role: every process that holds it has a name of its own."""

    def __init__(self, role: str, part: str, number: int, *, is_extra: bool) -> None:
        self.role = role
        self.part = part
        """What its process plays: the role, or a shard of memory."""
        self.number = number
        self.is_extra = is_extra
        """It was asked for while the mesh ran, which goes on without it where it cannot be."""
        self.place = self.name = f"{part}-{number}"
        self.process: Forked | None = None
        self.restarts = 0
        self.is_filled = trio.Event()
        """Its first process is there, or it will never have one."""
        self.is_dismissed = trio.Event()
        """The process shall end, and no other follow."""
        self.is_gone = trio.Event()


class Supervisor:
    """The processes of one mesh, or of one of its hosts; made by `open_supervisor` and `open_agent`."""

    def __init__(self, config: MeshConfig, entry: str, *, router: str | None = None, name: str = "supervisor") -> None:
        self.address = config.local_address if router is None else router
        self.stopped = trio.Event()
        """The mesh was asked to end, or the supervisor gave up: it is time to leave the context."""
        self._config, self._entry = config, entry
        servers = _SERVERS if config.blobs == MESH_BLOBS else _SERVERS[:1]
        self._roles = (*servers, *ROLES) if router is None else ROLES
        self._rule = RestartRule(config.supervisor)
        self._seats: list[_Seat] = []
        self._zygotes = ZygoteKeeper(self._rule, self._give_up)
        self._failure: GemsError | None = None
        self._nursery: trio.Nursery
        self._is_open = trio.Event()
        self._is_hurried = trio.Event()
        self._own = _OwnActor(name, is_agent=router is not None)

    async def ready(self) -> None:
        """Return when every actor that is wanted takes requests.

        Raises:
            SupervisorError: the mesh ends before that.
            ConfigError: an actor cannot run with this configuration.
        """
        while not self.stopped.is_set():
            with trio.move_on_after(_LOOK_AGAIN_S):
                await self._own.joined.wait()
                async with self._own.mesh.events("mesh") as events:
                    while not await self._are_all_registered():
                        await events.receive()
                return
        raise self._failure or SupervisorError("the mesh was stopped before all of its actors were ready")

    async def wait(self) -> None:
        """Return when the mesh was asked to end.

        Raises:
            SupervisorError: the supervisor gave up.
            ConfigError: an actor cannot run with this configuration.
        """
        await self.stopped.wait()
        if self._failure is not None:
            raise self._failure

    async def read_status(self) -> MeshStatus:
        """Return the router's table, once there is a router.

        Raises:
            RequestError: it was not answered.
        """
        await self._own.joined.wait()
        return await self._own.mesh.ask(ReadStatus())

    def stop(self) -> None:
        """Ask for the end; it comes, gently, when the context is left."""
        self.stopped.set()

    def stop_now(self) -> None:
        """Kill every process at once; also while the context is being left."""
        self.stopped.set()
        self._is_hurried.set()

    async def resize(self, role: str, count: int) -> tuple[int, int]:
        """Have another number of actors of a role, and return how many there were and will be; those too many drain.

        Raises:
            ConfigError: there is no such role, or it cannot have so many actors.
            SupervisorError: the mesh is about to end.
        """
        _check_count(role, count)
        if self.stopped.is_set():
            raise SupervisorError("the mesh is about to end")
        before = 0
        for part in parts_of(role, self._config):
            staying = [seat for seat in self._seats if seat.part == part and not seat.is_dismissed.is_set()]
            for seat in staying[count:]:
                self._dismiss(seat)
            taken = {seat.number for seat in staying}
            free = (number for number in range(1, count + 1) if number not in taken)
            for number in [*free][: max(0, count - len(staying))]:
                self._add_seat(role, part, number, is_extra=True)
            before = len(staying)
        _log.info("role_scaled", scaled_role=role, before=before, after=count)
        await trio.lowlevel.checkpoint()
        return before, count

    def children(self) -> tuple[Child, ...]:
        """Return the role processes that live, in the order of starting."""
        return tuple(
            Child(seat.name, seat.role, seat.process.pid, seat.restarts)
            for seat in self._seats
            if seat.process is not None and seat.process.pid is not None and not seat.process.ended.is_set()
        )

    # ----------------------------------------------------------------------------------------- opening and closing

    async def run(self) -> None:
        """Hold the tasks that keep the mesh alive; they outlive the caller's cancellation until `close` is done."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._zygotes.run)
                self._nursery.start_soon(self._serve_own_actor)
                self._nursery.start_soon(self._obey_hurry)
                self._nursery.start_soon(self._autoscale)
                self._is_open.set()

    async def start(self) -> None:
        """Start every process, servers before roles; where the router runs elsewhere, once it is there."""
        await self._is_open.wait()
        if "router" not in self._roles:
            await self._own.has_tried.wait()  # a role that finds no router would end and be started again, and again
            if self.stopped.is_set():
                return await self.wait()
        for role in self._roles:
            count = self._count_of(role)
            for number, part in itertools.product(range(1, count + 1), parts_of(role, self._config) if count else ()):
                await self._add_seat(role, part, number).is_filled.wait()
                if self.stopped.is_set():
                    return await self.wait()

    def _count_of(self, role: str) -> int:
        config = self._config
        return config.router.count if role == "router" else 1 if role == "blobs" else config.role(role).count

    async def close(self) -> None:
        """End every process in the opposite order of starting; each role has the grace to drain, then is killed."""
        self.stopped.set()
        with trio.CancelScope(shield=True):
            await self._is_open.wait()
            for role in reversed(self._roles):
                if role == "router":
                    await self._own.leave()
                seats = [seat for seat in self._seats if seat.role == role]
                for seat in seats:
                    self._dismiss(seat)
                with trio.move_on_after(self._config.supervisor.grace_s + KILL_WAIT_S):
                    for seat in seats:
                        await seat.is_gone.wait()
            await self._own.leave()
            await self._zygotes.close()
            if children := self.children():
                _log.error("processes_left_behind", names=[child.name for child in children])
            self._nursery.cancel_scope.cancel()

    async def _obey_hurry(self) -> None:
        await self._is_hurried.wait()
        seats = [*self._seats]
        for seat in seats:
            seat.is_dismissed.set()
            await self._zygotes.signal(seat.name, signal.SIGKILL)
        self._own.scope.cancel()
        self._zygotes.wake()
        with trio.move_on_after(KILL_WAIT_S):
            for seat in seats:
                await seat.is_gone.wait()
            return
        self._zygotes.kill_all()

    async def _autoscale(self) -> None:
        """Have as many actors of each role that may grow as what waits for it wants, until the end."""
        scales = {
            role: RoleScale(settings) for role in GROWING_ROLES if (settings := self._config.role(role)).max is not None
        }
        await self._own.joined.wait()
        while scales and not self.stopped.is_set():
            await trio.sleep(LOOK_S)
            with suppress(RequestError):
                found = {role.role: role for role in (await self._own.mesh.ask(ReadStatus())).roles}
                for role, scale in scales.items():
                    actors = sum(seat.role == role and not seat.is_dismissed.is_set() for seat in self._seats)
                    count = scale.decide(trio.current_time(), load_of(found.get(role), actors))
                    if count != actors and not self.stopped.is_set():
                        await self.resize(role, count)

    # ----------------------------------------------------------------------------------------- seats

    def _add_seat(self, role: str, part: str, number: int, *, is_extra: bool = False) -> _Seat:
        seat = _Seat(role, part, number, is_extra=is_extra)
        self._seats.append(seat)
        self._nursery.start_soon(self._keep, seat)
        return seat

    async def _keep(self, seat: _Seat) -> None:
        """Have the seat held by a process, one after another, until it is dismissed or the supervisor gives up."""
        try:
            while (zygote := await self._zygotes.next(seat.is_dismissed)) is not None:
                seat.name = f"{seat.place}.{os.urandom(2).hex()}"
                began = trio.current_time()
                address = self._config.router_addresses[seat.number - 1] if seat.role == "router" else self.address
                seat.process = await zygote.spawn(
                    Spawn(name=seat.name, role=seat.part, address=address, config=self._config, entry=self._entry)
                )
                if seat.process.pid is not None:
                    seat.is_filled.set()
                await seat.process.ended.wait()
                if seat.is_dismissed.is_set():
                    return
                seat.restarts += 1
                # What went down with the zygote is counted there, once, and the router that knew of it is gone too.
                if seat.process.code is not None and not await self._pause(seat, seat.process.code, began):
                    return
        finally:
            self._seats.remove(seat)
            seat.is_filled.set()
            seat.is_gone.set()

    async def _pause(self, seat: _Seat, code: int, began: float) -> bool:
        """Wait as long as the rule says before the next process of a seat; False where there shall be none."""
        if seat.role not in _SERVERS:
            self._nursery.start_soon(self._report_loss, seat.name)
        now = trio.current_time()
        verdict = self._rule.decide(seat.role, seat.place, code, lived_s=now - began, now_s=now)
        if isinstance(verdict, GiveUp):
            if seat.is_extra and verdict.is_final_exit:
                _log.error("actor_given_up", actor=seat.name, reason=verdict.reason)
            else:
                self._give_up(verdict)
            return False
        _log.warning("actor_ended", actor=seat.name, exit=describe_exit(code), restart_after_s=verdict.delay_s)
        with trio.move_on_after(verdict.delay_s):
            await seat.is_dismissed.wait()
        return True

    def _dismiss(self, seat: _Seat) -> None:
        """Have the seat's process drain, and killed where it does not in time."""
        if not seat.is_dismissed.is_set():
            seat.is_dismissed.set()
            self._zygotes.wake()
            self._nursery.start_soon(self._drain, seat)

    async def _drain(self, seat: _Seat) -> None:
        await self._zygotes.signal(seat.name, signal.SIGTERM)
        with trio.move_on_after(self._config.supervisor.grace_s):
            await seat.is_gone.wait()
        if not seat.is_gone.is_set():
            _log.warning("actor_killed", actor=seat.name, grace_s=self._config.supervisor.grace_s)
            await self._zygotes.signal(seat.name, signal.SIGKILL)

    async def _report_loss(self, name: str) -> None:
        """Have the router give what the lost actor held to others now, and not when it has been silent for long."""
        if self._own.joined.is_set():
            with trio.move_on_after(_LOOK_AGAIN_S), suppress(GemsError):  # the router finds out by itself, only later
                await self._own.mesh.ask(ReportLoss(name=name))

    async def _are_all_registered(self) -> bool:
        status = await self._own.mesh.ask(ReadStatus())
        registered = {actor.name for role in status.roles for actor in role.actors if actor.capacity}
        wanted = {seat.name for seat in self._seats if seat.role not in _SERVERS and not seat.is_dismissed.is_set()}
        return wanted | {self._own.name} <= registered

    def _give_up(self, verdict: GiveUp) -> None:
        self._fail((ConfigError if verdict.is_final_exit else SupervisorError)(verdict.reason))

    def _fail(self, error: GemsError) -> None:
        self._failure = self._failure or error
        self.stopped.set()
        for seat in self._seats:
            seat.is_filled.set()

    async def _serve_own_actor(self) -> None:
        try:
            await self._own.serve(self, self._config)
        except MeshRefusedError as error:
            self._fail(error)
        except GemsError as error:
            self._fail(SupervisorError(f"supervisor: cannot join its own mesh: {error}"))


class _OwnActor:
    """The supervisor's way into its mesh."""

    mesh: Mesh

    def __init__(self, name: str, *, is_agent: bool) -> None:
        self.name = name if is_agent else f"{name}.{os.urandom(2).hex()}"
        self.role = agent_role(name) if is_agent else SupervisorActor.role
        self._connect_within_s = math.inf if is_agent else 30.0
        self.scope = trio.CancelScope()
        self.joined = trio.Event()
        self.has_tried = trio.Event()
        """It has joined, or never will."""
        self._draining = trio.Event()
        self._left = trio.Event()

    async def serve(self, supervisor: Supervisor, config: MeshConfig) -> None:
        def join(mesh: Mesh) -> Actor:
            self.mesh = mesh
            self.joined.set()
            self.has_tried.set()
            return SupervisorActor(config, mesh, supervisor, self.role)

        try:
            with self.scope:
                await serve_actor(
                    join,
                    supervisor.address,
                    self.name,
                    draining=self._draining,
                    connect_within_s=self._connect_within_s,
                    security=config.security,
                )
        finally:
            self.has_tried.set()
            self._left.set()

    async def leave(self) -> None:
        """Take leave of a router that listens, and go without where it does not."""
        self._draining.set()
        if self.joined.is_set():
            with trio.move_on_after(_LOOK_AGAIN_S):
                await self._left.wait()
        self.scope.cancel()
        await self._left.wait()


class SupervisorActor(Actor):
    """Lets the mesh resize the roles of a host and ask for its end."""

    role = "supervisor"

    def __init__(self, config: MeshConfig, mesh: Mesh, supervisor: Supervisor, role: str) -> None:
        super().__init__(config, mesh)
        self.role = role  # an agent's is its own, so that the router can tell hosts apart
        self._supervisor = supervisor

    def figures(self) -> dict[str, float]:
        """Return how busy the host is: what runs or waits for a core, against its cores."""
        return {"host_load_share": os.getloadavg()[0] / (os.cpu_count() or 1)}

    @answers
    async def scale(self, request: ScaleRole) -> Scaled:
        """Have another number of actors of a role."""
        try:
            before, after = await self._supervisor.resize(request.scaled_role, request.count)
        except GemsError as error:
            raise RefusedError(str(error)) from error
        return Scaled(before=before, after=after)

    @answers
    async def stop(self, request: StopMesh) -> Noted:
        """Ask for the end of the mesh."""
        self._supervisor.stop()
        return Noted()


@asynccontextmanager
async def open_supervisor(config: MeshConfig, *, entry: str = RUN_ROLE) -> AsyncIterator[Supervisor]:
    """Start a mesh, and give its supervisor once every process is there; `ready` says when they can be asked.

    Leaving drains the mesh in the opposite order of starting, also on cancellation, and leaves no process behind.

    Args:
        config: of the mesh.
        entry: `module:function` that each process runs, with the meaning of `child_main.run_role`.

    Raises:
        AddressInUseError: another mesh of this host holds the runtime folder or the port.
        ConfigError: the mesh cannot run with this configuration.
        SupervisorError: the processes do not stay alive.
    """
    _check_count("memory", config.roles.memory.count)
    with claim_places(config):
        async with _keeping(Supervisor(config, entry)) as supervisor:
            yield supervisor


@asynccontextmanager
async def open_agent(config: MeshConfig, router: str, name: str, *, entry: str = RUN_ROLE) -> AsyncIterator[Supervisor]:
    """Start the roles of a configuration on this host for a router elsewhere, as soon as it is there.

    Args:
        config: its `roles` say how many of each; its `router` is not looked at.
        router: its address.
        name: of this host in the mesh.
        entry: as of `open_supervisor`.

    Raises:
        ConfigError: the roles cannot run with this configuration.
        SupervisorError: the processes do not stay alive.
    """
    _check_count("memory", config.roles.memory.count)
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


async def run_mesh(config: MeshConfig) -> None:
    """Run a mesh as a service until it is asked to end: SIGTERM or SIGINT drains it, a second one kills it.

    Raises:
        AddressInUseError, ConfigError, SupervisorError: as `open_supervisor` and `Supervisor.wait`.
    """
    supervisor: Supervisor | None = None
    life = trio.CancelScope()

    async def obey(signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            if life.cancel_called and supervisor is not None:
                supervisor.stop_now()
            life.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background() as nursery:
            nursery.start_soon(obey, signals)
            with life:
                async with open_supervisor(config) as supervisor, open_service(supervisor, config.metrics):
                    with suppress(SupervisorError):  # `wait` says it, and returns where the mesh was only asked to end
                        await supervisor.ready()
                        _log.info("mesh_ready", address=supervisor.address)
                    await supervisor.wait()


def _check_count(role: str, count: int) -> None:
    if role not in ROLES:
        raise ConfigError(f"roles: expected one of {', '.join(ROLES)}, got {role!r}")
    if role == "memory" and count > 1:
        raise ConfigError(f"roles.memory.count: expected 1 at most, for one process owns the log, got {count}")
