"""Run `gems` in forks of a process that has imported it: the imports are most of what a short command costs.

There is one server for each process that runs tests. It has one thread, so that a fork is safe, and standard streams
on pipes, so that those the interpreter made for it are right in a fork. The interpreter also ends a fork as usual.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_")
"""Beginnings of the variables that the interpreter and its libraries read when they start."""
SERVER_NAME = "test-forks"
"""What `ps` shows; `descendants` of `tests.processes` leaves it out."""


class ForkServer:
    """The side of the tests, several threads of which may run commands; the first command starts the server."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._module, self._environment = module, dict(environment)
        self._lock = threading.Lock()
        self._server: tuple[socket.socket, subprocess.Popen[bytes]] | None = None

    def can_run(self, environment: Mapping[str, str], stdin: bytes) -> bool:
        """Return whether a fork equals a fresh interpreter in this environment, and its input fits into a pipe."""
        mine, theirs = (
            {name: value for name, value in variables.items() if name.startswith(_READ_AT_START)}
            for variables in (self._environment, environment)
        )
        return mine == theirs and len(stdin) <= select.PIPE_BUF

    def run(
        self, words: Sequence[str | bytes], folder: str, environment: Mapping[str, str], stdin: bytes, limit_s: float
    ) -> tuple[int, bytes, bytes]:
        """Run a command until it ends, and return its exit code, standard output and standard error."""
        end = time.monotonic() + limit_s
        request = json.dumps([[os.fsdecode(word) for word in words], folder, dict(environment)]).encode()
        control, server = self._started()
        with ExitStack() as ours:
            with ExitStack() as theirs:
                their_in, our_in = _pipe(theirs, theirs)
                our_out, their_out = _pipe(ours, theirs)
                our_err, their_err = _pipe(ours, theirs)
                os.write(our_in, stdin)
                status, their_status = socket.socketpair(type=socket.SOCK_SEQPACKET)
                ours.enter_context(status)
                theirs.enter_context(their_status)
                socket.send_fds(control, [request], [their_in, their_out, their_err, their_status.fileno()])
            _, processes, *_ = socket.recv_fds(status, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if not processes:
                raise RuntimeError(f"expected a fork, got a server that ended: {server.communicate()[1]!r}")
            ours.callback(os.close, processes[0])
            seen = {our_out: b"", our_err: b"", status.fileno(): b""}
            selector = ours.enter_context(selectors.DefaultSelector())
            for number in seen:
                selector.register(number, selectors.EVENT_READ)
            while selector.get_map():
                if (left := end - time.monotonic()) <= 0:
                    with suppress(ProcessLookupError):  # it has ended, and a child of it holds the pipes
                        signal.pidfd_send_signal(processes[0], signal.SIGKILL)
                    status.recv(16)  # which comes when it has ended
                    raise subprocess.TimeoutExpired(list(words), limit_s, seen[our_out], seen[our_err])
                for key, _ in selector.select(left):
                    seen[key.fd] += (chunk := os.read(key.fd, 65_536))
                    if not chunk:
                        selector.unregister(key.fd)
            return int(seen[status.fileno()]), seen[our_out], seen[our_err]

    def _started(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """Return the server, which ends when this process has: no death signal, as any thread may start it."""
        with self._lock:
            if self._server is None:
                ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
                with theirs:
                    number, pipe = theirs.fileno(), subprocess.PIPE
                    command = (sys.executable, "-P", __file__, str(number), self._module)
                    process = subprocess.Popen(
                        command, cwd="/", env=self._environment, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[number]
                    )
                self._server = ours, process
                atexit.register(self.close)
            return self._server

    def pid(self) -> int:
        """Return the pid of the server."""
        return self._started()[1].pid

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            control, process = self._server
            control.close()
            process.communicate()
            self._server = None


SERVER = ForkServer("gems_actors.cli", os.environ)  # as they are before any test changes them


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends


def _serve(control: socket.socket) -> None:
    """Fork for each request, and return in the forks only."""
    from gems_actors.os_process import die_with_parent  # here: the tests need no more of gems than they import

    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, with which the server ends
    server, running = os.getpid(), dict[int, tuple[int, socket.socket]]()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in running:
                pid, status = running.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                with status, suppress(BrokenPipeError):  # the test has ended
                    status.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
                continue
            request, files, *_ = socket.recv_fds(control, 1 << 20, 4)
            if not request:
                os._exit(0)  # the forks get their death signal
            pid = os.fork()
            if pid == 0:
                die_with_parent(server)
                for held in (control, *(status for _, status in running.values())):
                    held.close()
                _become(json.loads(request), files[:3])
                signal.signal(signal.SIGINT, interrupt)
                return
            status, process = socket.socket(fileno=files.pop()), os.pidfd_open(pid)
            for file in files:
                os.close(file)
            running[process] = pid, status
            poll.register(process, select.POLLIN)
            with suppress(BrokenPipeError):
                socket.send_fds(status, [b"."], [process])


def _become(request: tuple[list[str], str, dict[str, str]], files: list[int]) -> None:
    """Take on arguments, folder, environment and standard streams of a command."""
    Path("/proc/self/comm").write_text("python")
    sys.argv[1:], folder, environment = request
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _main() -> None:
    code: object = 1
    Path("/proc/self/comm").write_text(SERVER_NAME)

    def end_without_freeing_every_module() -> None:
        with suppress(OSError):  # which the interpreter then reports
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else int(code is not None))

    atexit.register(end_without_freeing_every_module)  # first, so that it comes after all others
    from gems_actors.cli.commands import COMMANDS

    for name, _ in COMMANDS.values():
        importlib.import_module(f"gems_actors.cli.{name.partition(':')[0]}")
    importlib.import_module("gems_actors.app.bulk.report.writing")  # every bulk imports it at its end
    gc.collect()
    gc.freeze()
    control, module = int(sys.argv[1]), sys.argv[2]
    _serve(socket.socket(fileno=control))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = None
    except SystemExit as end:
        code = end.code
        raise


if __name__ == "__main__":
    _main()
