"""Finds things of one colour in a picture, with nothing but Pillow and regular expressions over rows of pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

from gems_actors.backends.storyboard.layout import Box
from gems_actors.backends.storyboard.tiles import Colour

_RUN = re.compile(rb"\xff+")


@dataclass(slots=True)
class Region:
    """Pixels of a mask that hang together."""

    left: int
    top: int
    right: int
    bottom: int
    area_px: int

    @property
    def box(self) -> Box:
        """The smallest box around it."""
        return self.left, self.top, self.right, self.bottom


def mask_near(image: Image.Image, colour: Colour, tolerance: int) -> Image.Image:
    """Return an `L` mask, 255 where no channel is further from the colour than the tolerance."""
    bands = [
        band.point([255 if abs(value - middle) <= tolerance else 0 for value in range(256)])
        for band, middle in zip(image.split(), colour, strict=True)
    ]
    return ImageChops.darker(ImageChops.darker(bands[0], bands[1]), bands[2])


def mask_beyond(image: Image.Image, colour: Colour, tolerance: int) -> Image.Image:
    """Return an `L` mask, 255 where some channel is further from the colour than the tolerance."""
    return ImageChops.invert(mask_near(image, colour, tolerance))


def find_regions(mask: Image.Image, min_area_px: int) -> list[Region]:
    """Return the islands of a mask of 0 and 255 from top to bottom, each run of pixels joined to those it touches."""
    bounds = mask.getbbox()
    if bounds is None:
        return []
    cut = mask.crop(bounds)
    data, width = cut.tobytes(), cut.width
    parents: list[int] = []
    islands: list[Region] = []
    above: list[tuple[int, int, int]] = []
    for y in range(cut.height):
        here = []
        at = 0
        for match in _RUN.finditer(data, y * width, (y + 1) * width):
            start, end = match.start() - y * width, match.end() - y * width
            while at < len(above) and above[at][1] < start:
                at += 1
            index = -1
            look = at
            while look < len(above) and above[look][0] <= end:
                other = _root(parents, above[look][2])
                index = other if index < 0 else _merge(parents, islands, index, other)
                look += 1
            if index < 0:
                index = len(parents)
                parents.append(index)
                islands.append(Region(start, y, end, y + 1, 0))
            island = islands[index]
            island.left, island.right = min(island.left, start), max(island.right, end)
            island.bottom, island.area_px = y + 1, island.area_px + end - start
            here.append((start, end, index))
        above = here
    found = (island for index, island in enumerate(islands) if parents[index] == index)
    return [_moved(island, bounds) for island in found if island.area_px >= min_area_px]


def _moved(island: Region, bounds: Box) -> Region:
    left, top = bounds[:2]
    return Region(island.left + left, island.top + top, island.right + left, island.bottom + top, island.area_px)


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _merge(parents: list[int], islands: list[Region], first: int, second: int) -> int:
    if first == second:
        return first
    kept, gone = min(first, second), max(first, second)
    parents[gone] = kept
    island, other = islands[kept], islands[gone]
    island.left, island.top = min(island.left, other.left), min(island.top, other.top)
    island.right, island.bottom = max(island.right, other.right), max(island.bottom, other.bottom)
    island.area_px += other.area_px
    return kept


def ink_runs(mask: Image.Image, *, is_across: bool) -> Iterator[tuple[int, int]]:
    """Yield the (first, one past the last) columns of a mask that hold anything, or the rows where not `is_across`."""
    if mask.width < 1 or mask.height < 1:
        return
    size = (mask.width, 1) if is_across else (1, mask.height)
    line = mask.resize(size, Image.Resampling.BOX).point(lambda value: 255 if value else 0).tobytes()
    for match in _RUN.finditer(line):
        yield match.start(), match.end()
