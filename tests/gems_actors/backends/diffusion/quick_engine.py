"""An engine process that imports no torch and draws grey pictures, for tests of its host; each step takes 10 ms."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gems_actors.backends.diffusion import engine_messages as m
from gems_actors.backends.diffusion.engine_process import Link, main


def pixels_of(draw: m.Draw) -> bytes:
    """Return what this engine draws."""
    return bytes([draw.seed % 256]) * (draw.width_px * draw.height_px * 3)


def _serve(link: Link) -> None:
    load, *commands = link.commands(blocking=True)
    assert isinstance(load, m.Load)
    if not Path(load.model).exists():
        link.send(m.Broken(f"image.model: {load.model} does not exist"))
        return
    link.send(m.Ready("None", load.device, 4, 0.0))
    steps: dict[m.Draw, int] = {}
    while True:
        for command in (*commands, *link.commands(blocking=not steps and not commands)):
            if isinstance(command, m.Draw):
                steps[command] = command.steps or 1
            elif isinstance(command, m.Withdraw):
                steps = {draw: left for draw, left in steps.items() if draw.id != command.id}
        commands = []
        together = [draw for draw in steps if not draw.is_alone] or [*steps][:1]
        link.send(m.Begun(tuple(draw.id for draw in together)))
        time.sleep(0.01)
        for draw in together:
            steps[draw] -= 1
            if not steps[draw]:
                del steps[draw]
                finished = m.Finished(draw.id, draw.width_px, draw.height_px, {}, 1.0)
                link.send_picture(finished, memoryview(pixels_of(draw)))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), _serve))
