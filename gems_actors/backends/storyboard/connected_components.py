"""Connected components of one colour in a picture, with Pillow and regular expressions over rows of pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

from gems_actors.backends.storyboard.patterns import Box, Colour

_RUN = re.compile(rb"\xff+")


@dataclass(slots=True)
class Region:
    """Connected pixels of a mask."""

    left: int
    top: int
    right: int
    bottom: int
    area_px: int

    @property
    def box(self) -> Box:
        """Bounding box."""
        return self.left, self.top, self.right, self.bottom


def mask_near(image: Image.Image, colour: Colour, tolerance: int) -> Image.Image:
    """Return an `L` mask, 255 where every channel is within the tolerance of the colour."""
    mask: Image.Image | None = None
    # From the channel that white paper has least of: where no pixel has it, the others need not be looked at.
    for channel in sorted(range(3), key=lambda channel: colour[channel]):
        near = [255 if abs(value - colour[channel]) <= tolerance else 0 for value in range(256)]
        band = image.getchannel(channel).point(near)
        mask = band if mask is None else ImageChops.darker(mask, band)
        if mask.getbbox() is None:
            break
    assert mask is not None
    return mask


def mask_beyond(image: Image.Image, colour: Colour, tolerance: int) -> Image.Image:
    """Return an `L` mask, 255 where some channel is outside the tolerance of the colour."""
    return ImageChops.invert(mask_near(image, colour, tolerance))


def find_regions(mask: Image.Image, min_area_px: int) -> list[Region]:
    """Return the connected regions of a mask of 0 and 255, from top to bottom."""
    bounds = mask.getbbox()
    if bounds is None:
        return []
    cut = mask.crop(bounds)
    data, width = cut.tobytes(), cut.width
    parents: list[int] = []
    regions: list[Region] = []
    above: list[tuple[int, int, int]] = []
    row = b""
    for y in range(cut.height):
        last, row = row, data[y * width : (y + 1) * width]
        if row == last:  # most rows of a storyboard are like the one above
            for start, end, index in above:
                region = regions[_root(parents, index)]
                region.bottom, region.area_px = y + 1, region.area_px + end - start
            continue
        here = []
        at = 0
        for match in _RUN.finditer(row):
            start, end = match.span()
            while at < len(above) and above[at][1] < start:
                at += 1
            index = -1
            look = at
            while look < len(above) and above[look][0] <= end:
                other = _root(parents, above[look][2])
                index = other if index < 0 else _merge(parents, regions, index, other)
                look += 1
            if index < 0:
                index = len(parents)
                parents.append(index)
                regions.append(Region(start, y, end, y + 1, 0))
            region = regions[index]
            region.left, region.right = min(region.left, start), max(region.right, end)
            region.bottom, region.area_px = y + 1, region.area_px + end - start
            here.append((start, end, index))
        above = here
    found = (region for index, region in enumerate(regions) if parents[index] == index)
    return [_moved(region, bounds) for region in found if region.area_px >= min_area_px]


def _moved(region: Region, bounds: Box) -> Region:
    left, top = bounds[:2]
    return Region(region.left + left, region.top + top, region.right + left, region.bottom + top, region.area_px)


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _merge(parents: list[int], regions: list[Region], first: int, second: int) -> int:
    if first == second:
        return first
    kept, gone = min(first, second), max(first, second)
    parents[gone] = kept
    region, other = regions[kept], regions[gone]
    region.left, region.top = min(region.left, other.left), min(region.top, other.top)
    region.right, region.bottom = max(region.right, other.right), max(region.bottom, other.bottom)
    region.area_px += other.area_px
    return kept


def ink_runs(mask: Image.Image, *, is_across: bool) -> Iterator[tuple[int, int]]:
    """Yield the runs of columns with ink, or of rows if not `is_across`, as (first, one past the last)."""
    if mask.width < 1 or mask.height < 1:
        return
    size = (mask.width, 1) if is_across else (1, mask.height)
    line = mask.resize(size, Image.Resampling.BOX).point(lambda value: 255 if value else 0).tobytes()
    for match in _RUN.finditer(line):
        yield match.start(), match.end()
