"""References on their way from the actor to its engine."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from gems_actors.backends import ImagePart
from gems_actors.backends.diffusion.engine_messages import Raster
from gems_actors.backends.diffusion.reference_memory import pack, unpack
from gems_actors.backends.pictures import png_of


def part(picture: Pillow.Image) -> ImagePart:
    return ImagePart(png_of(picture), "image/png")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pictures_arrive_as_they_are_decoded() -> None:
    chance = np.random.default_rng(0)
    colors = Pillow.fromarray(chance.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    clear = Pillow.fromarray(chance.integers(1, 255, (8, 16, 4), dtype=np.uint8))
    gray = Pillow.fromarray(chance.integers(0, 256, (7, 5), dtype=np.uint8))
    turned = BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = 6  # a quarter to the right
    gray.save(turned, "PNG", exif=exif)
    before = open_descriptors()
    packed = pack([part(colors), part(clear), ImagePart(turned.getvalue(), "image/png")])
    assert packed.rasters == (Raster(30, 20, 3), Raster(16, 8, 4), Raster(7, 5, 3))
    first, second, third = unpack(packed.rasters, packed.memory)
    assert np.array_equal(np.asarray(first), np.asarray(colors))
    assert np.array_equal(np.asarray(second), np.asarray(clear))
    assert np.array_equal(np.asarray(third.convert("L")), np.rot90(np.asarray(gray), -1))
    assert open_descriptors() == before, "the engine closes its descriptor"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part(Pillow.new("RGB", (16, 16))), ImagePart(b"a red fox", "image/png")], "expected a complete PNG, .*a red"),
        ([part(Pillow.new("1", (8192, 4096)))] * 3, "at most 67,108,864 pixels in all pictures together, got 100,663,"),
    ],
)
@pytest.mark.slow
def test_what_is_no_picture_or_too_much_is_an_error_and_its_memory_is_freed(
    parts: list[ImagePart], expected: str
) -> None:
    before = open_descriptors()
    with pytest.raises(ValueError, match=expected):
        pack(parts)
    assert open_descriptors() == before
