"""Small signs in the middle of a tile that show which thing it stands for."""

from __future__ import annotations

from PIL import Image

from gems_actors.backends.storyboard.layout import Box
from gems_actors.backends.storyboard.lettering import SIZES_PX, glyph, write

_INK = (52, 68, 98)


def draw_pictogram(image: Image.Image, name: str, tile: Box) -> None:
    """Draw the sign of a thing on the white disc of its tile, unless the tile is too small."""
    side = tile[2] - tile[0]
    size = max((size for size in SIZES_PX if size <= side * 0.4), default=0)
    if not size or side < 24:
        return
    letter = name[0].upper()
    shape = glyph(letter, size)
    x = (tile[0] + tile[2] - shape.mask.width) // 2
    y = (tile[1] + tile[3] - shape.mask.height) // 2 - shape.top_px
    write(image, (x, y), letter, size, _INK)
