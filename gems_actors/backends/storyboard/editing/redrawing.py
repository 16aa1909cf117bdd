"""Draws a storyboard from given pictures: from their pixels, an instruction and a seed alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from PIL import Image

from gems_actors.backends import ImageRequest
from gems_actors.backends.storyboard.drawing import draw
from gems_actors.backends.storyboard.editing.applying import apply
from gems_actors.backends.storyboard.editing.instructions import parse_instruction
from gems_actors.backends.storyboard.editing.seen_scene import scene_of
from gems_actors.backends.storyboard.error_model import apply_errors, choose_errors
from gems_actors.backends.storyboard.laboratory.planted import Garden
from gems_actors.backends.storyboard.reading import look
from gems_actors.backends.storyboard.scene import Scene
from gems_actors.config import PlantedInstruction

_MAX_FRAMED: Final = 16


def draw_from_references(request: ImageRequest, planted: Sequence[PlantedInstruction] = ()) -> bytes:
    """Return the PNG file of a request with references.

    The first reference is edited if it is a storyboard; every other one is shown framed.

    Raises:
        BackendError: a reference is no picture that can be decoded.
    """
    first, *others = request.references
    seen = look(first.data)
    framed = [_decode(part.data) for part in others]
    if seen is None:
        framed.insert(0, _decode(first.data))
    else:
        whole = _decode(first.data)
        framed = [*(whole.crop(item.box) for item in seen.framed), *framed]
    garden = Garden(planted, request.prompt)
    instruction = parse_instruction(request.prompt)
    lost = choose_errors(instruction.scene, garden.seed_of_errors(request.seed), garden.factor)
    carried = apply_errors(instruction.scene, lost, request.seed)
    scene = apply(Scene() if seen is None else scene_of(seen), instruction, carried, lost)
    return draw(
        replace(scene, not_understood=()),
        seed=request.seed if request.task_seed is None else request.task_seed,
        width_px=request.width_px,
        height_px=request.height_px,
        caption=request.prompt,
        framed=framed[:_MAX_FRAMED],
    )


def _decode(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as file:  # the reader has decoded it before, or a reference is no picture
        return file.convert("RGB")
