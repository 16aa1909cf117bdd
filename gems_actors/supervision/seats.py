"""The seats of a supervisor: each is held by one process after another until it is dismissed.

Memory is played by one actor per shard, every other role by interchangeable actors.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Set
from typing import NamedTuple

import structlog
import trio

from gems_actors.config import MeshConfig
from gems_actors.os_process import describe_exit
from gems_actors.roles import OPTIONAL_ROLES
from gems_actors.shards import MEMORY_ROLE
from gems_actors.supervision.restart_policy import GiveUp, RestartPolicy
from gems_actors.supervision.zygote import Spawn
from gems_actors.supervision.zygote_client import KILL_WAIT_S, ChildProcess, ZygoteKeeper

SERVERS = ("router", "blobs")
"""Processes that are not actors, so that the router's table does not list them."""

_log = structlog.get_logger()


def parts_of(role: str, config: MeshConfig) -> list[str]:
    """Return the role names of the parts that each need an actor: memory's shards, else the role itself.

    Raises:
        ConfigError: the shards of the data folder cannot be read or written.
    """
    if role != MEMORY_ROLE:
        return [role]
    roles: list[str] = importlib.import_module("actors.memory_store.sharding").shard_roles(config)
    return roles


class Child(NamedTuple):
    """One role process, for the live view."""

    name: str
    role: str
    pid: int
    restarts: int


class Seat:
    """The seat of one actor of a role; every process that holds it gets its own name."""

    def __init__(self, role: str, part: str, number: int, *, is_extra: bool) -> None:
        self.role = role
        self.part = part
        """What its process plays: the role, or one shard of memory."""
        self.number = number
        self.is_extra = is_extra
        """It was added while the mesh ran; if its process cannot run, the mesh continues without it."""
        self.label = self.name = f"{part}-{number}"
        self.process: ChildProcess | None = None
        self.restarts = 0
        self.is_filled = trio.Event()
        """Its first process has started, or never will."""
        self.is_dismissed = trio.Event()
        """Its process must end and is not replaced."""
        self.is_gone = trio.Event()

    @property
    def pid(self) -> int | None:
        """Pid of its process; None while no process is running."""
        return None if self.process is None or self.process.ended.is_set() else self.process.pid


