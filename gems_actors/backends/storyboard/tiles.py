"""Paints tiles, which show a pictogram above a swatch of colours and a surface, and reads the swatch of a tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from gems_actors.backends.storyboard.lettering import SIZES_PX, can_draw, fit_size, glyph, line_height, width_of, write
from gems_actors.backends.storyboard.patterns import NATURAL, PLAIN, Colour, mix, paint_surface, scatter_stars
from gems_actors.backends.storyboard.pictograms import Pictogram, draw_pictogram, find_pictogram
from gems_actors.backends.storyboard.words import COLOURS, SURFACES

OUTLINE: Final[Colour] = (112, 124, 146)
GROUND: Final[Colour] = (244, 246, 250)
"""Background of a pictogram."""
INK: Final[Colour] = (38, 46, 66)
MIN_SIDE_PX: Final = 30
"""Minimum side of a tile with a pictogram; a smaller one is all swatch."""
_SWATCH: Final = 0.77
"""Height at which the swatch of a tile begins."""
_PICTOGRAM: Final = 0.68
"""Side of the square that holds the pictogram."""
_PLAIN_SPAN: Final = 0.86
"""Height in whose middle the pictogram of a tile without colour and surface is: its foot is read as a swatch."""
_OVERSAMPLING: Final = 2
_SIDE: Final = 96
_SMALL_SIDE: Final = 26
_READ_SIZE: Final = (32, 12)
"""Size, in pixels, at which swatches are compared."""
_CANDIDATES: Final = 32
_VALUES: Final = (*range(256),) * 3
"""Value that each count of a histogram of RGB is of."""


@lru_cache(maxsize=48)
def paint_tile(name: str, side_px: int, colours: tuple[str, ...], surface: str) -> Image.Image:
    """Return the square tile of a thing, tinted in one colour or in two halves."""
    tile = _paint_ground(side_px, colours, surface)
    if side_px >= MIN_SIDE_PX:
        room = round(side_px * _PICTOGRAM)
        middle = round(side_px * (_SWATCH if colours or surface else _PLAIN_SPAN)) // 2
        _paint_pictogram(tile, ((side_px - room) // 2, middle - room // 2, room), name, colours, surface)
    return tile


def _paint_ground(side_px: int, colours: tuple[str, ...], surface: str) -> Image.Image:
    """Return a tile without its pictogram."""
    side, top = side_px * _OVERSAMPLING, _swatch_top(side_px)
    face = Image.new("RGB", (side, side), GROUND if colours or surface else PLAIN)
    face.paste(_paint_swatch(side_px, colours, surface), (0, top))
    if top and surface == "sparkling":
        scatter_stars(face, GROUND)
    return _outlined(face, side_px, 0)


def _swatch_top(side_px: int) -> int:
    """Return the row at which the swatch begins, before the size is reduced; 0 in a tile that is all swatch."""
    return round(side_px * _OVERSAMPLING * _SWATCH) if side_px >= MIN_SIDE_PX else 0


def _line_px(side_px: int) -> int:
    return max(1, round(side_px / 60)) * _OVERSAMPLING


def _paint_swatch(side_px: int, colours: tuple[str, ...], surface: str) -> Image.Image:
    """Return the swatch of a tile before its size is reduced, without what the outline covers."""
    side, top = side_px * _OVERSAMPLING, _swatch_top(side_px)
    swatch = _paint_halves((side, side - top), side, colours, surface)
    if top and (colours or surface):
        swatch.paste(OUTLINE, (0, 0, side, _line_px(side_px)))
    return swatch


def _outlined(face: Image.Image, side_px: int, top: int) -> Image.Image:
    """Return the rows of a tile from `top` on with its outline and round corners, reduced to its size."""
    frame, covered = _frame(side_px, top)
    face.paste(frame, (0, 0), covered)
    return face.resize((side_px, face.height // _OVERSAMPLING), Image.Resampling.BOX)


@lru_cache(maxsize=8)
def _frame(side_px: int, top: int) -> tuple[Image.Image, Image.Image]:
    """Return the outline of a tile, white outside of it, and the mask of both, before the size is reduced."""
    side = side_px * _OVERSAMPLING
    box, radius = (0, 0, side - 1, side - 1), side * 0.1
    frame, inside = Image.new("RGB", (side, side), (255, 255, 255)), Image.new("L", (side, side))
    ImageDraw.Draw(inside).rounded_rectangle(box, radius=radius, fill=255)
    line = Image.new("L", (side, side))
    ImageDraw.Draw(line).rounded_rectangle(box, radius=radius, outline=255, width=_line_px(side_px))
    line = ImageChops.darker(line, inside)
    frame.paste(OUTLINE, (0, 0), line)
    covered = ImageChops.lighter(line, ImageChops.invert(inside))
    rows = (0, top, side, side)
    return frame.crop(rows), covered.crop(rows)


def _fills(colours: tuple[str, ...], surface: str) -> list[Colour]:
    return [COLOURS[name] for name in colours] or [NATURAL.get(surface, PLAIN)]


def _paint_halves(size: tuple[int, int], unit_px: float, colours: tuple[str, ...], surface: str) -> Image.Image:
    first, *rest = _fills(colours, surface)
    face = paint_surface(size, unit_px, first, surface)
    for fill in rest:
        middle = size[0] // 2
        face.paste(paint_surface(size, unit_px, fill, surface).crop((middle, 0, *size)), (middle, 0))
    return face


def _paint_pictogram(
    face: Image.Image, place: tuple[int, int, int], name: str, colours: tuple[str, ...], surface: str
) -> None:
    """Draw a pictogram, or a disc with the initial of a name that has none, within (left, top, side)."""
    left, top, room = place
    character = find_pictogram(name)
    shape = draw_pictogram(character, room) if character else _disc(room)
    size = shape.lines.size
    at = (left + (room - size[0]) // 2, top + (room - size[1]) // 2)
    is_plain = not colours and not surface
    pattern = "" if surface == "sparkling" else surface  # stars are around it
    fill = Image.new("RGB", size, (255, 255, 255)) if is_plain else _paint_halves(size, room * 1.2, colours, pattern)
    ink = Image.new("RGB", size)
    fills = _fills(colours, surface)
    for index, colour in enumerate(fills):
        ink.paste(_ink_on(colour), (size[0] * index // len(fills), 0, *size))
    if shape.is_solid:
        # The colour shows in the lines alone: they go over a dark silhouette, or a white one without a colour.
        rim = 1
        wide = Image.new("L", (size[0] + 2 * rim, size[1] + 2 * rim))
        wide.paste(shape.silhouette, (rim, rim))
        ground = Image.new("RGB", wide.size, (255, 255, 255)) if is_plain else ink.resize(wide.size)
        face.paste(ground, (at[0] - rim, at[1] - rim), wide.filter(ImageFilter.MaxFilter(2 * rim + 1)))
        face.paste(ink if is_plain else fill, at, shape.lines)
    else:
        face.paste(fill, at, shape.silhouette)
        face.paste(ink, at, shape.lines)
    if not character:
        _write_initial(face, (left, top, room), name)


def _ink_on(fill: Colour) -> Colour:
    """Return the colour of lines that can be seen on a fill."""
    return mix(fill, (255, 255, 255), 0.62) if sum(fill) < 200 else INK


def _disc(room: int) -> Pictogram:
    silhouette = _round_mask(room)
    lines = silhouette.copy()
    inner = room - 2 * max(1, room // 24)
    lines.paste(0, ((room - inner) // 2, (room - inner) // 2), _round_mask(inner))
    return Pictogram(silhouette, lines, is_solid=False)


def _round_mask(side: int) -> Image.Image:
    large = Image.new("L", (4 * side, 4 * side))
    ImageDraw.Draw(large).ellipse((0, 0, 4 * side - 1, 4 * side - 1), fill=255)
    return large.resize((side, side), Image.Resampling.BOX)


def _write_initial(face: Image.Image, place: tuple[int, int, int], name: str) -> None:
    left, top, room = place
    letter = name[0].upper()[0]  # a capital ß is two letters
    x, y, side = left + room / 2, top + room / 2, round(room * 0.7)
    face.paste(GROUND, (round(x - side / 2), round(y - side / 2)), _round_mask(side))
    size = max((size for size in SIZES_PX if size <= room * 0.5), default=SIZES_PX[0])
    if can_draw(letter):
        shape = glyph(letter, size)
        high, shift = shape.mask.height, shape.top_px
    else:
        letter, size = "no font", fit_size("no font", round(0.9 * side), size)
        high, shift = line_height(size), 0
    write(face, (round(x - width_of(letter, size) / 2), round(y - high / 2) - shift), letter, size, INK)


def read_tile(tile: Image.Image) -> tuple[tuple[str, ...], str]:
    """Return the colours and the surface of the sample swatches nearest to each half of a tile's swatch."""
    is_whole = tile.width < MIN_SIDE_PX
    small = _for_reading(tile, 0 if is_whole else round(tile.height * _SWATCH))
    samples = _samples(is_whole=is_whole)
    halves = [_nearest(small.crop(box), half) for box, half in zip(_HALVES, samples, strict=True)]
    colours = tuple(dict.fromkeys(colour for colour, _ in halves if colour))
    return colours, halves[0][1] or halves[1][1]


