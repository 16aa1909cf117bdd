"""The supervisor's side of the zygote: has it fork children, tracks them, and replaces it when it ends."""

from __future__ import annotations

import math
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog
import trio

from gems_actors.beats import seconds_to_beat
from gems_actors.files import os_reason
from gems_actors.os_process import EXIT_NO_FORK, SHORTAGES, describe_exit
from gems_actors.supervision.restart_policy import GiveUp, RestartPolicy
from gems_actors.supervision.zygote import (
    MAX_MESSAGE_BYTES,
    Exited,
    Kill,
    Ping,
    Pong,
    Spawn,
    Spawned,
    decode_report,
    encode,
)
from gems_actors.supervision.zygote_process import ZygoteProcess, start_zygote
from gems_actors.tasks import open_background

KILL_WAIT_S = 2.0
"""How long the kernel may take to carry out a SIGKILL before a process counts as left behind."""

_PING_S = 3.0
"""Longest time between two pings of the zygote."""
_START_PATIENCE = 10
"""How many times longer than later on a zygote may take for its first response: its imports may come from a slow file
system."""
_log = structlog.get_logger()


class ChildProcess:
    """One child of the zygote, as seen by the supervisor."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.code: int | None = None
        """None while it runs, and if it died together with the zygote."""
        self.is_decided = trio.Event()
        """Its pid is known, or it was never forked."""
        self.ended = trio.Event()

    def end(self, code: int | None) -> None:
        """Record that it ended, and its exit code."""
        self.code = code
        self.is_decided.set()
        self.ended.set()


class Zygote:
    """A fork server that forks children on request; `serve` must run meanwhile, and closes it in the end."""

    def __init__(self, process: ZygoteProcess) -> None:
        self._process, self._life = process.process, process.life
        self._socket = trio.socket.from_stdlib_socket(process.control)
        self._sending = trio.Lock()
        self._pings: deque[trio.Event] = deque()
        """Pings without a response, in the order in which they were sent."""
        self._children: dict[str, ChildProcess] = {}
        self.pid = self._process.pid
        self.is_lost = False
        self.gone = trio.Event()
        """The zygote and everything it forked have ended; the kernel may still be cleaning up after them."""

    async def spawn(self, command: Spawn) -> ChildProcess:
        """Return a new child once it was forked, or once it is certain that it will not be."""
        child = ChildProcess()
        if self.is_lost:
            child.end(None)
        else:
            self._children[command.name] = child
            await self._send(command)
        await child.is_decided.wait()
        return child

    async def signal(self, name: str, number: signal.Signals, *, group: bool = False) -> None:
        """Signal a child by name; only the zygote knows whether its pid is still its own."""
        await self._send(Kill(name=name, signal=number, group=group))

    async def ping(self) -> None:
        """Return when the zygote has carried out every earlier command."""
        answered = trio.Event()
        self._pings.append(answered)
        await self._send(Ping())
        await answered.wait()

    async def serve(self) -> int:
        """Track the children until they and the zygote have ended, and return the zygote's exit code."""
        try:
            with suppress(ConnectionResetError):  # it ended with a command unread
                while data := await self._socket.recv(MAX_MESSAGE_BYTES):
                    self._apply(decode_report(data))
            self.is_lost = True
            with trio.move_on_after(KILL_WAIT_S):  # a grandchild that kept the pipe must not block us for ever
                await trio.lowlevel.wait_readable(self._life)
            self._process.kill()
            return self._process.wait()
        finally:
            self.is_lost = True
            self._process.kill()
            self._process.wait()
            for child in self._children.values():
                child.end(None)
            with trio.CancelScope(shield=True):
                async with self._sending:  # waits for a send in progress, which is about to fail
                    self._socket.close()
            trio.lowlevel.notify_closing(self._life)
            os.close(self._life)
            self.gone.set()

    def release(self) -> None:
        """Have the zygote end, and with it every remaining child."""
        if not self.is_lost:
            with suppress(OSError):  # it has just ended by itself
                self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Kill the zygote; the kernel kills its children."""
        self._process.kill()

    async def _send(self, command: Spawn | Kill | Ping) -> None:
        """Send a command; they arrive in the order in which this is called."""
        with trio.CancelScope(shield=True):  # cancelled midway, a spawn could leave a child without an owner
            async with self._sending:
                if not self.is_lost:
                    with suppress(BrokenPipeError, ConnectionResetError):  # it ended, as `serve` is about to notice
                        await self._socket.send(encode(command))

    def _apply(self, report: Spawned | Exited | Pong) -> None:
        match report:
            case Pong():
                self._pings.popleft().set()
            case Spawned():
                child = self._children[report.name]
                child.pid = report.pid
                child.is_decided.set()
            case Exited():
                self._children.pop(report.name).end(report.code)


class ZygoteKeeper:
    """Keeps a zygote running, one after another."""

    def __init__(
        self,
        policy: RestartPolicy,
        give_up: Callable[[GiveUp], None],
        *,
        unresponsive_s: float,
        first: ZygoteProcess | None = None,
    ) -> None:
        """Start without a zygote; `run` starts the first, or takes over one that was started already.

        `give_up` is called if one that ended is not replaced. One that does not respond for `unresponsive_s` is killed.
        """
        self._first = first
        self.current: Zygote | None = None
        self._unresponsive_s = unresponsive_s
        self._policy = policy
        self._give_up = give_up
        self._changed = trio.Event()
        self._is_closing = trio.Event()

    async def run(self) -> None:
        """Start zygotes until closed, or until the policy gives up."""
        while not self._is_closing.is_set():
            started_at = trio.current_time()
            try:
                self.current = self._open()
            except OSError as error:
                if error.errno not in SHORTAGES:
                    self._give_up(GiveUp(f"zygote: cannot be started: {os_reason(error)}", is_final_exit=False))
                    return
                _log.warning("zygote_refused_by_system", reason=os_reason(error))
                code = EXIT_NO_FORK
            else:
                self.wake()
                async with open_background() as nursery:
                    nursery.start_soon(self._watch, self.current)
                    code = await self.current.serve()
            if self._is_closing.is_set():
                return
            now = trio.current_time()
            decision = self._policy.decide("zygote", "zygote", code, lived_s=now - started_at, now_s=now)
            if isinstance(decision, GiveUp):
                self._give_up(decision)
                return
            _log.warning("zygote_ended", exit=describe_exit(code), restart_after_s=decision.delay_s)
            with trio.move_on_after(decision.delay_s):
                await self._is_closing.wait()

    def _open(self) -> Zygote:
        if self._first is None:
            return Zygote(start_zygote())
        first, self._first = self._first, None
        first.redirect()
        return Zygote(first)

    async def _watch(self, zygote: Zygote) -> None:
        """Kill a zygote that was stopped or hangs: nobody else would start what ends meanwhile."""
        patience_s = _START_PATIENCE * self._unresponsive_s
        period_s = min(_PING_S, self._unresponsive_s / 10)
        while True:
            async with open_background() as nursery:
                answered = trio.Event()
                nursery.start_soon(self._ping, zygote, answered)
                # Many short waits: time in which this process itself stood still counts as one of them.
                for _ in range(math.ceil(patience_s / period_s)):
                    with trio.move_on_after(period_s):
                        await answered.wait()
                    if answered.is_set():
                        break
                else:
                    _log.error("zygote_unresponsive", waited_s=patience_s)
                    zygote.kill()
                    return
            patience_s = self._unresponsive_s
            await trio.sleep(seconds_to_beat(period_s))

    async def _ping(self, zygote: Zygote, answered: trio.Event) -> None:
        await zygote.ping()
        answered.set()

    async def next(self, is_unwanted: trio.Event) -> Zygote | None:
        """Return a running zygote once there is one; None once it is unwanted, which is checked after each `wake`."""
        while not is_unwanted.is_set():
            if self.current is not None and not self.current.is_lost:
                return self.current
            await self._changed.wait()
        return None

    def wake(self) -> None:
        """Have the tasks that wait for a zygote check again whether one runs, and whether they still want it."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a child by name, and with SIGKILL its whole process group; ignored if it has ended."""
        if self.current is not None:
            await self.current.signal(name, number, group=number == signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill a zygote that does not respond; the kernel kills its children."""
        if self.current is not None:
            self.current.kill()

    async def close(self) -> None:
        """Have the zygote end, and return when it and all its children have ended, or once the kernel had time to."""
        self._is_closing.set()
        if self.current is not None:
            for end in (self.current.release, self.current.kill):
                end()
                with trio.move_on_after(KILL_WAIT_S):
                    await self.current.gone.wait()
                    return
