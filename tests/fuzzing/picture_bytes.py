"""A picture from an image server, and its way into an output file."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

from PIL import Image

from gems_actors.app.picture_files import PictureError, picture_of
from gems_actors.backends.pictures import decode_picture, usable_picture, visible_picture


def seeds() -> list[bytes]:
    """Return small pictures of every kind, and a few of odd modes."""
    found = []
    for mode, kinds in {
        "RGB": ("PNG", "JPEG", "WEBP"),
        "RGBA": ("PNG", "WEBP"),
        "P": ("PNG",),
        "CMYK": ("JPEG",),
    }.items():
        for kind in kinds:
            file = BytesIO()
            Image.new(mode, (9, 7), 1 if mode == "P" else tuple(range(40, 40 + 40 * len(mode), 40))).save(file, kind)
            found.append(file.getvalue())
    return found


def check(data: bytes) -> None:
    """Decode a picture, and write it in every format if it can be used."""
    with suppress(ValueError):
        visible_picture(data, "image/png")
    with suppress(ValueError):
        usable = usable_picture(data)
        again = decode_picture(usable.data)
        assert again.image.size == (usable.width_px, usable.height_px)
        for picture_format in ("png", "jpeg", "webp"):
            with suppress(PictureError):
                written = picture_of(data, usable.media_type, picture_format, {"parameters": "a fox\nSteps: 1"})
                assert decode_picture(written).image.size == again.image.size, picture_format
