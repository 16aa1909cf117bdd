"""Keeps an engine child alive, and hands it requests; knows no torch.

What the engine held when it died is given to its successor, in the same order. Whoever was in the forward in which it
died goes alone from then on, so that a request that kills engines is found out, and fails at its second.
"""

from __future__ import annotations

import math
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio
from msgspec import structs

from gems_actors.backends.diffusion.engine_messages import (
    ANCILLARY_BYTES,
    READ_BYTES,
    Begun,
    Broken,
    Command,
    Draw,
    Fault,
    Finished,
    Found,
    Inbox,
    Load,
    Progress,
    Ready,
    Report,
    Totals,
    Unfinished,
    Withdraw,
    decode_report,
    frame,
)
from gems_actors.errors import BackendError, ConfigError, PoisonedError, RefusedError, RequestError
from gems_actors.os_process import describe_exit
from gems_actors.tasks import open_background

MODULE: Final = "gems_actors.backends.diffusion.engine_process"
_MAX_DEATHS: Final = 2
_KILL_WAIT_S: Final = 10.0

_log = structlog.get_logger()


@dataclass(slots=True)
class DrawnPixels:
    """A picture as the engine drew it."""

    finished: Finished
    memory: mmap.mmap
    """Of (height, width, 3) bytes; closed by whoever asked."""


@dataclass(slots=True)
class _Pending:
    """A request that is not answered."""

    draw: Draw
    answered: trio.Event = field(default_factory=trio.Event)
    answer: DrawnPixels | RequestError | None = None
    deaths: int = 0


