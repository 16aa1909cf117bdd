"""The supervisor's hold on the zygote: asks it for children, follows them, and replaces it when it is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import structlog
import trio

from gems_actors.os_process import describe_exit
from gems_actors.supervision.restart_policy import GiveUp, RestartRule
from gems_actors.supervision.zygote import MAX_MESSAGE_BYTES, Exited, Kill, Spawn, Spawned, decode_report, encode

KILL_WAIT_S = 2.0
"""What the kernel has to carry out a SIGKILL before we say that something is left behind."""

_log = structlog.get_logger()


class Forked:
    """One child of the zygote, as the supervisor knows it."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.code: int | None = None
        """None while it lives, and where it went down with the zygote."""
        self.settled = trio.Event()
        """Its pid is known, or it will never have one."""
        self.ended = trio.Event()

    def end(self, code: int | None) -> None:
        """Note how it ended."""
        self.code = code
        self.settled.set()
        self.ended.set()


class Zygote:
    """Starts the warm parent and asks it for children; `serve` must run meanwhile."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Every process of the mesh holds the writing end and none writes: when it reads as closed, all are gone.
        self._life, life = os.pipe()
        command = [
            sys.executable,
            "-P",
            "-m",
            "gems_actors.supervision.zygote",
            str(theirs.fileno()),
            str(life),
            str(os.getpid()),
        ]
        # Not trio's open_process, which forks from a thread: the kernel's death signal follows the thread that forked.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a role prints is no data of ours
            pass_fds=(theirs.fileno(), life),
            start_new_session=True,
            # One heap for all threads of a role: with glibc's one a thread a busy verifier holds twice the memory.
            env={"MALLOC_ARENA_MAX": "1", **os.environ},
        )
        theirs.close()
        os.close(life)
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._sending = trio.Lock()
        self._children: dict[str, Forked] = {}
        self.pid = self._process.pid
        self.is_lost = False
        self.gone = trio.Event()
        """The zygote has ended, and all that it ever forked; the kernel may still be clearing up after them."""

    async def spawn(self, command: Spawn) -> Forked:
        """Return a new child once it is there, or once it is clear that it never will be."""
        child = Forked()
        if self.is_lost:
            child.end(None)
        else:
            self._children[command.name] = child
            await self._send(command)
        await child.settled.wait()
        return child

    async def signal(self, name: str, number: signal.Signals, *, group: bool = False) -> None:
        """Signal a child by name; a pid may be another process's by now, and the zygote alone knows."""
        await self._send(Kill(name=name, signal=number, group=group))

    async def serve(self) -> int:
        """Follow the children until the zygote is gone with all of them, and return how it ended."""
        try:
            with suppress(ConnectionResetError):  # it died with a command unread
                while data := await self._socket.recv(MAX_MESSAGE_BYTES):
                    self._take(decode_report(data))
            self.is_lost = True
            with trio.move_on_after(KILL_WAIT_S):  # a grandchild that kept the pipe must not hold us up for ever
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
                async with self._sending:  # whoever is sending is about to see that nobody listens
                    self._socket.close()
            trio.lowlevel.notify_closing(self._life)
            os.close(self._life)
            self.gone.set()

    def release(self) -> None:
        """Let the zygote end, and with it every child that there still is."""
        if not self.is_lost:
            with suppress(OSError):  # it has just gone by itself
                self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Kill the zygote; the kernel kills its children."""
        self._process.kill()

    async def _send(self, command: Spawn | Kill) -> None:
        """Send a command; they arrive in the order in which this is called."""
        with trio.CancelScope(shield=True):  # the zygote always reads, and a child half asked for is nobody's
            async with self._sending:
                if not self.is_lost:
                    with suppress(BrokenPipeError, ConnectionResetError):  # it died, as `serve` is about to see
                        await self._socket.send(encode(command))

    def _take(self, report: Spawned | Exited) -> None:
        match report:
            case Spawned():
                child = self._children[report.name]
                child.pid = report.pid
                child.settled.set()
            case Exited():
                self._children.pop(report.name).end(report.code)


class ZygoteKeeper:
    """Has a living zygote at hand, one after another."""

    def __init__(self, rule: RestartRule, give_up: Callable[[GiveUp], None]) -> None:
        """Keep none yet; `run` starts the first.

        Args:
            rule: decides whether another zygote follows.
            give_up: is told once that none does.
        """
        self.current: Zygote | None = None
        self._rule = rule
        self._give_up = give_up
        self._changed = trio.Event()
        self._is_closing = trio.Event()

    async def run(self) -> None:
        """Start zygotes until closed, or until the rule says that no other shall follow."""
        while not self._is_closing.is_set():
            began = trio.current_time()
            try:
                self.current = Zygote()
            except OSError as error:
                self._give_up(GiveUp(f"zygote: cannot be started: {error.strerror}", is_final_exit=False))
                return
            self.wake()
            code = await self.current.serve()
            if self._is_closing.is_set():
                return
            now = trio.current_time()
            verdict = self._rule.decide("zygote", "zygote", code, lived_s=now - began, now_s=now)
            if isinstance(verdict, GiveUp):
                self._give_up(verdict)
                return
            _log.warning("zygote_ended", exit=describe_exit(code), restart_after_s=verdict.delay_s)
            with trio.move_on_after(verdict.delay_s):
                await self._is_closing.wait()

    async def next(self, is_unwanted: trio.Event) -> Zygote | None:
        """Return a zygote that lives, once there is one; None once it is unwanted, which `wake` makes known."""
        while not is_unwanted.is_set():
            if self.current is not None and not self.current.is_lost:
                return self.current
            await self._changed.wait()
        return None

    def wake(self) -> None:
        """Have those who wait for a zygote look again whether there is one, and whether they want it."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a child by name, and with SIGKILL its whole process group; where it has ended, nothing happens."""
        if self.current is not None:
            await self.current.signal(name, number, group=number == signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill the zygote, which does not answer; the kernel kills its children."""
        if self.current is not None:
            self.current.kill()

    async def close(self) -> None:
        """Let the zygote end, and return when it and all its children are gone, as far as the kernel is able."""
        self._is_closing.set()
        if self.current is not None:
            self.current.release()
            with trio.move_on_after(KILL_WAIT_S):
                await self.current.gone.wait()
                return
            self.kill_all()
            with trio.move_on_after(KILL_WAIT_S):
                await self.current.gone.wait()
