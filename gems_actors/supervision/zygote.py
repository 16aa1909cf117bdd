"""The fork server of all role processes: `python -P -m gems_actors.supervision.zygote`, started by `zygote_process`.

It imports once what every role needs, freezes the garbage collector and forks: a role starts in milliseconds and shares
the imported pages. Forking is safe only because nothing here creates a thread, a ZeroMQ context or an event loop. No
process is left behind: the kernel's death signal ends each child with the zygote, and the zygote with the supervisor.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import msgspec
from msgspec import Struct

from gems_actors.config import MeshConfig
from gems_actors.os_process import EXIT_CONFIG, EXIT_NO_FORK, die_with_parent, set_title
from gems_actors.roles import BUILT_IN_ROLES

_SHARED_MODULES = (
    "trio", "zmq", "PIL.Image", "protocol.codec", "gems_actors.actor", "gems_actors.backends.pictures",
    "gems_actors.backends.proxies", "gems_actors.blobs", "gems_actors.ops.log_setup", "gems_actors.transport.bind",
)  # fmt: skip
"""What a supervisor needs as well as the roles."""
_MODULES = ("gems_actors.supervision.child_main", "gems_actors.backends.storyboard")
MAX_MESSAGE_BYTES = 200_000
"""Less than the send buffer of a Unix socket, in which a message of SOCK_SEQPACKET must have room."""


class Spawn(Struct, frozen=True, tag=True):
    """Command: fork a child."""

    name: str
    role: str
    address: str
    config: MeshConfig
    entry: str
    """`module:function`, called with role, config, address and name; it returns the exit code."""


class Kill(Struct, frozen=True, tag=True):
    """Command: signal a child, or the child's whole process group; ignored if it has ended."""

    name: str
    signal: int
    group: bool


class Redirect(Struct, frozen=True, tag=True):
    """Command: write standard output and standard error to the file that comes with the message, here and in children.

    For a fork server that was started before its supervisor opened its log.
    """


class Ping(Struct, frozen=True, tag=True):
    """Command: show that commands are carried out."""


class Pong(Struct, frozen=True, tag=True):
    """Report: a ping was reached."""


class Spawned(Struct, frozen=True, tag=True):
    """Report: a child was forked."""

    name: str
    pid: int


class Exited(Struct, frozen=True, tag=True):
    """Report: a child has ended, and so has its whole process group."""

    name: str
    code: int
    """Exit code, or minus the number of the signal that killed it."""


encode = msgspec.msgpack.Encoder().encode
Command = Spawn | Kill | Redirect | Ping
decode_command: Callable[[bytes], Command] = msgspec.msgpack.Decoder(Command).decode
decode_report: Callable[[bytes], Spawned | Exited | Pong] = msgspec.msgpack.Decoder(Spawned | Exited | Pong).decode


class _ForkServer:
    """Forks, reaps and signals on command; one thread, one loop."""

    def __init__(self, control: socket.socket, life: int) -> None:
        self._control = control
        self._life = life
        self._pid = os.getpid()
        self._names: dict[int, str] = {}
        self._pids: dict[str, int] = {}
        self._woken, self._waker = os.pipe()
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written to the wakeup pipe

    def serve(self) -> None:
        """Carry out commands until the supervisor closes the connection."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            if self._control.fileno() in ready:
                data, files, *_ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 1)
                if not data:
                    return
                match decode_command(data):
                    case Spawn() as command:
                        self._spawn(command)
                    case Kill() as command:
                        self._kill(command)
                    case Redirect():
                        for stream in (1, 2):
                            os.dup2(files[0], stream)
                        os.close(files[0])
                    case Ping():
                        self._report(Pong())

    def _spawn(self, command: Spawn) -> None:
        # A signal between the fork and the child's own handlers must not run the zygote's handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            print(f"gems: {command.role}: cannot fork: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            self._report(Exited(name=command.name, code=EXIT_NO_FORK))
            return
        finally:
            if os.getpid() == self._pid:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        if pid == 0:
            self._become(command)
        self._names[pid], self._pids[command.name] = command.name, pid
        self._report(Spawned(name=command.name, pid=pid))

    def _kill(self, command: Kill) -> None:
        pid = self._pids.get(command.name)  # not reaped yet, so the pid has not been reused
        if pid is not None:
            if command.group:
                with suppress(ProcessLookupError):  # the child does not have its own group yet
                    os.killpg(pid, command.signal)
            os.kill(pid, command.signal)

    def _reap(self) -> None:
        """Report every child that has ended; one signal may stand for several."""
        while self._names and (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
            pid = ended.si_pid
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # grandchildren, while the child's zombie reserves the pid
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            name = self._names.pop(pid)
            del self._pids[name]
            self._report(Exited(name=name, code=code))

    def _report(self, report: Spawned | Exited | Pong) -> None:
        self._control.send(encode(report))

    def _become(self, command: Spawn) -> NoReturn:
        """Become the child; never returns into the zygote's loop."""
        code = 1
        try:
            die_with_parent(self._pid)
            os.setsid()
            self._drop_inherited()
            set_title(f"gems-{command.role}", f"gems-actors: {command.role} {command.name}")
            gc.enable()
            module, _, function = command.entry.partition(":")
            play = getattr(importlib.import_module(module), function)
            code = int(play(command.role, command.config, command.address, command.name))
        except BaseException:  # the last frame of this process: nothing above could report it
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _drop_inherited(self) -> None:
        """Drop the zygote's signal handling, and every descriptor except the standard ones and `life`."""
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        self._control.close()
        os.closerange(3, self._life)
        os.closerange(self._life + 1, os.sysconf("SC_OPEN_MAX"))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def load_shared() -> None:
    """Import what a supervisor and every role need; a process that forks a zygote does so first."""
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        # structlog imports rich for tracebacks that no process of a mesh writes: a tenth of the zygote's start.
        sys.modules["rich"] = None  # type: ignore[assignment]  # makes its import fail
        importlib.import_module("structlog")
        del sys.modules["rich"]  # a role of the user may import it, and so may a command
    for module in _SHARED_MODULES:
        importlib.import_module(module)
    sys.modules["PIL.Image"].preinit()  # else each role that opens or writes a picture imports the formats by itself


def serve(control: int, life: int, supervisor: int) -> int:
    """Serve the supervisor with that pid, at two open descriptors, until it ends or ends this; return the exit code."""
    die_with_parent(supervisor)
    set_title("gems-zygote", "gems-actors: zygote")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # a collection would write to pages that the children share
    try:
        load_shared()
        for module in _MODULES:
            importlib.import_module(module)
        for spec in BUILT_IN_ROLES.values():  # a role of the user is imported by its own process, which may fail alone
            importlib.import_module(spec.actor.partition(":")[0])
    except ImportError as error:
        print(f"gems: zygote: {type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return EXIT_CONFIG
    gc.collect()
    gc.freeze()
    with suppress(BrokenPipeError, ConnectionResetError):  # the supervisor ended with a report unread
        _ForkServer(socket.socket(fileno=control), life).serve()
    return 0


if __name__ == "__main__":
    # Skips the interpreter's shutdown, which may take a while: the children die when this process does.
    os._exit(serve(*map(int, sys.argv[1:])))