class EngineHost:
    """One engine, whichever process it is just now."""

    def __init__(
        self,
        load: Load,
        timeout_s: float = math.inf,
        *,
        on_note: Callable[[str], None] = lambda _: None,
        on_found: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare an engine; `run` starts it.

        Args:
            load: what it is to draw with.
            timeout_s: an engine that has work and says nothing for so long hangs, and is replaced.
            on_note: is told what the engine does while it gets ready, and an empty text once it is.
            on_found: is told how many GPUs this host has.
        """
        self.totals = Totals()
        self.restarts = 0
        self.capacity = 0
        """How many requests it should be given at once; known once it is ready."""
        self.pid = 0
        self._load, self._timeout_s = load, timeout_s
        self._on_note, self._on_found = on_note, on_found
        self._pending: dict[int, _Pending] = {}
        self._begun: tuple[int, ...] = ()
        self._patience = trio.CancelScope()
        self._outbox: trio.MemorySendChannel[Command] | None = None
        self._was_ready = False
        self._fault = ""
        self._numbers = 0

    @property
    def pixels_in_flight(self) -> int:
        """Of all requests that are not answered: the measure of how busy it is."""
        return sum(pending.draw.width_px * pending.draw.height_px for pending in self._pending.values())

    async def run(self, *, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED) -> None:
        """Have an engine until cancelled; started once the first one is ready.

        Raises:
            ConfigError: it cannot run with these settings.
            BackendError: it ended before it was ready, or could not be started again.
        """
        while True:
            code = await self._live(task_status)
            task_status = trio.TASK_STATUS_IGNORED
            if not self._was_ready:
                raise BackendError(f"the engine ended before it was ready, {self._fault or describe_exit(code)}")
            self._outbox = None
            self.restarts += 1
            how = self._fault or describe_exit(code)
            _log.warning("engine_ended", how=how, in_hand=len(self._pending), in_forward=len(self._begun))
            self._blame(how)

    async def draw(self, draw: Draw) -> DrawnPixels:
        """Return the pixels of a picture; whatever number the request has, it gets one of its own.

        Raises:
            RefusedError: it can never be drawn; says why.
            PoisonedError: engines die of it.
            BackendError: it could not be drawn.
        """
        self._numbers += 1
        id_ = self._numbers
        pending = self._pending[id_] = _Pending(structs.replace(draw, id=id_))
        self._tell(pending.draw)
        if self._patience.deadline == math.inf:  # it was idle
            self._patience.deadline = self._give_up_at()
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            self._tell(Withdraw(id_))
            raise
        finally:
            del self._pending[id_]
        if isinstance(pending.answer, DrawnPixels):
            return pending.answer
        assert pending.answer is not None
        raise pending.answer

    def _tell(self, command: Command) -> None:
        if self._outbox is not None:
            self._outbox.send_nowait(command)

    def _blame(self, how: str) -> None:
        """Let those in whose forward the engine died go alone, and fail those that were in two of them."""
        for id_ in self._begun:
            if (pending := self._pending.get(id_)) and not pending.answered.is_set():
                pending.deaths += 1
                pending.draw = structs.replace(pending.draw, is_alone=True)
                if pending.deaths >= _MAX_DEATHS:
                    self._answer(id_, PoisonedError(f"took down {pending.deaths} engines, the last one {how}"))
        self._begun = ()

    # ----------------------------------------------------------------------------------------- one engine's life

    async def _live(self, task_status: trio.TaskStatus[Ready]) -> int:
        """Start an engine, serve it until it ends, and return its exit code."""
        self._was_ready, self._fault = False, ""
        self._on_note("starting an engine")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # Popen in this very thread: the kernel kills the child when the thread that started it ends.
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            theirs.close()
            self.pid = process.pid
            try:
                with trio.socket.fromfd(ours.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as end:
                    await self._serve(end, task_status)
                    if self._was_ready:
                        with trio.move_on_after(1.0):  # it has closed its end; let it say how it ended
                            await _wait_for(process)
            finally:
                process.kill()
                with trio.CancelScope(shield=True), trio.move_on_after(_KILL_WAIT_S):
                    await _wait_for(process)
        return process.returncode if process.returncode is not None else -9

    async def _serve(self, end: trio.socket.SocketType, task_status: trio.TaskStatus[Ready]) -> None:
        sender, receiver = trio.open_memory_channel[Command](math.inf)
        sender.send_nowait(self._load)
        inbox = Inbox()
        async with open_background() as nursery:
            nursery.start_soon(_send_all, end, receiver)
            with trio.CancelScope() as self._patience, suppress(ConnectionResetError):
                while True:
                    data, ancillary, _, _ = await end.recvmsg(READ_BYTES, ANCILLARY_BYTES)
                    if not data:
                        break
                    inbox.put(data, ancillary)
                    for body in inbox.bodies():
                        self._take(decode_report(body), inbox, sender, task_status)
                    self._patience.deadline = self._give_up_at()
        for descriptor in inbox.descriptors:  # of a message that was cut off
            os.close(descriptor)
        if self._patience.cancelled_caught:
            _log.error("engine_hangs", silent_s=self._timeout_s, in_hand=len(self._pending))

    def _give_up_at(self) -> float:
        is_working = self._outbox is not None and bool(self._pending)
        return trio.current_time() + self._timeout_s if is_working else math.inf

    def _take(
        self,
        report: Report,
        inbox: Inbox,
        sender: trio.MemorySendChannel[Command],
        task_status: trio.TaskStatus[Ready],
    ) -> None:
        match report:
            case Progress(note=note):
                self._on_note(note)
            case Found(gpus=gpus):
                self._on_found(gpus)
            case Ready():
                self._outbox, self._was_ready, self.capacity = sender, True, report.capacity
                self._on_note("")
                for pending in list(self._pending.values()):  # in the order in which they came
                    sender.send_nowait(pending.draw)
                task_status.started(report)
            case Broken(reason=reason):  # once it could be done with these settings, so they are not at fault
                raise BackendError(reason) if self.restarts else ConfigError(reason)
            case Fault(reason=reason):
                self._fault = reason
            case Begun(ids=ids):
                self._begun = ids
            case Totals():
                self.totals = report
            case Finished(id=id_):
                self._answer(id_, _map(report, inbox.descriptors.popleft()))
            case Unfinished(id=id_, reason=reason, is_final=is_final):
                self._answer(id_, RefusedError(reason) if is_final else BackendError(reason))

    def _answer(self, id_: int, answer: DrawnPixels | RequestError) -> None:
        pending = self._pending.get(id_)
        if pending is not None and not pending.answered.is_set():
            pending.answer = answer
            pending.answered.set()
        elif isinstance(answer, DrawnPixels):  # withdrawn a moment ago
            answer.memory.close()


async def _send_all(end: trio.socket.SocketType, commands: trio.MemoryReceiveChannel[Command]) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the reader sees the end too
        async for command in commands:
            data = memoryview(frame(command))
            while data:
                data = data[await end.send(data) :]


async def _wait_for(process: subprocess.Popen[bytes]) -> None:
    """Return when a child has ended; its code is in `returncode`."""
    if process.poll() is not None:
        return
    descriptor = os.pidfd_open(process.pid)
    try:
        while process.poll() is None:
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def _map(finished: Finished, descriptor: int) -> DrawnPixels:
    try:
        size = finished.width_px * finished.height_px * 3
        return DrawnPixels(finished, mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
