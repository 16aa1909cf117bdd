"""Pictures to draw from, read and checked before anything is drawn.

Of a file, only what the picture shows is kept: it is turned upright, and texts, EXIF and XMP, which may say where a
photo was taken, stay with the user.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from gems_actors.files import open_regular, reason_of
from protocol.identity import digest_of
from protocol.limits import MAX_BLOB_BYTES, MAX_REFERENCES, MAX_SIDE_PX
from protocol.messages import ImageRef

if TYPE_CHECKING:
    from PIL import Image

MAX_FILE_BYTES: Final = 50 * 1024 * 1024
"""Size of a file with a picture to draw from, as in OpenAI's Images API."""
MIN_SIDE_PX: Final = 16

DecodedT = TypeVar("DecodedT")

GivenImage: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
"""A picture as a program has it: the path of a PNG, JPEG or WebP file, the bytes of one, or an image of Pillow."""


class BadReferenceError(ValueError):
    """A picture to draw from cannot be used; the text says why in one line."""


@dataclass(frozen=True)
class Reference:
    """A picture to draw from, decoded whole and upright, without metadata."""

    data: bytes
    """PNG, JPEG or WebP file."""
    media_type: str
    width_px: int
    height_px: int

    @cached_property
    def ref(self) -> ImageRef:
        """What requests name it by, once it is in the store."""
        return ImageRef(
            digest=digest_of(self.data),
            media_type=self.media_type,
            bytes=len(self.data),
            width_px=self.width_px,
            height_px=self.height_px,
        )


def reference_in(data: bytes) -> Reference:
    """Return the picture in a PNG, JPEG or WebP file, turned upright as its EXIF says.

    Runs in a worker thread: a photo takes a tenth of a second.

    Raises:
        BadReferenceError: the file is larger than 50 MiB, damaged, of another kind, or its sides are not 16 to 8192 px.
    """
    from gems_actors.app.picture_files import file_of, format_of  # load Pillow, once there is a picture
    from gems_actors.backends.pictures import decode_picture

    decoded = _decoded(data, decode_picture)
    width_px, height_px = _checked(decoded.image.size)
    # a photo that is turned upright stays a JPEG: as PNG it would be several times as large
    keeps_format = decoded.is_plain or decoded.media_type == "image/jpeg"
    picture_format = format_of(decoded.media_type) if keeps_format else "png"
    file = file_of(decoded, data, picture_format, {})
    if len(file) > MAX_BLOB_BYTES:
        size = f"{len(file) / 2**20:.0f} MiB, {width_px}x{height_px}"
        raise BadReferenceError(
            f"expected a picture of up to {MAX_BLOB_BYTES // 2**20} MiB as {picture_format.upper()}, got {size}"
        )
    return Reference(file, f"image/{picture_format}", width_px, height_px)


def size_of(data: bytes) -> tuple[int, int]:
    """Return the width and height of the picture in a file as it is shown, without decoding it.

    Raises:
        BadReferenceError: as `reference_in`, but for damage inside.
    """
    from gems_actors.backends.pictures import shown_size  # loads Pillow, once there is a picture

    return _checked(_decoded(data, shown_size))


def file_in(text: str) -> bytes:
    """Return the file in a text: base64, or a `data:` address with base64.

    Raises:
        BadReferenceError: it is something else.
    """
    head, comma, rest = text.partition(",") if text.startswith("data:") else ("", "", text)
    try:
        if comma and not head.endswith(";base64"):
            raise ValueError("no ;base64 before the comma")
        return base64.b64decode(rest, validate=True)
    except ValueError as error:
        expected = "expected base64, or a data: address with base64"
        raise BadReferenceError(f"{expected}, got {text[:40]!r}: {error}") from error


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, at most one more than a picture to draw from may have.

    Raises:
        BadReferenceError: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise BadReferenceError(f"expected a readable file, got: {reason_of(error)}") from error


def read_references(given: GivenImage | Sequence[GivenImage]) -> tuple[Reference, ...]:
    """Return the pictures that a program gives, one or several.

    Raises:
        BadReferenceError: one of them cannot be used, or there are more than 16; the text names the file.
    """
    several = given if isinstance(given, list | tuple) else (given,)
    if len(several) > MAX_REFERENCES:
        raise BadReferenceError(f"expected up to {MAX_REFERENCES} pictures, got {len(several)}")
    return tuple(map(_read, several))


def _decoded(data: bytes, decode: Callable[[bytes], DecodedT]) -> DecodedT:
    if len(data) > MAX_FILE_BYTES:
        raise BadReferenceError(f"expected a file of up to {MAX_FILE_BYTES // 2**20} MiB, got more")
    try:
        return decode(data)
    except ValueError as error:
        raise BadReferenceError(str(error)) from error


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    if min(size) < MIN_SIDE_PX:
        raise BadReferenceError(f"expected sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} px, got {size[0]}x{size[1]}")
    return size


def _read(given: GivenImage) -> Reference:
    if isinstance(given, bytes):
        return reference_in(given)
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        return _named(str(path), lambda: reference_in(read_file(path)))
    if hasattr(given, "save"):
        return reference_in(_png_of(given))
    expected = "expected the path or bytes of a PNG, JPEG or WebP file, or an image of Pillow"
    raise BadReferenceError(f"{expected}, got {type(given).__name__}")


def _named(name: str, read: Callable[[], Reference]) -> Reference:
    try:
        return read()
    except BadReferenceError as error:
        raise BadReferenceError(f"{name}: {error}") from error


def _png_of(image: Image.Image) -> bytes:
    from PIL import ImageOps

    file = io.BytesIO()
    upright = ImageOps.exif_transpose(image)
    kept = upright if upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else upright.convert("RGB")
    kept.save(file, "PNG", compress_level=1)
    return file.getvalue()
