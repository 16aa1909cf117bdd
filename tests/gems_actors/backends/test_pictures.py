"""Pictures of every mode and encoding are decoded whole and shown right; damaged ones are refused."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any, NamedTuple
from zlib import crc32

import pytest
from PIL import Image

from gems_actors.app.picture_files import ENDINGS, PictureFormat, picture_of
from gems_actors.backends.pictures import decode_picture, usable_picture, visible_picture
from tests.gems_actors.backends.picture_bytes import (
    GRAY,
    GRAY_ALPHA,
    RGB,
    RGB_ALPHA,
    SIZE,
    flat,
    is_near,
    noise,
    pixel_of,
    raw_png,
    saved,
)

WHITE = (255, 255, 255)


class Case(NamedTuple):
    """A picture file of one colour, and what readers must see."""

    data: bytes
    colour: tuple[int, int, int]
    """Colour over white."""
    alpha: int = 255
    is_kept: bool = False
    """Whether the file keeps its bytes, because every reader shows it alike."""


def palette_png(clear: bytes | int | None) -> bytes:
    image = Image.new("P", SIZE, 1)
    image.putpalette([9, 9, 9, 200, 30, 40])
    return saved(image, "PNG", **({} if clear is None else {"transparency": clear}))


CASES = {
    "png 1 bit": Case(raw_png(1, GRAY, 1), WHITE, is_kept=True),
    "png 1 bit, clear": Case(raw_png(1, GRAY, 0, clear=(0,)), WHITE, 0),
    "png 1 bit, other clear": Case(raw_png(1, GRAY, 0, clear=(1,)), (0, 0, 0)),
    "png gray of 2 bits": Case(raw_png(2, GRAY, 2), (170, 170, 170), is_kept=True),
    "png gray of 2 bits, clear": Case(raw_png(2, GRAY, 2, clear=(2,)), WHITE, 0),
    "png gray of 4 bits, clear": Case(raw_png(4, GRAY, 5, clear=(5,)), WHITE, 0),
    "png gray of 4 bits, other clear": Case(raw_png(4, GRAY, 5, clear=(6,)), (85, 85, 85)),
    "png gray": Case(flat("L", 100), (100, 100, 100), is_kept=True),
    "png gray, clear": Case(raw_png(8, GRAY, 100, clear=(100,)), WHITE, 0),
    "png gray of 16 bits": Case(raw_png(16, GRAY, 32_768), (128, 128, 128)),
    "png gray of 16 bits, dark": Case(raw_png(16, GRAY, 300), (1, 1, 1)),
    "png gray of 16 bits, full": Case(raw_png(16, GRAY, 65_535), WHITE),
    "png gray of 16 bits, clear": Case(raw_png(16, GRAY, 32_768, clear=(32_768,)), WHITE, 0),
    "png gray of 16 bits, other clear": Case(raw_png(16, GRAY, 32_768, clear=(32_769,)), (128, 128, 128)),
    "png I;16 by Pillow": Case(flat("I;16", 32_768), (128, 128, 128)),
    "png gray with alpha": Case(flat("LA", (100, 0)), WHITE, 0),
    "png gray with half alpha": Case(flat("LA", (0, 128)), (127, 127, 127), 128),
    "png gray of 16 bits with alpha": Case(raw_png(16, GRAY_ALPHA, 0, 0), WHITE, 0),
    "png RGB": Case(flat("RGB", (200, 30, 40)), (200, 30, 40), is_kept=True),
    "png RGB, clear": Case(raw_png(8, RGB, 200, 30, 40, clear=(200, 30, 40)), WHITE, 0),
    "png RGB, other clear": Case(raw_png(8, RGB, 200, 30, 40, clear=(0, 0, 0)), (200, 30, 40)),
    "png RGB of 16 bits": Case(raw_png(16, RGB, 0x8000, 0x4000, 0xC000), (128, 64, 192), is_kept=True),
    "png RGB of 16 bits, clear": Case(
        raw_png(16, RGB, 0x8000, 0x4000, 0xC000, clear=(0x8000, 0x4000, 0xC000)), WHITE, 0
    ),
    "png RGBA": Case(flat("RGBA", (200, 30, 40, 0)), WHITE, 0),
    "png RGBA, half": Case(flat("RGBA", (200, 0, 0, 128)), (227, 127, 127), 128),
    "png RGBA, opaque": Case(flat("RGBA", (200, 30, 40, 255)), (200, 30, 40)),
    "png RGBA of 16 bits": Case(raw_png(16, RGB_ALPHA, 0xFFFF, 0, 0, 0), WHITE, 0),
    "png palette": Case(palette_png(None), (200, 30, 40), is_kept=True),
    "png palette, one clear": Case(palette_png(1), WHITE, 0),
    "png palette, other clear": Case(palette_png(0), (200, 30, 40)),
    "png palette, half clear": Case(palette_png(b"\xff\x80"), (227, 142, 147), 128),
    "jpeg gray": Case(flat("L", 100, "JPEG"), (100, 100, 100), is_kept=True),
    "jpeg RGB": Case(flat("RGB", (200, 30, 40), "JPEG", quality=95), (200, 30, 40), is_kept=True),
    "jpeg progressive": Case(flat("RGB", (200, 30, 40), "JPEG", progressive=True), (200, 30, 40), is_kept=True),
    "jpeg YCbCr": Case(flat("YCbCr", (100, 128, 128), "JPEG"), (100, 100, 100), is_kept=True),
    "jpeg CMYK": Case(flat("CMYK", (0, 200, 200, 20), "JPEG"), (235, 51, 51)),
    "jpeg CMYK with an unusable profile": Case(
        flat("CMYK", (0, 200, 200, 20), "JPEG", icc_profile=b"nonsense"), (235, 51, 51)
    ),
    "webp RGB": Case(flat("RGB", (200, 30, 40), "WEBP", quality=95), (200, 30, 40), is_kept=True),
    "webp RGBA": Case(flat("RGBA", (200, 30, 40, 0), "WEBP", lossless=True, exact=True), WHITE, 0),
    "webp RGBA, half": Case(flat("RGBA", (200, 0, 0, 128), "WEBP", lossless=True), (227, 127, 127), 128),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.slow
def test_every_mode_and_encoding_is_shown_right_on_arrival_to_the_verifier_and_in_every_format(case: Case) -> None:
    arrived = usable_picture(case.data)
    assert (arrived.data == case.data) is case.is_kept
    assert (arrived.width_px, arrived.height_px) == SIZE
    seen = visible_picture(arrived.data, arrived.media_type)
    assert is_near(pixel_of(seen.data, "RGB"), case.colour)
    old = visible_picture(case.data, "image/anything")  # as an earlier version stored it
    assert is_near(pixel_of(old.data, "RGB"), case.colour)
    for stored in (arrived.data, case.data):
        for format_ in ENDINGS:
            file = picture_of(stored, arrived.media_type, format_, {"parameters": "x"})
            colour = pixel_of(file, "RGBA")
            assert colour[3] == (255 if format_ == "jpeg" else case.alpha), format_
            if format_ == "jpeg" or case.alpha in (0, 255):  # where nothing is visible, the hidden colour is white
                assert is_near(pixel_of(file, "RGB"), case.colour), format_


def test_the_formats_of_the_pictures_say_what_they_are() -> None:
    assert usable_picture(flat("CMYK", (0, 200, 200, 20), "JPEG")).media_type == "image/png"
    assert usable_picture(flat("RGB", "red", "JPEG")).media_type == "image/jpeg"
    assert usable_picture(flat("RGB", "red", "WEBP")).media_type == "image/webp"


WHOLE: dict[str, bytes] = {
    "png": noise("PNG"),
    "png RGBA": noise("PNG", "RGBA"),
    "png gray": noise("PNG", "L"),
    "jpeg": noise("JPEG"),
    "jpeg progressive": noise("JPEG", progressive=True),
    "jpeg CMYK": noise("JPEG", "CMYK"),
    "webp": noise("WEBP"),
    "webp lossless": noise("WEBP", lossless=True),
    "webp RGBA": noise("WEBP", "RGBA"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_picture_that_is_cut_anywhere_is_refused(kind: str) -> None:
    data = WHOLE[kind]
    usable_picture(data)
    for length in (0, 1, 12, 40, *(len(data) * part // 10 for part in range(1, 10)), len(data) - 4, len(data) - 1):
        with pytest.raises(ValueError, match=f"expected a complete PNG, JPEG or WebP picture, got {length} bytes: "):
            usable_picture(data[:length])


def test_a_flipped_byte_of_a_png_is_never_shown() -> None:
    data = flat("RGB", (200, 30, 40))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        with pytest.raises(ValueError, match="expected a complete PNG, JPEG or WebP picture"):
            usable_picture(bytes(damaged))


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if not kind.startswith("png")])
def test_a_flipped_byte_of_another_picture_is_refused_or_decoded(kind: str) -> None:
    data = WHOLE[kind]
    for place in range(0, len(data), max(1, len(data) // 60)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        with suppress(ValueError):
            assert usable_picture(bytes(damaged)).width_px >= 16  # and nothing but ValueError is raised


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"GIF89a\1\0", "a GIF file; convert it"),
        (b"II*\0\x08\0", "a TIFF file; convert it"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "a HEIC file; convert it"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF file; convert it"),
        (b"\x89PNG\r\n\x1a\nnothing", "the header is damaged or cut short"),
        (b"<html>busy</html>", "'<html>busy</html>'"),
        ("ä".encode() * 300, repr("ä" * 100)),
        (b"a" + "ä".encode() * 300, repr("a" + "ä" * 99)),
        (b"\x7fELF\2\1\1\0", "another kind of file"),
        ("à la carte".encode("latin-1") * 9, "another kind of file"),
    ],
)
def test_another_kind_of_file_is_named_and_only_text_is_quoted(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match="expected a complete PNG, JPEG or WebP picture") as caught:
        usable_picture(data)
    assert str(caught.value).endswith(f", got {len(data)} bytes: {reason}")


@pytest.mark.parametrize("size", [(0, 16), (16, 0), (8193, 16), (16, 9000), (60_000, 60_000)])
def test_a_picture_of_an_impossible_size_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    data = flat("RGB", "red")
    header = data[12:16] + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + data[24:29]
    forged = data[:12] + header + crc32(header).to_bytes(4, "big") + data[33:]
    with pytest.raises(ValueError, match=r"expected a complete PNG, JPEG or WebP picture.* (8192|damaged)"):
        usable_picture(forged)


@pytest.mark.parametrize("data", [b"", b"no picture", b"<html>sign in</html>"])
def test_bytes_that_are_no_picture_are_quoted(data: bytes) -> None:
    for read in (usable_picture, decode_picture):
        with pytest.raises(ValueError, match=f"got {len(data)} bytes: ") as caught:
            read(data)
        assert data.decode(errors="replace")[:6].replace("\0", "") in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_turned_picture_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = usable_picture(flat("RGB", "red", "JPEG", exif=exif))
    assert (turned.width_px, turned.height_px) == SIZE[::-1]
    assert usable_picture(flat("RGB", "red", "JPEG", exif=b"Exif\0\0nonsense")).width_px == SIZE[0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind: str) -> None:
    options: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", SIZE, "blue")]}
    picture = usable_picture(flat("RGB", "red", kind, lossless=True, **options))
    with Image.open(BytesIO(picture.data)) as image:
        assert not getattr(image, "is_animated", False)
    assert pixel_of(picture.data, "RGB") == (255, 0, 0)


@pytest.mark.parametrize("format_", ENDINGS)
def test_the_profile_of_a_picture_stays_with_its_colours(format_: PictureFormat) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (flat("RGB", "red", icc_profile=profile), flat("RGBA", (200, 0, 0, 128), icc_profile=profile)):
        with Image.open(BytesIO(picture_of(data, "image/png", format_, {}))) as image:
            assert image.info.get("icc_profile") == profile
