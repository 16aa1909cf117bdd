"""The engine's process: `python -P -m gems_actors.backends.diffusion.engine_process DESCRIPTOR PARENT`.

`engine_host` starts it and exchanges messages over the socket DESCRIPTOR. It ends when that socket closes, when its
parent ends, and when the device fails.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL.Image import Image

from gems_actors.backends.diffusion import engine_messages as m
from gems_actors.backends.diffusion.reference_memory import unpack
from gems_actors.os_process import die_with_parent, set_title

if TYPE_CHECKING:  # torch takes seconds to import, and progress is reported before
    from gems_actors.backends.diffusion.engine import Engine
    from gems_actors.backends.diffusion.jobs import Drawn, Failed

_TOTALS_EVERY_S: Final = 0.5


class Link:
    """The engine's end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        """Use a connected socket."""
        self._socket = end
        self._inbox = m.Inbox()

    def commands(self, *, blocking: bool) -> list[m.Command]:
        """Return the commands received; if there are none, wait for some when `blocking`.

        Raises:
            EOFError: the actor has closed the socket.
        """
        commands: list[m.Command] = []
        while not commands:
            ready, _, _ = select.select([self._socket], [], [], None if blocking else 0)
            if not ready:
                break
            data, ancillary, _, _ = self._socket.recvmsg(m.READ_BYTES, m.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
            if not data:
                raise EOFError
            self._inbox.put(data, ancillary)
            commands += map(m.decode_command, self._inbox.bodies())
        return commands

    def pictures_of(self, draw: m.Draw) -> list[Image]:
        """Return the references of a request; call it once for each `Draw`, in the order in which they arrived."""
        return unpack(draw.references, self._inbox.descriptors.popleft()) if draw.references else []

    def send(self, report: m.Report) -> None:
        """Send a report."""
        self._socket.sendall(m.frame(report))

    def send_picture(self, finished: m.Finished, pixels: memoryview) -> None:
        """Send a report with a descriptor of memory that holds the pixels."""
        memory = os.memfd_create("gems-picture", os.MFD_CLOEXEC)
        try:
            written = 0
            while written < len(pixels):
                written += os.write(memory, pixels[written:])
            data = m.frame(finished)
            sent = socket.send_fds(self._socket, [data], [memory])
            self._socket.sendall(data[sent:])
        finally:
            os.close(memory)


def main(descriptor: int, parent: int, serve: Callable[[Link], None]) -> int:
    """Call `serve` until it returns or the actor closes the socket; return the exit code."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the actor ends us
    set_title("gems engine", "gems engine")
    link = Link(socket.socket(fileno=descriptor))
    try:
        serve(link)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0
    except Exception as error:  # the device failed, and its state is undefined
        with suppress(OSError):
            link.send(m.Fault(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"))
    return 1


def serve(link: Link) -> None:
    """Load a pipeline as the first command says, and draw until the socket closes.

    Raises:
        EOFError: the actor has closed the socket.
    """
    load, *early = link.commands(blocking=True)
    assert isinstance(load, m.Load), "the first command says what to load"
    link.send(m.Progress("importing torch"))
    # Where it is installed, diffusers imports it, and it warns of each kernel that is for another device.
    logging.getLogger("torchao").setLevel(logging.ERROR)
    began = time.perf_counter()
    from gems_actors.backends.diffusion.engine import Engine
    from gems_actors.backends.diffusion.loading import LoadingError, claim_device, count_gpus, prepare

    link.send(m.Found(count_gpus()))
    with ExitStack() as stack:
        try:
            name = stack.enter_context(claim_device(load.device, Path(load.locks)))
            pipeline, device, scheduler, capacity = prepare(load, name, lambda note: link.send(m.Progress(note)))
        except LoadingError as error:
            link.send(m.Broken(str(error)))
            return
        load_s = time.perf_counter() - began
        can_edit = pipeline.max_references > 0
        link.send(m.Ready(pipeline.name, name, capacity, load_s, can_edit=can_edit, redraws=pipeline.redraws))
        _run(Engine(pipeline, device, scheduler, on_begin=lambda ids: link.send(m.Begun(ids))), link, early)


def _run(engine: Engine, link: Link, commands: list[m.Command]) -> None:
    """Run step by step, and handle commands at each boundary."""
    reported_s = 0.0
    while True:
        for command in (*commands, *link.commands(blocking=engine.is_idle and not commands)):
            _handle(engine, link, command)
        commands = []
        for ended in engine.run_once():
            _report(link, ended)
        if engine.is_idle or time.perf_counter() - reported_s >= _TOTALS_EVERY_S:
            reported_s = time.perf_counter()
            link.send(engine.totals())


def _handle(engine: Engine, link: Link, command: m.Command) -> None:
    from gems_actors.backends.diffusion.jobs import UnfitError

    match command:
        case m.Draw():
            pictures = link.pictures_of(command)
            try:
                engine.add(command, pictures)
            except UnfitError as error:
                link.send(m.Unfinished(command.id, str(error), is_final=True))
        case m.Withdraw(id=id_):
            engine.withdraw(id_)


def _report(link: Link, ended: Drawn | Failed) -> None:
    from gems_actors.backends.diffusion.jobs import Failed

    job = ended.job
    if isinstance(ended, Failed):
        link.send(m.Unfinished(job.id, ended.reason, ended.is_final))
        return
    height_px, width_px, channels = ended.pixels.shape
    seconds = {
        "wait": max(0.0, job.begun_s - job.arrived_s),
        "text": job.text_s,
        "denoise": job.denoise_s,
        "decode": job.decode_s,
    }
    forwards = max(1, job.step - job.reused_steps)
    batch = job.batch_requests / forwards
    finished = m.Finished(job.id, width_px, height_px, seconds, batch, job.reused_steps, channels)
    link.send_picture(finished, memoryview(ended.pixels.numpy()).cast("B"))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), serve))
