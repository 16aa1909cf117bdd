"""Keeps one engine process running and sends it requests; imports no torch.

When an engine dies, it is restarted and its requests are replayed in order. Requests in the failing batch then run
alone; one that crashes a second engine is rejected as poisoned.
"""

from __future__ import annotations

import array
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

from gems_actors.backends.diffusion import engine_messages as m
from gems_actors.errors import BackendError, ConfigError, PoisonedError, RefusedError, RequestError
from gems_actors.os_process import describe_exit
from gems_actors.tasks import open_background

ENGINE_MODULE: Final = "gems_actors.backends.diffusion.engine_process"
_MAX_CRASHES: Final = 2
_KILL_WAIT_S: Final = 10.0

_log = structlog.get_logger()


@dataclass(slots=True)
class DrawnPixels:
    """A picture drawn by the engine."""

    finished: m.Finished
    memory: mmap.mmap
    """Pixels as (height, width, channels) bytes; the caller closes it."""


@dataclass(slots=True)
class _Pending:
    """A request in flight."""

    draw: m.Draw
    memory: int | None = None
    """Descriptor of the pixels of its references."""
    answered: trio.Event = field(default_factory=trio.Event)
    answer: DrawnPixels | RequestError | None = None
    crashes: int = 0


class EngineHost:
    """One engine, across restarts of its process."""

    def __init__(
        self,
        load: m.Load,
        timeout_s: float = math.inf,
        *,
        on_note: Callable[[str], None] = lambda _: None,
        on_found: Callable[[int], None] = lambda _: None,
        module: str = ENGINE_MODULE,
    ) -> None:
        """Prepare an engine; `run` starts it.

        Args:
            load: pipeline, device and options of the engine.
            timeout_s: seconds after which an engine that has work and sends no report is replaced.
            on_note: called with progress notes while the engine starts, and with an empty text once it is ready.
            on_found: called with the number of GPUs of this host.
            module: Python module that runs as the engine's process.
        """
        self.totals = m.Totals()
        self.restarts = 0
        self.capacity = 0
        """Requests that the engine handles at once; 0 before it is first ready."""
        self.can_edit = False
        """Whether the engine draws from pictures; false before it is first ready."""
        self.redraws = False
        """Whether it does so by image to image; false before it is first ready."""
        self.pid = 0
        self.in_forward: tuple[int, ...] = ()
        """Ids of the requests in the engine's current forward."""
        self._load, self._timeout_s, self._module = load, timeout_s, module
        self._on_note, self._on_found = on_note, on_found
        self._pending: dict[int, _Pending] = {}
        self._watchdog = trio.CancelScope()
        self._outbox: trio.MemorySendChannel[m.Command] | None = None
        self._was_ready = False
        self._fault = ""
        self._last_id = 0

    @property
    def pixels_in_flight(self) -> int:
        """Pixels of all requests in flight, as a measure of load."""
        return sum(pending.draw.width_px * pending.draw.height_px for pending in self._pending.values())

    async def run(self, *, task_status: trio.TaskStatus[m.Ready] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep an engine running until cancelled; `started` reports the first one that is ready.

        Raises:
            ConfigError: the engine cannot run with these settings.
            BackendError: the engine ended before it was ready, or could not be restarted.
        """
        while True:
            code = await self._run_engine(task_status)
            task_status = trio.TASK_STATUS_IGNORED
            if not self._was_ready:
                raise BackendError(f"the engine ended before it was ready, {self._fault or describe_exit(code)}")
            self._outbox = None
            self.restarts += 1
            reason = self._fault or describe_exit(code)
            _log.warning("engine_ended", how=reason, in_flight=len(self._pending), in_forward=len(self.in_forward))
            self._blame(reason)

    async def draw(self, draw: m.Draw, memory: int | None = None) -> DrawnPixels:
        """Return the pixels of a picture; the id of the request is replaced by the next free one.

        Args:
            draw: the request.
            memory: descriptor of the pixels of its references, as `reference_memory` packs them; the caller closes it.

        Raises:
            RefusedError: the pipeline can never draw this request.
            PoisonedError: the request crashed two engines.
            BackendError: the request failed.
        """
        self._last_id += 1
        id_ = self._last_id
        pending = self._pending[id_] = _Pending(structs.replace(draw, id=id_), memory)
        self._send(pending.draw)
        if self._watchdog.deadline == math.inf:  # the engine was idle
            self._watchdog.deadline = self._watchdog_deadline()
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            self._send(m.Withdraw(id_))
            raise
        finally:
            del self._pending[id_]
        if isinstance(pending.answer, DrawnPixels):
            return pending.answer
        assert pending.answer is not None
        raise pending.answer

    def _send(self, command: m.Command) -> None:
        if self._outbox is not None:
            self._outbox.send_nowait(command)

    def _blame(self, reason: str) -> None:
        """Isolate the requests of the crashed forward, and reject those that were in two of them."""
        for id_ in self.in_forward:
            if (pending := self._pending.get(id_)) and not pending.answered.is_set():
                pending.crashes += 1
                pending.draw = structs.replace(pending.draw, is_alone=True)
                if pending.crashes >= _MAX_CRASHES:
                    self._answer(id_, PoisonedError(f"crashed {pending.crashes} engines, the last with {reason}"))
        self.in_forward = ()

    # ----------------------------------------------------------------------------------------- one engine process

    async def _run_engine(self, task_status: trio.TaskStatus[m.Ready]) -> int:
        """Start an engine process, serve it until it ends, and return its exit code."""
        self._was_ready, self._fault = False, ""
        self._on_note("starting an engine")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # Popen in this very thread: the kernel kills the child when the thread that started it ends.
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-P", "-m", self._module, str(theirs.fileno()), str(os.getpid())],
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
                        with trio.move_on_after(1.0):  # it has closed its end and is about to exit
                            await _wait_for(process)
            finally:
                process.kill()
                with trio.CancelScope(shield=True), trio.move_on_after(_KILL_WAIT_S):
                    await _wait_for(process)
        return process.returncode if process.returncode is not None else -9

    async def _serve(self, end: trio.socket.SocketType, task_status: trio.TaskStatus[m.Ready]) -> None:
        sender, receiver = trio.open_memory_channel[m.Command](math.inf)
        sender.send_nowait(self._load)
        inbox = m.Inbox()
        async with open_background() as nursery:
            nursery.start_soon(self._send_all, end, receiver)
            with trio.CancelScope() as self._watchdog, suppress(ConnectionResetError):
                while await _receive(end, inbox):
                    for body in inbox.bodies():
                        self._handle(m.decode_report(body), inbox, sender, task_status)
                    self._watchdog.deadline = self._watchdog_deadline()
        for descriptor in inbox.descriptors:  # of an incomplete message
            os.close(descriptor)
        if self._watchdog.cancelled_caught:
            _log.error("engine_hung", silent_s=self._timeout_s, in_flight=len(self._pending))

    async def _send_all(self, end: trio.socket.SocketType, commands: trio.MemoryReceiveChannel[m.Command]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the receiving side handles the end
            async for command in commands:
                data = memoryview(m.frame(command))
                if isinstance(command, m.Draw) and command.references:
                    pending = self._pending.get(command.id)
                    if pending is None or pending.memory is None:  # cancelled meanwhile, and its memory is closed
                        continue
                    data = data[await _send_descriptor(end, data, pending.memory) :]
                while data:
                    data = data[await end.send(data) :]

    def _watchdog_deadline(self) -> float:
        is_working = self._outbox is not None and bool(self._pending)
        return trio.current_time() + self._timeout_s if is_working else math.inf

    def _handle(
        self,
        report: m.Report,
        inbox: m.Inbox,
        sender: trio.MemorySendChannel[m.Command],
        task_status: trio.TaskStatus[m.Ready],
    ) -> None:
        match report:
            case m.Progress(note=note):
                self._on_note(note)
            case m.Found(gpus=gpus):
                self._on_found(gpus)
            case m.Ready():
                self._outbox, self._was_ready = sender, True
                self.capacity, self.can_edit, self.redraws = report.capacity, report.can_edit, report.redraws
                self._on_note("")
                for pending in list(self._pending.values()):  # in order of arrival
                    sender.send_nowait(pending.draw)
                task_status.started(report)
            case m.Broken(reason=reason):  # after a restart, the settings are known to work
                raise BackendError(reason) if self.restarts else ConfigError(reason)
            case m.Fault(reason=reason):
                self._fault = reason
            case m.Begun(ids=ids):
                self.in_forward = ids
            case m.Totals():
                self.totals = report
            case m.Finished(id=id_):
                self._answer(id_, _map(report, inbox.descriptors.popleft()))
            case m.Unfinished(id=id_, reason=reason, is_final=is_final):
                self._answer(id_, RefusedError(reason) if is_final else BackendError(reason))

    def _answer(self, id_: int, answer: DrawnPixels | RequestError) -> None:
        pending = self._pending.get(id_)
        if pending is not None and not pending.answered.is_set():
            pending.answer = answer
            pending.answered.set()
        elif isinstance(answer, DrawnPixels):  # cancelled a moment ago
            answer.memory.close()


async def _receive(end: trio.socket.SocketType, inbox: m.Inbox) -> bool:
    """Put the next piece from the socket into the inbox; return false at its end."""
    data, ancillary, _, _ = await end.recvmsg(m.READ_BYTES, m.ANCILLARY_BYTES)
    inbox.put(data, ancillary)
    return bool(data)


async def _send_descriptor(end: trio.socket.SocketType, data: memoryview, descriptor: int) -> int:
    """Send the beginning of a message with a descriptor; return how many bytes were sent."""
    own = os.dup(descriptor)  # the request may be cancelled, and its memory closed, while the socket is full
    try:
        return await end.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [own]))])
    finally:
        os.close(own)


async def _wait_for(process: subprocess.Popen[bytes]) -> None:
    """Wait until a child has ended; its exit code is in `returncode`."""
    if process.poll() is not None:
        return
    descriptor = os.pidfd_open(process.pid)
    try:
        while process.poll() is None:
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def _map(finished: m.Finished, descriptor: int) -> DrawnPixels:
    try:
        size = finished.width_px * finished.height_px * finished.channels
        return DrawnPixels(finished, mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