class Seats:
    """Keeps the seats of one supervisor filled; `run` must run meanwhile."""

    def __init__(
        self,
        config: MeshConfig,
        router: str,
        entry: str,
        zygotes: ZygoteKeeper,
        policy: RestartPolicy,
        *,
        report_dead: Callable[[str, str], Awaitable[None]],
        give_up: Callable[[GiveUp], None],
    ) -> None:
        """Start without seats.

        `router` is the address that actors connect to, and `entry` the `module:function` that processes run.
        `report_dead` is called with the name of an actor whose process ended, and how; `give_up` when the mesh cannot
        go on.
        """
        self._config, self._router, self._entry = config, router, entry
        self._zygotes, self._policy = zygotes, policy
        self._report_dead, self._give_up = report_dead, give_up
        self.restarts: Counter[str] = Counter()
        """Processes that ended unexpectedly, by role."""
        self._seats: list[Seat] = []
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Hold the tasks of the seats until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def add(self, role: str, part: str, number: int, *, is_extra: bool = False) -> Seat:
        """Add a seat, and start its first process as soon as there is a zygote."""
        seat = Seat(role, part, number, is_extra=is_extra)
        self._seats.append(seat)
        self._nursery.start_soon(self._keep, seat)
        return seat

    def dismiss(self, seat: Seat) -> None:
        """Shut the seat's process down gracefully, and kill it if it is still running after the grace period."""
        if not seat.is_dismissed.is_set():
            seat.is_dismissed.set()
            self._zygotes.wake()
            self._nursery.start_soon(self._drain, seat)

    async def kill_all(self) -> None:
        """Kill every process, and the zygote with all of them if it does not follow."""
        seats = [*self._seats]
        for seat in seats:
            seat.is_dismissed.set()
            await self._zygotes.signal(seat.name, signal.SIGKILL)
        self._zygotes.wake()
        with trio.move_on_after(KILL_WAIT_S):
            for seat in seats:
                await seat.is_gone.wait()
            return
        self._zygotes.kill_all()

    def release_waiters(self) -> None:
        """Stop waiting for first processes: the mesh has failed."""
        for seat in self._seats:
            seat.is_filled.set()

    def of_role(self, role: str) -> list[Seat]:
        """Return the seats of a role, dismissed ones included."""
        return [seat for seat in self._seats if seat.role == role]

    def staying(self, part: str) -> list[Seat]:
        """Return the seats of a role or shard that are not dismissed."""
        return [seat for seat in self._seats if seat.part == part and not seat.is_dismissed.is_set()]

    def are_all_in(self, registered: Set[str]) -> bool:
        """Return whether every expected actor is running and registered; the router may still list a dead one."""
        actors = [seat for seat in self._seats if seat.role not in SERVERS and not seat.is_dismissed.is_set()]
        return all(seat.pid is not None and seat.name in registered for seat in actors)

    def children(self) -> tuple[Child, ...]:
        """Return the running role processes in start order."""
        return tuple(
            Child(seat.name, seat.role, pid, seat.restarts) for seat in self._seats if (pid := seat.pid) is not None
        )

    async def _keep(self, seat: Seat) -> None:
        """Start one process after another for the seat until it is dismissed or the supervisor gives up."""
        try:
            while (zygote := await self._zygotes.next(seat.is_dismissed)) is not None:
                seat.name = f"{seat.label}.{os.urandom(2).hex()}"
                started_at = trio.current_time()
                address = self._config.router_addresses[seat.number - 1] if seat.role == "router" else self._router
                seat.process = await zygote.spawn(
                    Spawn(name=seat.name, role=seat.part, address=address, config=self._config, entry=self._entry)
                )
                if seat.process.pid is not None:
                    seat.is_filled.set()
                await seat.process.ended.wait()
                if seat.is_dismissed.is_set():
                    return
                seat.restarts += 1
                self.restarts[seat.role] += 1
                # An end without a code went down with the zygote: that end is counted once, in ZygoteKeeper, and the
                # router that knew the actor is gone too.
                code = seat.process.code
                if code is not None and not await self._await_restart(seat, code, started_at):
                    return
        finally:
            self._seats.remove(seat)
            seat.is_filled.set()
            seat.is_gone.set()

    async def _await_restart(self, seat: Seat, code: int, started_at: float) -> bool:
        """Wait for the back-off before the next process of a seat; return False if it is not restarted."""
        if seat.role not in SERVERS:
            self._nursery.start_soon(self._report_dead, seat.name, describe_exit(code))
        now = trio.current_time()
        decision = self._policy.decide(seat.role, seat.label, code, lived_s=now - started_at, now_s=now)
        if not isinstance(decision, GiveUp):
            delay_s = decision.delay_s
            _log.warning("actor_ended", actor=seat.name, exit=describe_exit(code), restart_after_s=delay_s)
        elif seat.role in OPTIONAL_ROLES and not decision.is_final_exit:  # no fault of it ends a mesh that draws
            delay_s = self._config.supervisor.max_backoff_s
            _log.error("actor_ended_too_often", actor=seat.name, reason=decision.reason, restart_after_s=delay_s)
        else:
            if seat.is_extra and decision.is_final_exit:
                _log.error("actor_given_up", actor=seat.name, reason=decision.reason)
            else:
                self._give_up(decision)
            return False
        with trio.move_on_after(delay_s):
            await seat.is_dismissed.wait()
        return True

    async def _drain(self, seat: Seat) -> None:
        grace_s = self._config.supervisor.grace_s
        await self._zygotes.signal(seat.name, signal.SIGTERM)
        with trio.move_on_after(grace_s):
            await seat.is_gone.wait()
        if not seat.is_gone.is_set():
            _log.warning("actor_killed", actor=seat.name, grace_s=grace_s)
            await self._zygotes.signal(seat.name, signal.SIGKILL)
