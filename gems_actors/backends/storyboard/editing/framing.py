"""Pictures that are no storyboards, framed within one: where they are placed, drawn and found again."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageStat

from gems_actors.backends.storyboard.connected_components import Region, find_regions, mask_near
from gems_actors.backends.storyboard.patterns import Box, Colour

FRAME: Final[Colour] = (90, 40, 110)
_EDGE_PX: Final = 6
_STEP_PX: Final = 4
"""Distance of the pixels that are looked at first; less than an edge is wide."""
_MIN_SIDE_PX: Final = 24
_TOLERANCE: Final = 24
_STRAIGHT: Final = 0.9
"""Share of an edge that has the colour of frames."""
_PRINT_PX: Final = 12
_SAME: Final = 20.0
"""Mean difference of two fingerprints, of 255, below which the pictures are the same."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A picture within a storyboard."""

    box: Box
    """The picture without its frame."""
    fingerprint: bytes

    @property
    def outline(self) -> Box:
        """Corners of the frame, both included, and a pixel around it."""
        left, top, right, bottom = self.box
        return left - _EDGE_PX - 1, top - _EDGE_PX - 1, right + _EDGE_PX, bottom + _EDGE_PX


def fingerprint_of(data: bytes) -> bytes:
    """Return the colours of an encoded picture in a small square, by which it is known again at another size."""
    with Image.open(io.BytesIO(data)) as file:
        return _print_of(file)


def _print_of(image: Image.Image) -> bytes:
    return image.convert("RGB").resize((_PRINT_PX, _PRINT_PX), Image.Resampling.BOX).tobytes()


def is_same(first: bytes, second: bytes) -> bool:
    """Return whether two fingerprints are those of the same picture."""
    size = (_PRINT_PX, _PRINT_PX)
    difference = ImageChops.difference(Image.frombytes("RGB", size, first), Image.frombytes("RGB", size, second))
    return sum(ImageStat.Stat(difference).mean) / 3 < _SAME


def draw_framed(image: Image.Image, pictures: Sequence[Image.Image], area: Box) -> None:
    """Draw pictures side by side within an area, each as large as fits, in its own proportions."""
    columns = max(1, math.ceil(math.sqrt(len(pictures) * (area[2] - area[0]) / max(1, area[3] - area[1]))))
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    wide, high = (area[2] - area[0]) // columns, (area[3] - area[1]) // rows
    room = (max(_MIN_SIDE_PX, wide - 4 * _EDGE_PX), max(_MIN_SIDE_PX, high - 4 * _EDGE_PX))
    pen = ImageDraw.Draw(image)
    for index, picture in enumerate(pictures):
        scale = min(room[0] / picture.width, room[1] / picture.height)
        size = (max(_MIN_SIDE_PX, round(picture.width * scale)), max(_MIN_SIDE_PX, round(picture.height * scale)))
        left = area[0] + index % columns * wide + (wide - size[0]) // 2
        top = area[1] + index // columns * high + (high - size[1]) // 2
        box = (left - _EDGE_PX, top - _EDGE_PX, left + size[0] + _EDGE_PX - 1, top + size[1] + _EDGE_PX - 1)
        pen.rectangle(box, fill=FRAME)
        image.paste(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), (left, top))


def find_framed(image: Image.Image) -> tuple[Framed, ...]:
    """Return the framed pictures of a storyboard, from top to bottom."""
    sparse = (max(1, image.width // _STEP_PX), max(1, image.height // _STEP_PX))
    if mask_near(image.resize(sparse, Image.Resampling.NEAREST), FRAME, _TOLERANCE).getbbox() is None:
        return ()  # in a twentieth of the time: most storyboards have no frame
    mask = mask_near(image, FRAME, _TOLERANCE)
    frames = [frame for frame in find_regions(mask, min_area_px=400) if _is_frame(frame, mask)]
    outer = [frame for frame in frames if not any(_holds(other, frame) for other in frames if other is not frame)]
    edge = _EDGE_PX
    boxes = [(frame.left + edge, frame.top + edge, frame.right - edge, frame.bottom - edge) for frame in outer]
    return tuple(Framed(box, _print_of(image.crop(box))) for box in boxes)


def _is_frame(region: Region, mask: Image.Image) -> bool:
    """Return whether a region has straight edges all around, as no shade of a tile has."""
    left, top, right, bottom = region.box
    if min(right - left, bottom - top) < _MIN_SIDE_PX + 2 * _EDGE_PX:
        return False
    inner = _EDGE_PX - 1  # JPEG changes where an edge ends
    sides = [(left, top, right, top + inner), (left, bottom - inner, right, bottom)]
    sides += [(left, top, left + inner, bottom), (right - inner, top, right, bottom)]
    return all(ImageStat.Stat(mask.crop(side)).mean[0] > _STRAIGHT * 255 for side in sides)


def _holds(outer: Region, inner: Region) -> bool:
    return (
        outer.left <= inner.left and outer.top <= inner.top
        and inner.right <= outer.right and inner.bottom <= outer.bottom
    )  # fmt: skip
