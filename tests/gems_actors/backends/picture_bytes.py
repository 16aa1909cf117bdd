"""Picture files of one colour in every mode and depth that PNG, JPEG and WebP have, and their damage."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image

SIZE = (32, 16)
GRAY, RGB, GRAY_ALPHA, RGB_ALPHA = 0, 2, 4, 6
"""Colour types of PNG."""


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(mode: str, colour: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return a file of one colour that Pillow writes."""
    return saved(Image.new(mode, SIZE, colour), kind, **options)


def raw_png(bits: int, colour_type: int, *sample: int, clear: tuple[int, ...] | None = None) -> bytes:
    """Return a PNG file of one colour in a depth that Pillow does not write, optionally with a transparent colour."""
    width, height = SIZE
    row = "".join(f"{value:0{bits}b}" for value in sample) * width
    packed = int(row, 2).to_bytes(len(row) // 8, "big")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))]
    if clear is not None:
        chunks.append((b"tRNS", struct.pack(f">{len(clear)}H", *clear)))
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + packed for _ in range(height)))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def noise(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """Return a file of noise, which no encoder makes small."""
    picture = Image.effect_noise(size, 90).convert("RGB")
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(size))
    return saved(picture if mode == "RGBA" else picture.convert(mode), kind, **options)


def pixel_of(data: bytes, mode: str | None = None) -> tuple[int, ...]:
    """Return the colour in the middle of a picture file, as a reader sees it that converts to a mode."""
    with Image.open(BytesIO(data)) as image:
        found = (image if mode is None else image.convert(mode)).getpixel((SIZE[0] // 2, SIZE[1] // 2))
    return found if isinstance(found, tuple) else (int(found or 0),)


def is_near(found: tuple[int, ...], expected: tuple[int, ...], by: int = 4) -> bool:
    """Return whether two colours are the same but for the rounding of an encoder."""
    return len(found) == len(expected) and all(
        abs(one - other) <= by for one, other in zip(found, expected, strict=True)
    )