_HALVES: Final = ((0, 0, _READ_SIZE[0] // 2, _READ_SIZE[1]), (_READ_SIZE[0] // 2, 0, *_READ_SIZE))


def _for_reading(tile: Image.Image, top: int) -> Image.Image:
    """Return the swatch of a tile, which begins at `top`, at the size of comparison and without the outline."""
    edge = max(1, round(tile.width * 0.035))
    inner = tile.crop((edge, top + edge, tile.width - edge, tile.height - edge))
    return inner.resize(_READ_SIZE, Image.Resampling.BOX)


@dataclass(frozen=True, slots=True)
class _Sample:
    colour: str
    surface: str
    swatch: Image.Image
    mean: Colour


@lru_cache(maxsize=2)
def _samples(*, is_whole: bool) -> tuple[list[_Sample], list[_Sample]]:
    """Return the left and right halves of the swatches of every colour and surface."""
    halves: tuple[list[_Sample], list[_Sample]] = ([], [])
    side_px = _SMALL_SIDE if is_whole else _SIDE
    top = _swatch_top(side_px)
    for colour in ("", *COLOURS):
        for surface in ("", *SURFACES):
            swatch = _paint_swatch(side_px, (colour,) if colour else (), surface)
            whole = _for_reading(_outlined(swatch, side_px, top), 0)
            for half, box in zip(halves, _HALVES, strict=True):
                part = whole.crop(box)
                half.append(_Sample(colour, surface, part, _mean(part)))
    return halves


def _mean(image: Image.Image) -> Colour:
    red, green, blue = image.resize((1, 1), Image.Resampling.BOX).tobytes()
    return red, green, blue


def _nearest(half: Image.Image, samples: list[_Sample]) -> tuple[str, str]:
    mean = _mean(half)
    by_mean = sorted(samples, key=lambda sample: math.dist(sample.mean, mean))[:_CANDIDATES]
    best = min(by_mean, key=lambda sample: _difference(half, sample.swatch))
    return best.colour, best.surface


def _difference(half: Image.Image, sample: Image.Image) -> int:
    counts = ImageChops.difference(half, sample).histogram()
    return sum(map(mul, _VALUES, counts))
