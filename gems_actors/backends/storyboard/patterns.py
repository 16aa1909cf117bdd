"""Paints a rectangle as a material or pattern in a colour. Tiles, and how they are read, must not live here."""

from __future__ import annotations

import math
from typing import Final

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom; right and bottom are exclusive."""

PLAIN: Final[Colour] = (221, 228, 238)
"""Fill of a thing without a colour."""
NATURAL: Final[dict[str, Colour]] = {
    "wooden": (204, 158, 104),
    "stone": (172, 168, 158),
    "metal": (148, 170, 200),
    "glass": (204, 234, 244),
    "brick": (192, 98, 74),
    "furry": (206, 176, 136),
    "paper": (252, 241, 204),
}
"""Fill of a surface without a colour."""
RIVET: Final[Colour] = (78, 88, 108)
_DARK: Final = 330


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two, nearer to the second for a larger share."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def paint_surface(size: tuple[int, int], unit_px: float, fill: Colour, surface: str) -> Image.Image:
    """Return a rectangle of one colour and surface; the pattern repeats by fractions of the unit."""
    face = Image.new("RGB", size, fill)
    if surface:
        _Painter(face, unit_px, fill).paint(surface)
    return face


def scatter_stars(face: Image.Image, fill: Colour) -> None:
    """Draw stars at the edges of a square face, around what is in its middle."""
    painter = _Painter(face, face.width, fill)
    for x, y, size in ((0.13, 0.16, 0.1), (0.87, 0.12, 0.07), (0.9, 0.6, 0.09), (0.1, 0.64, 0.06)):
        painter.star((x * face.width, y * face.height), size * face.width)


class _Painter:
    """Draws one pattern on a face that is filled with the colour."""

    def __init__(self, face: Image.Image, unit_px: float, fill: Colour) -> None:
        self._draw = ImageDraw.Draw(face)
        self._width, self._height = face.size
        self._unit = unit_px
        self._fill = fill
        self._mark = mix(fill, (255, 255, 255), 0.42) if sum(fill) < _DARK else mix(fill, (40, 44, 60), 0.38)
        self._shine = mix(fill, (255, 255, 255), 0.72)

    def paint(self, surface: str) -> None:
        """Draw the pattern of this surface."""
        {
            "striped": self._stripes,
            "spotted": self._spots,
            "checkered": self._checks,
            "brick": self._bricks,
            "wooden": self._grain,
            "metal": self._brushing,
            "glass": self._glints,
            "plastic": self._gloss,
            "stone": self._cracks,
            "sparkling": self._stars,
            "furry": self._tufts,
            "paper": self._lines,
        }[surface]()

    def _px(self, share: float) -> int:
        return max(1, round(share * self._unit))

    def _steps(self, step: float, length_px: int) -> range:
        return range(-1, math.ceil(length_px / (step * self._unit)) + 1)

    def _stripes(self) -> None:
        step, width = 0.25 * self._unit, self._px(0.11)
        for index in range(math.ceil((self._width + self._height) / step) + 1):
            x = index * step - self._height
            self._draw.line((x, self._height, x + self._height, 0), fill=self._mark, width=width)

    def _spots(self) -> None:
        radius = 0.055 * self._unit
        for row in self._steps(0.14, self._height):
            for column in self._steps(0.2, self._width):
                x, y = (column + 0.5 * (row % 2)) * 0.2 * self._unit, (row + 0.5) * 0.14 * self._unit
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=self._mark)

    def _checks(self) -> None:
        cell = self._unit / 7
        for row in self._steps(1 / 7, self._height):
            for column in self._steps(1 / 7, self._width):
                if (row + column) % 2:
                    x, y = column * cell, row * cell
                    self._draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=self._mark)

    def _bricks(self) -> None:
        mortar = self._shine if sum(self._fill) < 660 else self._mark
        width, high, wide = self._px(0.026), 0.095 * self._unit, 0.25 * self._unit
        for row in self._steps(0.095, self._height):
            self._draw.line((0, row * high, self._width, row * high), fill=mortar, width=width)
            for column in self._steps(0.25, self._width):
                x = (column + 0.5 * (row % 2)) * wide
                self._draw.line((x, row * high, x, (row + 1) * high), fill=mortar, width=width)

    def _grain(self) -> None:
        for row in self._steps(0.075, self._height):
            points = [
                (x * self._width / 24, (row + 0.5) * 0.075 * self._unit + math.sin(x * 0.55 + row) * 0.018 * self._unit)
                for x in range(25)
            ]
            self._draw.line(points, fill=self._mark, width=self._px(0.02))
        for x in (0.2, 0.76):
            middle, level, wide, high = x * self._width, self._height * 0.5, self._px(0.06), self._px(0.035)
            box = (middle - wide, level - high, middle + wide, level + high)
            self._draw.ellipse(box, fill=self._fill, outline=self._mark, width=self._px(0.024))

    def _brushing(self) -> None:
        for y in range(self._height):
            wave = 0.5 + 0.5 * math.cos(y / (0.27 * self._unit) * 2 * math.pi)
            bright = mix(mix(self._fill, (20, 24, 36), 0.35), mix(self._fill, (255, 255, 255), 0.7), wave)
            self._draw.line((0, y, self._width, y), fill=bright)
        rivet = 0.032 * self._unit
        for x in (0.14, 0.36, 0.64, 0.86):
            middle, level = x * self._width, 0.135 * self._unit
            self._draw.ellipse((middle - rivet, level - rivet, middle + rivet, level + rivet), fill=RIVET)

    def _glints(self) -> None:
        self._draw.rectangle((0, 0, self._width, self._height), fill=mix(self._fill, (255, 255, 255), 0.3))
        for x, width in ((0.18, 0.13), (0.68, 0.13)):
            start = x * self._width
            line = (start - self._height * 0.3, self._height, start + self._height * 0.3, 0)
            self._draw.line(line, fill=(255, 255, 255), width=self._px(width))
        inset, rim = self._px(0.04), mix(self._fill, (40, 80, 130), 0.45)
        box = (inset, inset, self._width - inset, max(2 * inset, self._height - inset))
        self._draw.rectangle(box, outline=rim, width=self._px(0.045))

    def _gloss(self) -> None:
        top, bottom = self._height * 0.14, self._height * 0.38
        self._draw.rounded_rectangle(
            (self._width * 0.08, top, self._width * 0.92, bottom), (bottom - top) / 2, fill=self._shine
        )
        dark = mix(self._fill, (0, 0, 0), 0.3)
        self._draw.rectangle((0, self._height * 0.66, self._width, self._height), fill=dark)

    def _cracks(self) -> None:
        cracks = (
            ((0, 0.5), (0.1, 0.3), (0.2, 0.55), (0.34, 0.25), (0.3, 0)),
            ((0.2, 0.55), (0.26, 1)),
            ((0.34, 0.25), (0.5, 0.6), (0.62, 0.4), (0.74, 0.7), (0.88, 0.35), (1, 0.55)),
            ((0.5, 0.6), (0.46, 1)),
            ((0.62, 0.4), (0.66, 0)),
            ((0.74, 0.7), (0.78, 1)),
            ((0.88, 0.35), (0.86, 0)),
        )
        for crack in cracks:
            points = [(x * self._width, y * self._height) for x, y in crack]
            self._draw.line(points, fill=self._mark, width=self._px(0.028))

    def _stars(self) -> None:
        for x, y, size in ((0.14, 0.5, 0.13), (0.37, 0.42, 0.09), (0.62, 0.56, 0.13), (0.86, 0.44, 0.1)):
            self.star((x * self._width, y * self._height), size * self._unit)

    def star(self, at: tuple[float, float], size: float) -> None:
        """Draw one star."""
        mark = (255, 252, 220) if sum(self._fill) < 560 else (214, 148, 20)
        x, y = at
        corners = []
        for corner in range(8):
            reach = size if corner % 2 == 0 else size * 0.24
            turn = corner * math.pi / 4
            corners.append((x + reach * math.sin(turn), y + reach * math.cos(turn)))
        self._draw.polygon(corners, fill=mark)

    def _tufts(self) -> None:
        for row in self._steps(0.085, self._height):
            for column in self._steps(0.09, self._width):
                x, y = (column + 0.5 * (row % 2)) * 0.09 * self._unit, row * 0.085 * self._unit
                end = (x + 0.03 * self._unit, y + 0.07 * self._unit)
                self._draw.line((x, y, *end), fill=self._mark, width=self._px(0.026))

    def _lines(self) -> None:
        for row in range(1, max(3, round(self._height / (0.085 * self._unit)))):
            y = (row - 0.1) * 0.085 * self._unit
            self._draw.line((self._width * 0.06, y, self._width * 0.74, y), fill=self._mark, width=self._px(0.036))
        fold = min(self._height * 0.8, 0.2 * self._unit)
        self._draw.polygon(((self._width - fold, 0), (self._width, 0), (self._width, fold)), fill=self._mark)
