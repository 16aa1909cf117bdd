"""An engine process that claims to run on a host with three GPUs, and draws nothing."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

from gems_actors.backends.diffusion.engine_messages import Found, Load, Progress, Ready
from gems_actors.backends.diffusion.engine_process import Link

if __name__ == "__main__":
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    (load,) = link.commands(blocking=True)
    assert isinstance(load, Load)
    link.send(Progress(f"loading on {load.device}"))
    link.send(Found(3))
    link.send(Ready("None", load.device, 4, 0.0))
    with suppress(EOFError):
        while True:
            link.commands(blocking=True)
