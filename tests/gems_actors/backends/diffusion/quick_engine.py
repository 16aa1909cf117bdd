"""An engine process that imports no torch and draws grey pictures, for tests of its host; each step takes 10 ms."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image

from gems_actors.backends.diffusion import engine_messages as m
from gems_actors.backends.diffusion.engine_process import Link, main


def pixels_of(draw: m.Draw, pictures: Sequence[Image] = ()) -> bytes:
    """Return what this engine draws: one colour, of the seed and the first pixel of each reference."""
    color = (draw.seed + sum(sum(as_ints(picture.getpixel((0, 0)))) for picture in pictures)) % 256
    return bytes([color]) * (draw.width_px * draw.height_px * 3)


def as_ints(pixel: object) -> tuple[int, ...]:
    """Return a pixel of several channels."""
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


def _serve(link: Link) -> None:
    load, *commands = link.commands(blocking=True)
    assert isinstance(load, m.Load)
    if not Path(load.model).exists():
        link.send(m.Broken(f"image.model: {load.model} does not exist"))
        return
    link.send(m.Ready("None", load.device, 4, 0.0, can_edit=True))
    pictures: dict[int, list[Image]] = {}
    steps: dict[m.Draw, int] = {}
    while True:
        for command in (*commands, *link.commands(blocking=not steps and not commands)):
            if isinstance(command, m.Draw):
                steps[command] = command.steps or 1
                pictures[command.id] = link.pictures_of(command)
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
                link.send_picture(finished, memoryview(pixels_of(draw, pictures[draw.id])))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), _serve))
