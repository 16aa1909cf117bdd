"""Pictures to draw from: what is accepted, and what is kept of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gems_actors.app.references.pictures import MAX_FILE_BYTES, BadReferenceError, read_references, reference_in
from tests.actors.fakes import png


def photo(width_px: int = 48, height_px: int = 32, *, orientation: int = 6) -> bytes:
    """Return a JPEG file with the orientation of an upright phone, a comment and a place."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[1] = "N"
    file = BytesIO()
    Image.new("RGB", (width_px, height_px), "red").save(file, "JPEG", exif=exif, comment=b"at home")
    return file.getvalue()


def test_a_photo_is_turned_upright_and_says_nothing_about_its_place() -> None:
    found = reference_in(photo())
    assert (found.media_type, found.width_px, found.height_px) == ("image/jpeg", 32, 48)
    upright = reference_in(photo(orientation=1))
    assert (upright.media_type, upright.width_px) == ("image/jpeg", 48)
    for data in (found.data, upright.data):
        with Image.open(BytesIO(data)) as image:
            assert not image.getexif()
        assert b"at home" not in data


def test_another_text_in_a_file_is_no_other_picture() -> None:
    files = []
    for text in ("Steps: 20", "Steps: 30"):
        texts = PngInfo()
        texts.add_text("parameters", text)
        file = BytesIO()
        Image.new("RGB", (32, 16), "red").save(file, "PNG", pnginfo=texts)
        files.append(file.getvalue())
    one, other = (reference_in(file) for file in files)
    assert files[0] != files[1]
    assert one.ref == other.ref


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_png_jpeg_and_webp_are_pictures_to_draw_from(kind: str) -> None:
    file = BytesIO()
    Image.new("RGB", (40, 24), "blue").save(file, kind)
    found = reference_in(file.getvalue())
    assert (found.media_type, found.width_px, found.height_px) == (f"image/{kind.lower()}", 40, 24)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (b"GIF89a", "expected a complete PNG, JPEG or WebP picture, got 6 bytes: a GIF file; convert it"),
        (b"", "expected a complete PNG, JPEG or WebP picture, got 0 bytes: an empty file"),
        (png(32, 32)[:-20], r"expected a complete PNG, JPEG or WebP picture, got \d+ bytes: the file is cut short"),
        (png(15, 32), "expected sides of 16 to 8192 px, got 15x32"),
        (b"\0" * (MAX_FILE_BYTES + 1), "expected a file of up to 50 MiB, got more"),
        (7, "expected the path or bytes of a PNG, JPEG or WebP file, or an image of Pillow, got int"),
        ([png()] * 17, "expected up to 16 pictures, got 17"),
        ("no\0file", "no\0file: expected a readable file, got: .*null"),
    ],
)
def test_what_is_no_picture_to_draw_from_is_refused_in_one_line(given: Any, line: str) -> None:
    with pytest.raises(BadReferenceError, match=rf"\A{line}[^\n]*\Z"):
        read_references(given)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: None, "expected a readable file, got: No such file or directory"),
        (lambda path: path.mkdir(), "expected a readable file, got: a folder, not a file"),
        (os.mkfifo, "expected a readable file, got: a named pipe, not a file"),
        (lambda path: path.write_text("hello"), "expected a complete PNG, JPEG or WebP picture, got 5 bytes: 'hello'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(make: Callable[[Path], object], line: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    make(path)
    with pytest.raises(BadReferenceError, match=rf"\A{path}: {line}\Z"):
        read_references([path])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "CMYK", "F", "YCbCr"])
def test_images_of_pillow_are_given_as_they_are_shown(mode: str) -> None:
    (found,) = read_references(Image.new("RGB", (32, 16), "white").convert(mode))
    with Image.open(BytesIO(found.data)) as image:
        assert (image.size, image.convert("RGB").getpixel((3, 3))) == ((32, 16), (255, 255, 255))
