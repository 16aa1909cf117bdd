"""Draws bar, line and pie charts with their labels and numbers. What a chart requires must not live here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from gems_actors.backends.storyboard.lettering import SIZES_PX, line_height, shorten, width_of, write
from gems_actors.backends.storyboard.patterns import Box, Colour
from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.tiles import INK
from gems_actors.backends.storyboard.words import COLOURS

_COLOURS: Final = tuple(
    COLOURS[name] for name in ("blue", "orange", "teal", "red", "gold", "purple", "green", "pink", "brown", "cyan")
)
_AXIS: Final[Colour] = (142, 154, 176)
_GRID: Final[Colour] = (226, 231, 239)
_MIN_SIDE_PX: Final = 24
_OVERSAMPLING: Final = 2


@dataclass(frozen=True, slots=True)
class _Value:
    label: str
    number: str
    size: float


def draw_chart(image: Image.Image, chart: Thing, area: Box) -> None:
    """Draw a chart of the kind that its name says in an area, unless that is too small."""
    left, top, right, bottom = area
    if right - left < _MIN_SIDE_PX or bottom - top < _MIN_SIDE_PX:
        return
    values = [_Value(label, number, abs(float(number.rstrip("%")))) for label, number in chart.values]
    if "pie" in chart.name:
        _draw_pie(image, values, area)
    else:
        _draw_bars(image, values, area, is_line="line" in chart.name)


def _text_size(room_px: float) -> int:
    return max((size for size in SIZES_PX if size * 6 <= room_px and size <= 18), default=SIZES_PX[0])


def _write_centred(image: Image.Image, at: tuple[int, int], text: str, size: int, room_px: int) -> None:
    text = shorten(text, size, room_px)
    write(image, (at[0] - width_of(text, size) // 2, at[1]), text, size, INK)


def _draw_bars(image: Image.Image, values: list[_Value], area: Box, *, is_line: bool) -> None:
    left, top, right, bottom = area
    step = (right - left) / len(values)
    size = _text_size(min(step, bottom - top))
    high = line_height(size)
    floor = bottom - high - 4
    room = floor - top - high - 6
    if room < _MIN_SIDE_PX:
        return
    peak = max(*(value.size for value in values), 1e-9)
    tops = [floor - max(1, round(room * value.size / peak)) for value in values]
    middles = [left + round((index + 0.5) * step) for index in range(len(values))]
    pen = ImageDraw.Draw(image)
    for share in (0.25, 0.5, 0.75, 1):
        pen.line((left, floor - round(room * share), right, floor - round(room * share)), fill=_GRID)
    if is_line:
        pen.line(list(zip(middles, tops, strict=True)), fill=_COLOURS[0], width=4)
    for index, (value, x, y) in enumerate(zip(values, middles, tops, strict=True)):
        if is_line:
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=_COLOURS[0], outline=(255, 255, 255), width=2)
        else:
            half = round(step * 0.32)
            pen.rectangle((x - half, y, x + half, floor), fill=_COLOURS[index % len(_COLOURS)])
        _write_centred(image, (x, y - high - (8 if is_line else 2)), value.number, size, round(step) - 4)
        _write_centred(image, (x, floor + 4), value.label, size, round(step) - 4)
    pen.line((left, floor, right, floor), fill=_AXIS, width=2)


def _draw_pie(image: Image.Image, values: list[_Value], area: Box) -> None:
    """Draw a ring of slices, and next to it a legend as far as there is room."""
    left, top, right, bottom = area
    side = min(bottom - top, round((right - left) * 0.58))
    size = _text_size((right - left) * 0.3)
    high = line_height(size)
    middle = (top + bottom) // 2
    image.paste(_pie(values, side), (left, middle - side // 2))
    x, room = left + side + size, right - left - side - 3 * size
    shown = values[: max(0, (bottom - top) // high)] if room > 3 * size else []
    y = middle - len(shown) * high // 2
    pen = ImageDraw.Draw(image)
    for index, value in enumerate(shown):
        edge = round(size * 0.7)
        first = y + (high - edge) // 2
        pen.rectangle((x, first, x + edge, first + edge), fill=_COLOURS[index % len(_COLOURS)])
        write(image, (x + edge + size // 2, y), shorten(f"{value.label} {value.number}", size, room), size, INK)
        y += high


def _pie(values: list[_Value], side_px: int) -> Image.Image:
    side = side_px * _OVERSAMPLING
    disc = Image.new("RGB", (side, side), (255, 255, 255))
    pen = ImageDraw.Draw(disc)
    total = sum(value.size for value in values) or 1.0
    start = -90.0
    for index, value in enumerate(values):
        end = start + 360 * value.size / total
        if math.floor(end) > math.floor(start):
            fill = _COLOURS[index % len(_COLOURS)]
            pen.pieslice((0, 0, side - 1, side - 1), start, end, fill, (255, 255, 255), max(2, side // 120))
        start = end
    hole = side * 0.28
    pen.ellipse((side / 2 - hole, side / 2 - hole, side / 2 + hole, side / 2 + hole), fill=(255, 255, 255))
    return disc.resize((side_px, side_px), Image.Resampling.BOX)
