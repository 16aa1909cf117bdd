"""Paints tiles as swatches of colours and a surface, and reads them back from a tile."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageStat

from gems_actors.backends.storyboard.words import COLOURS, SURFACES

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom; right and bottom are exclusive."""

OUTLINE: Final[Colour] = (78, 88, 108)
PLAIN: Final[Colour] = (221, 228, 238)
"""Fill of a thing without a colour."""
_NATURAL: Final[dict[str, Colour]] = {
    "wooden": (204, 158, 104),
    "stone": (172, 168, 158),
    "metal": (174, 186, 202),
    "glass": (204, 234, 244),
    "brick": (192, 98, 74),
    "furry": (206, 176, 136),
    "paper": (250, 246, 230),
}
"""Fill of a surface without a colour."""
_OVERSAMPLING: Final = 2
_SIDE: Final = 96
_READ_SIDE: Final = 32
"""Side, in pixels, at which tiles are compared."""
_CANDIDATES: Final = 32


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


@lru_cache(maxsize=512)
def paint_tile(side_px: int, colours: tuple[str, ...], surface: str) -> Image.Image:
    """Return a square tile: an outline, one fill or two halves, the pattern of the surface, and a white disc."""
    side = side_px * _OVERSAMPLING
    fills = [COLOURS[name] for name in colours] or [_NATURAL.get(surface, PLAIN)]
    face = _paint_surface(side, fills[0], surface)
    if len(fills) > 1:
        face.paste(_paint_surface(side, fills[1], surface).crop((side // 2, 0, side, side)), (side // 2, 0))
    draw = ImageDraw.Draw(face)
    disc = side * 0.27
    if side_px >= 24:
        draw.ellipse(
            (side / 2 - disc, side / 2 - disc, side / 2 + disc, side / 2 + disc), (255, 255, 255), PLAIN, _OVERSAMPLING
        )
    line = max(1, round(side_px / 48)) * _OVERSAMPLING
    shape = Image.new("L", (side, side))
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, side - 1, side - 1), radius=side * 0.12, fill=255)
    draw.rounded_rectangle((0, 0, side - 1, side - 1), radius=side * 0.12, outline=OUTLINE, width=line)
    tile = Image.new("RGB", (side, side), (255, 255, 255))
    tile.paste(face, (0, 0), shape)
    return tile.resize((side_px, side_px), Image.Resampling.BOX)


def _paint_surface(side: int, fill: Colour, surface: str) -> Image.Image:
    face = Image.new("RGB", (side, side), fill)
    is_dark = sum(fill) < 330
    mark = _mix(fill, (255, 255, 255), 0.42) if is_dark else _mix(fill, (40, 44, 60), 0.38)
    shine = _mix(fill, (255, 255, 255), 0.72)
    draw = ImageDraw.Draw(face)
    match surface:
        case "striped":
            _draw_diagonals(draw, side, mark, step=0.25, width=0.11)
        case "spotted":
            _draw_spots(draw, side, mark)
        case "checkered":
            _draw_checks(draw, side, mark)
        case "brick":
            _draw_bricks(draw, side, shine if sum(fill) < 660 else mark)
        case "wooden":
            _draw_grain(draw, side, mark)
        case "metal":
            _draw_brushing(draw, side, fill)
        case "glass":
            draw.rectangle((0, 0, side, side), fill=_mix(fill, (255, 255, 255), 0.45))
            _draw_glints(draw, side, (255, 255, 255), fill)
        case "plastic":
            draw.rounded_rectangle((side * 0.1, side * 0.08, side * 0.9, side * 0.3), side * 0.1, fill=shine)
            draw.rectangle((0, side * 0.86, side, side), fill=_mix(fill, (0, 0, 0), 0.3))
        case "stone":
            _draw_cracks(draw, side, mark)
        case "sparkling":
            _draw_stars(draw, side, (255, 252, 220) if sum(fill) < 560 else (214, 148, 20))
        case "furry":
            _draw_tufts(draw, side, mark)
        case "paper":
            for share in (0.16, 0.26, 0.74, 0.84):
                draw.line((side * 0.08, side * share, side * 0.92, side * share), fill=mark, width=max(1, side // 48))
            draw.polygon(((side * 0.7, 0), (side, 0), (side, side * 0.3)), fill=mark)
        case _:
            pass
    return face


def _draw_diagonals(draw: ImageDraw.ImageDraw, side: int, mark: Colour, *, step: float, width: float) -> None:
    for index in range(round(2 / step) + 1):
        start = (index * step - 1) * side
        draw.line((start, side, start + side, 0), fill=mark, width=max(1, round(width * side)))


def _draw_spots(draw: ImageDraw.ImageDraw, side: int, mark: Colour) -> None:
    radius = side * 0.075
    for row in range(5):
        for column in range(5):
            x, y = (column + 0.5 * (row % 2)) * side * 0.25, (row * 0.22 + 0.06) * side
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=mark)


def _draw_checks(draw: ImageDraw.ImageDraw, side: int, mark: Colour) -> None:
    cell = side / 6
    for row in range(6):
        for column in range(row % 2, 6, 2):
            draw.rectangle((column * cell, row * cell, (column + 1) * cell - 1, (row + 1) * cell - 1), fill=mark)


def _draw_bricks(draw: ImageDraw.ImageDraw, side: int, mortar: Colour) -> None:
    width = max(1, round(side * 0.03))
    for row in range(6):
        y = row * side / 6
        draw.line((0, y, side, y), fill=mortar, width=width)
        for column in range(4):
            x = (column + 0.5 * (row % 2)) * side / 3
            draw.line((x, y, x, y + side / 6), fill=mortar, width=width)


def _draw_grain(draw: ImageDraw.ImageDraw, side: int, mark: Colour) -> None:
    for line in range(1, 9):
        points = [(x * side / 16, line * side / 9 + math.sin(x * 0.6 + line) * side * 0.022) for x in range(17)]
        draw.line(points, fill=mark, width=max(1, round(side * 0.022)))
    draw.ellipse((side * 0.74, side * 0.72, side * 0.9, side * 0.84), outline=mark, width=max(1, round(side * 0.03)))


def _draw_brushing(draw: ImageDraw.ImageDraw, side: int, fill: Colour) -> None:
    for y in range(side):
        wave = 0.5 + 0.5 * math.cos(y / side * 4 * math.pi)
        bright = _mix(_mix(fill, (20, 24, 36), 0.35), _mix(fill, (255, 255, 255), 0.7), wave)
        draw.line((0, y, side, y), fill=bright)
    rivet = side * 0.035
    for across, down in ((0.12, 0.12), (0.88, 0.12), (0.12, 0.88), (0.88, 0.88)):
        x, middle = across * side, down * side
        draw.ellipse((x - rivet, middle - rivet, x + rivet, middle + rivet), fill=OUTLINE)


def _draw_glints(draw: ImageDraw.ImageDraw, side: int, white: Colour, fill: Colour) -> None:
    draw.line((side * 0.05, side * 0.55, side * 0.55, side * 0.05), fill=white, width=max(1, round(side * 0.1)))
    draw.line((side * 0.45, side * 0.95, side * 0.95, side * 0.45), fill=white, width=max(1, round(side * 0.05)))
    inset = side * 0.05
    edge = max(1, round(side * 0.045))
    draw.rectangle((inset, inset, side - inset, side - inset), outline=_mix(fill, (60, 90, 130), 0.3), width=edge)


def _draw_cracks(draw: ImageDraw.ImageDraw, side: int, mark: Colour) -> None:
    cracks = (
        ((0, 0.3), (0.14, 0.24), (0.26, 0.34), (0.4, 0.2), (0.34, 0)),
        ((0.26, 0.34), (0.2, 0.56), (0, 0.7)),
        ((0.4, 0.2), (0.66, 0.16), (0.8, 0.3), (1, 0.22)),
        ((0.8, 0.3), (0.84, 0.56), (1, 0.66)),
        ((0.2, 0.56), (0.26, 0.8), (0.16, 1)),
        ((0.26, 0.8), (0.56, 0.86), (0.62, 1)),
        ((0.56, 0.86), (0.78, 0.76), (0.84, 0.56)),
    )
    for crack in cracks:
        draw.line([(x * side, y * side) for x, y in crack], fill=mark, width=max(1, round(side * 0.03)))


def _draw_stars(draw: ImageDraw.ImageDraw, side: int, mark: Colour) -> None:
    stars = ((0.18, 0.2, 0.16), (0.82, 0.16, 0.12), (0.84, 0.8, 0.17), (0.16, 0.82, 0.12), (0.5, 0.1, 0.08))
    for x, y, size in stars:
        outer, inner = size * side, size * side * 0.22
        points = []
        for corner in range(8):
            reach = outer if corner % 2 == 0 else inner
            turn = corner * math.pi / 4
            points.append((x * side + reach * math.sin(turn), y * side + reach * math.cos(turn)))
        draw.polygon(points, fill=mark)


def _draw_tufts(draw: ImageDraw.ImageDraw, side: int, mark: Colour) -> None:
    for row in range(8):
        for column in range(8):
            x, y = (column + 0.5 * (row % 2)) * side / 8, row * side / 8
            draw.line((x, y, x + side * 0.03, y + side * 0.09), fill=mark, width=max(1, round(side * 0.02)))


def read_tile(tile: Image.Image) -> tuple[tuple[str, ...], str]:
    """Return the colours and the surface of the sample swatches nearest to each half of a tile."""
    small = _for_reading(tile)
    halves = [_nearest(small.crop(box), box[0]) for box in _HALVES]
    colours = tuple(dict.fromkeys(colour for colour, _ in halves if colour))
    return colours, halves[0][1] or halves[1][1]


_HALVES: Final = ((0, 0, _READ_SIDE // 2, _READ_SIDE), (_READ_SIDE // 2, 0, _READ_SIDE, _READ_SIDE))


def _for_reading(tile: Image.Image) -> Image.Image:
    """Return a tile at the size of comparison, without its outline and its middle, which holds the pictogram."""
    edge = max(1, round(tile.width * 0.04))
    inner = tile.crop((edge, edge, tile.width - edge, tile.height - edge))
    small = inner.resize((_READ_SIDE, _READ_SIDE), Image.Resampling.BOX)
    middle = _READ_SIDE * 0.31
    centre = _READ_SIDE / 2
    ImageDraw.Draw(small).ellipse((centre - middle, centre - middle, centre + middle, centre + middle), fill=PLAIN)
    return small


@lru_cache(maxsize=2)
def _samples(left: int) -> list[tuple[str, str, Image.Image, Colour]]:
    """Return every colour and surface with its half tile at column `left` and the mean colour of that half."""
    box = _HALVES[0] if left == 0 else _HALVES[1]
    samples = []
    for colour in ("", *COLOURS):
        for surface in ("", *SURFACES):
            half = _for_reading(paint_tile(_SIDE, (colour,) if colour else (), surface)).crop(box)
            samples.append((colour, surface, half, _mean(half)))
    return samples


def _mean(image: Image.Image) -> Colour:
    red, green, blue = image.resize((1, 1), Image.Resampling.BOX).tobytes()
    return red, green, blue


def _nearest(half: Image.Image, left: int) -> tuple[str, str]:
    mean = _mean(half)
    by_mean = sorted(_samples(left), key=lambda sample: math.dist(sample[3], mean))[:_CANDIDATES]
    colour, surface, _, _ = min(by_mean, key=lambda sample: _difference(half, sample[2]))
    return colour, surface


def _difference(half: Image.Image, sample: Image.Image) -> float:
    return sum(ImageStat.Stat(ImageChops.difference(half, sample)).sum)
