"""Notices servers of a mesh that run but that nobody can reach, and has them replaced.

A process that ends is seen by its parent. One that hangs, was stopped, or lost its socket file still runs; only a peer
can tell. The supervisor is a peer of every router of its host, so it judges by its own membership.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import structlog
import trio

from gems_actors.addresses import split_addresses
from gems_actors.beats import seconds_to_beat
from gems_actors.config import MeshConfig
from gems_actors.files import os_reason
from gems_actors.locks import LockHeldError, hold_lock
from gems_actors.supervision.restart_policy import GiveUp
from gems_actors.supervision.seats import SERVERS, Seat

LOOK_S = 1.0
"""Longest time between two looks."""

_log = structlog.get_logger()


class Patience:
    """Counts the looks at which a server had not responded since the last one. Pure.

    Looks are counted, not seconds: time in which the supervisor itself stood still counts as one look.
    """

    def __init__(self, max_looks: int) -> None:
        self._max_looks = max_looks
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._looks: dict[str, int] = {}
        self._replaced: dict[str, int] = {}

    def is_exhausted(self, label: str, pid: int | None, responded_at: float) -> bool:
        """Return whether the process of a seat has not responded for too many looks; it counts as replaced then.

        `pid` is None while no process runs; `responded_at` grows with every response, to whichever process.
        """
        old_pid, old_response = self._seen.get(label, (None, -math.inf))
        self._seen[label] = pid, responded_at
        if responded_at > old_response:
            self._replaced[label] = 0
        if pid is None or pid != old_pid or responded_at > old_response:
            self._looks[label] = 0
            return False
        self._looks[label] += 1
        if self._looks[label] < self._max_looks:
            return False
        self._looks[label] = 0
        self._replaced[label] = self._replaced.get(label, 0) + 1
        return True

    def replaced_in_a_row(self, label: str) -> int:
        """Return how many processes of a seat were replaced since one of them last responded."""
        return self._replaced.get(label, 0)


class ServerWatch:
    """Looks at the servers of a host; `run` must run meanwhile."""

    def __init__(
        self,
        config: MeshConfig,
        servers: Callable[[], list[Seat]],
        *,
        responded_at: Callable[[str], float],
        kill: Callable[[str, signal.Signals], Awaitable[None]],
        give_up: Callable[[GiveUp], None],
    ) -> None:
        """Start without a look.

        `servers` returns the seats of the servers that run here, `responded_at` the time at which the router at an
        address last treated the supervisor as a member, and `kill` signals a process by its name.
        """
        # A router is heard from once a heartbeat, so less than its own timeout says nothing.
        self._patience_s = max(config.supervisor.unresponsive_s, config.router.silence_s)
        self._period_s = min(LOOK_S, self._patience_s / 10)
        self._patience = Patience(math.ceil(self._patience_s / self._period_s))
        self._config, self._servers, self._responded_at = config, servers, responded_at
        self._kill, self._give_up = kill, give_up
        self._bound: dict[str, int] = {}
        """Process of each server whose socket file was seen."""
        self._missing: dict[str, int] = {}
        """Process of each server whose socket file was missing at the last look."""
        self._has_complained = False

    async def run(self) -> None:
        """Look at every server again and again until cancelled."""
        with ExitStack() as locks:
            while True:
                await trio.sleep(seconds_to_beat(self._period_s))
                for seat in self._servers():
                    if seat.role == "router":
                        await self._look(seat)
                    await self._look_at_socket(seat, locks)

    async def _look(self, seat: Seat) -> None:
        address = split_addresses(self._config.router_addresses[seat.number - 1])[0]
        if not self._patience.is_exhausted(seat.label, seat.pid, self._responded_at(address)):
            return
        count, limit = self._patience.replaced_in_a_row(seat.label), self._config.supervisor.max_restarts
        if count > limit:
            self._give_up(
                GiveUp(
                    f"{seat.label}: did not let the supervisor join, {count} processes in a row for "
                    f"{self._patience_s:g} s each, expected at most {limit}",
                    is_final_exit=False,
                )
            )
            return
        _log.error("router_unresponsive", router=seat.name, waited_s=self._patience_s)
        await self._kill(seat.name, signal.SIGKILL)

    async def _look_at_socket(self, seat: Seat, locks: ExitStack) -> None:
        """Replace a server whose socket file was removed, with the folder where that is gone too."""
        path, pid = self._socket_of(seat), seat.pid
        if path is None or pid is None:
            return
        if path.exists():
            self._bound[seat.label] = pid
            self._missing.pop(seat.label, None)
            return
        # Twice in a row: a server that replaces another one removes the file before it makes its own.
        if self._bound.get(seat.label) != pid or self._missing.get(seat.label) != pid:
            self._missing[seat.label] = pid
            return
        if self._restore_folder(locks):
            del self._bound[seat.label], self._missing[seat.label]
            _log.error("socket_file_lost", server=seat.name, path=str(path))
            await self._kill(seat.name, signal.SIGKILL)

    def _socket_of(self, seat: Seat) -> Path | None:
        config = self._config
        addresses = config.blob_addresses if seat.role == SERVERS[1] else (config.router_addresses[seat.number - 1],)
        first = split_addresses(addresses[0])[0]
        return Path(first.removeprefix("ipc://")) if first.startswith("ipc://") else None

    def _restore_folder(self, locks: ExitStack) -> bool:
        """Hold the runtime directory again if its lock was removed; return whether it can be used."""
        folder = self._config.runtime_path
        lock = folder / "mesh.lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not lock.exists():
                locks.enter_context(hold_lock(lock))
        except LockHeldError as error:
            self._give_up(
                GiveUp(f"{lock}: was removed, and another mesh uses the folder now: {error}", is_final_exit=True)
            )
            return False
        except OSError as error:
            if not self._has_complained:
                _log.error("runtime_dir_lost", folder=str(folder), reason=os_reason(error))
            self._has_complained = True
            return False
        self._has_complained = False
        return True
