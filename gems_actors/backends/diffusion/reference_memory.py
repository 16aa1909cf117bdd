"""References on their way to the engine's process: decoded once, in anonymous memory, one after the other.

The actor's process packs them in a worker thread, because the engine's only thread launches the work of its device.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from PIL import Image as Pillow

from gems_actors.backends import ImagePart
from gems_actors.backends.diffusion.engine_messages import Raster
from gems_actors.backends.pictures import decode_picture

_MAX_PX: Final = 2**26
"""Maximum pixels of all references of a request: one of 8192x8192, or sixteen of 2048x2048; up to 256 MiB decoded."""


class Packed(NamedTuple):
    """Decoded pictures."""

    rasters: tuple[Raster, ...]
    memory: int
    """Descriptor of their pixels, one picture after the other; the caller closes it."""


def pack(parts: Sequence[ImagePart]) -> Packed:
    """Return the pictures of files, decoded; those with transparent parts have alpha.

    Raises:
        ValueError: a file is no complete picture, or all pictures together are too large.
    """
    memory = os.memfd_create("gems-references", os.MFD_CLOEXEC)
    try:
        rasters: list[Raster] = []
        for part in parts:
            picture = decode_picture(part.data).image
            if picture.mode != "RGBA":
                picture = picture.convert("RGB")
            rasters.append(Raster(*picture.size, len(picture.getbands())))
            if (total := sum(raster.width_px * raster.height_px for raster in rasters)) > _MAX_PX:
                raise ValueError(f"expected at most {_MAX_PX:,} pixels in all pictures together, got {total:,} or more")
            _write_all(memory, picture.tobytes())
    except BaseException:
        os.close(memory)
        raise
    return Packed(tuple(rasters), memory)


def unpack(rasters: Sequence[Raster], memory: int) -> list[Pillow.Image]:
    """Return packed pictures, RGB or RGBA, and close the descriptor."""
    pictures, start = [], 0
    try:
        with mmap.mmap(memory, sum(raster.size_bytes for raster in rasters), access=mmap.ACCESS_READ) as pixels:
            for raster in rasters:
                mode = "RGBA" if raster.channels == 4 else "RGB"
                data = pixels[start : start + raster.size_bytes]
                pictures.append(Pillow.frombytes(mode, (raster.width_px, raster.height_px), data))
                start += raster.size_bytes
    finally:
        os.close(memory)
    return pictures


def _write_all(memory: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(memory, rest) :]
