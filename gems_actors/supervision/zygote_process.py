"""The process of a fork server, and the two ways to start it: as a new interpreter, and as a fork of this process.

A fork shares what this process has imported, which is most of what a short command costs, and imports the rest while
this process goes on. It is safe only while this process has one thread and neither a ZeroMQ context nor an event loop,
so it is for a command that has not begun yet.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from gems_actors.os_process import ending_at_stop_signals
from gems_actors.supervision import zygote
from gems_actors.supervision.zygote import Redirect, encode

_ONE_HEAP: Final = "MALLOC_ARENA_MAX"
"""One heap for all threads of a role: with glibc's heap per thread a busy verifier needs twice the memory."""
_M_ARENA_MAX: Final = -8
"""The same setting in mallopt(3), for a process that runs already."""


class _Process(Protocol):
    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    def wait(self) -> int: ...


class _Fork:
    """A fork of this process, with what the zygote's owner uses of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:  # not reaped, so the pid has not been reused
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


@dataclass(frozen=True, slots=True)
class ZygoteProcess:
    """A fork server that has just been started, and this side's ends of what connects it."""

    process: _Process
    control: socket.socket
    life: int
    """Reading end of a pipe whose writing end is held by every process of the mesh: it reads as closed when all have
    ended."""

    def redirect(self) -> None:
        """Have what it and its children write to standard output and error go to this process's standard error."""
        socket.send_fds(self.control, [encode(Redirect())], [2])

    def close(self) -> None:
        """Kill a process that nobody serves, and let go of it."""
        self.process.kill()
        self.process.wait()
        self.control.close()
        os.close(self.life)


def start_zygote() -> ZygoteProcess:
    """Start a fork server as a new interpreter.

    Raises:
        OSError: the system refuses it; nothing is left open.
    """
    with ExitStack() as on_failure, ExitStack() as theirs:
        ours, control, read, life = _connections(on_failure, theirs)
        arguments = (str(number) for number in (control.fileno(), life, os.getpid()))
        # Not trio's open_process, which forks from a thread: the kernel's death signal follows the thread that forked.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", zygote.__name__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a role prints is not output of the command
            pass_fds=(control.fileno(), life),
            start_new_session=True,
            env={_ONE_HEAP: "1", **os.environ},
        )
        on_failure.pop_all()
    return ZygoteProcess(process, ours, read)


@contextmanager
def forked_zygote() -> Iterator[ZygoteProcess | None]:
    """Fork a fork server for a supervisor that is started within the block, which takes it over.

    Yields None where the system refuses it or this process has other threads; the supervisor then starts one itself.
    """
    with ending_at_stop_signals():
        zygote.load_shared()
    started: ZygoteProcess | None = None
    if threading.active_count() == 1:
        with suppress(OSError):
            started = _fork_zygote()
    try:
        yield started
    finally:
        if started is not None and started.control.fileno() >= 0:
            started.close()


def _fork_zygote() -> ZygoteProcess:
    with ExitStack() as on_failure, ExitStack() as theirs:
        ours, control, read, life = _connections(on_failure, theirs)
        supervisor = os.getpid()
        sys.stdout.flush()  # what is buffered here is not for the fork to write
        sys.stderr.flush()
        # A signal between the fork and the child's own handlers must not run the handlers of this process.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _become_zygote(control.fileno(), life, supervisor, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        on_failure.pop_all()
    return ZygoteProcess(_Fork(pid), ours, read)


def _connections(on_failure: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket, int, int]:
    """Return both ends of the control connection and of the life pipe."""
    ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    on_failure.callback(ours.close)
    theirs.callback(control.close)
    read, life = os.pipe()
    on_failure.callback(os.close, read)
    theirs.callback(os.close, life)
    return ours, control, read, life


def _become_zygote(control: int, life: int, supervisor: int, mask: Iterable[int]) -> NoReturn:
    """Become what `start_zygote` starts, in a fork; never returns into the caller's code."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        low, high = sorted((control, life))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):  # signals that are ignored stay so, as in a new program
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if _ONE_HEAP not in os.environ:
            os.environ[_ONE_HEAP] = "1"
            with suppress(AttributeError):  # a C library without this setting
                ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
        code = zygote.serve(control, life, supervisor)
    except BaseException:  # the last frame of this process: nothing above could report it
        traceback.print_exc()
    finally:
        os._exit(code)
