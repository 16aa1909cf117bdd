"""Pictures as files: decoded whole when they arrive, in colours that all readers show alike, and as chat models see.

Runs in worker threads: a large picture takes a tenth of a second. This module knows neither models nor roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Final, NamedTuple
from zlib import crc32

from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from gems_actors.backends import MEDIA_TYPES, GeneratedImage, ImagePart
from protocol.limits import MAX_SIDE_PX

_MAX_QUOTED: Final = 200
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SIGNATURES: Final = (PNG_SIGNATURE[:4], b"\xff\xd8", b"RIFF")
_OTHER_KINDS: Final = {
    b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"8BPS": "Photoshop", b"\0\0\1\0": "ICO",
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"\0\0\0\x0cjP  ": "JPEG 2000", b"%PDF": "PDF",
    b"<svg": "SVG",
}  # fmt: skip
_ISO_KINDS: Final = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC",
}  # fmt: skip
_JPEG_END: Final = b"\xff\xd9"
_MAX_BYTES_AFTER_END: Final = 1024
_MAX_BYTES_OF_CHARACTER: Final = 4
_PLAIN_MODES: Final = ("1", "L", "P", "RGB")
"""Modes of 8 bits or less without transparency, which every reader shows alike."""
_ORIENTATION: Final = 0x0112
_TURNED: Final = range(5, 9)
"""Orientations in which width and height change places."""


class DecodedPicture(NamedTuple):
    """A picture that was decoded whole."""

    image: Pillow.Image
    """Picture in 8 bits; RGBA if parts are transparent, and then without colour where nothing is visible."""
    media_type: str
    """Media type of its file."""
    is_plain: bool
    """Whether its file shows the same in every reader, so that it can be kept as it is."""


def decode_picture(data: bytes) -> DecodedPicture:
    """Return the picture in a PNG, JPEG or WebP file, decoded whole, in 8-bit colours of a screen.

    CMYK follows its embedded profile where it has one; 16 bits are scaled; a palette's or a colour's transparency
    becomes alpha; a turned picture is turned back; of an animation, the first frame counts.

    Raises:
        ValueError: the file is cut short, damaged, of another kind, or larger than a picture may be.
    """
    try:
        with Pillow.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as file:
            kind = file.format or ""
            _check_file(data, kind, file.size)
            file.load()
            is_plain = _is_plain(file) and _orientation_of(file) == 1
            image = _plain_copy(file) if is_plain else _normalised(file, data)
    except Exception as error:  # decoders raise anything on foreign bytes, from EOFError to struct.error
        raise ValueError(_unusable(data, error)) from error
    return DecodedPicture(image, MEDIA_TYPES[kind], is_plain)


def shown_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of the picture in a file as it is shown, in pixels, without decoding it.

    Raises:
        ValueError: as `decode_picture`, but for damage inside a JPEG or WebP picture.
    """
    try:
        with Pillow.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as file:
            _check_file(data, file.format or "", file.size)
            width_px, height_px = file.size
            return (height_px, width_px) if _orientation_of(file) in _TURNED else (width_px, height_px)
    except Exception as error:  # as in `decode_picture`
        raise ValueError(_unusable(data, error)) from error


def usable_picture(data: bytes) -> GeneratedImage:
    """Return the picture in a file once it is decoded whole: the same bytes, or a PNG file where its colours need it.

    Raises:
        ValueError: as `decode_picture`.
    """
    decoded = decode_picture(data)
    width_px, height_px = decoded.image.size
    if decoded.is_plain:
        return GeneratedImage(data, decoded.media_type, width_px, height_px)
    return GeneratedImage(png_of(decoded.image), "image/png", width_px, height_px)


def visible_picture(data: bytes, media_type: str) -> ImagePart:
    """Return a picture as a chat model sees it: what is transparent is white, because servers show hidden colours.

    Raises:
        ValueError: as `decode_picture`; a plain picture is not decoded.
    """
    try:
        with Pillow.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as file:
            if _is_plain(file):
                return ImagePart(data, media_type)
    except Exception as error:  # as in `decode_picture`
        raise ValueError(_unusable(data, error)) from error
    return ImagePart(png_of(over_white(decode_picture(data).image)), "image/png")


def over_white(image: Pillow.Image) -> Pillow.Image:
    """Return a decoded picture in RGB, what is transparent in white."""
    if image.mode != "RGBA":
        opaque = image.convert("RGB")
        if image.mode != "RGB":
            opaque.info.pop("icc_profile", None)  # one for gray says nothing about RGB
        return opaque
    opaque = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image).convert("RGB")
    opaque.info = dict(image.info)
    return opaque


def png_of(image: Pillow.Image) -> bytes:
    """Return a decoded picture as a PNG file."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)  # a third of the time of the default, 6
    return file.getvalue()


def png_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the chunks of a PNG file up to its end, whole, with their lengths and checksums.

    Raises:
        ValueError: the file is cut short or damaged.
    """
    start, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        kind, body = data[start + 4 : start + 8], data[start + 4 : end - 4]
        if end > len(data) or start + 12 > len(data):
            raise ValueError("the file is cut short")
        if crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"the checksum of {kind.decode('latin-1')} does not match")
        yield data[start:end]
        start = end


def _unusable(data: bytes, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = _kind_in_words(data)
    elif isinstance(error, Pillow.DecompressionBombError):  # found before the size can be asked for
        reason = f"more pixels than {MAX_SIDE_PX}x{MAX_SIDE_PX}"
    shown = " ".join(reason.split())[:_MAX_QUOTED]
    return f"expected a complete PNG, JPEG or WebP picture, got {len(data)} bytes: {shown}"


def _kind_in_words(data: bytes) -> str:
    """Return what a file is that Pillow does not identify; an answer of a server or a text is quoted."""
    kind = next((kind for signature, kind in _OTHER_KINDS.items() if data.startswith(signature)), None)
    if kind := kind or (_ISO_KINDS.get(data[8:12]) if data[4:8] == b"ftyp" else None):
        return f"{'an' if kind[0] in 'AIS' else 'a'} {kind} file; convert it"
    if data.startswith(_SIGNATURES):
        return "the header is damaged or cut short"
    if not data:
        return "an empty file"
    start = data[:_MAX_QUOTED]
    text = start.decode(errors="ignore")
    is_text = b"\0" not in start and len(start) - len(text.encode()) < _MAX_BYTES_OF_CHARACTER
    return repr(text) if is_text else "another kind of file"


def _check_file(data: bytes, kind: str, size: tuple[int, int]) -> None:
    """Check what Pillow's decoders leave unchecked: the size, checksums of PNG, and whether the end is there."""
    if not all(1 <= side <= MAX_SIDE_PX for side in size):
        raise ValueError(f"sides of {size[0]}x{size[1]} px, of which each may have up to {MAX_SIDE_PX}")
    if kind == "PNG":
        for _ in png_chunks(data):
            pass
    if kind == "WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ValueError("the file is cut short")
    if kind == "JPEG" and _JPEG_END not in data[-_MAX_BYTES_AFTER_END:]:
        raise ValueError("the file is cut short")


def _is_plain(file: Pillow.Image) -> bool:
    is_animated = getattr(file, "is_animated", False)
    return file.mode in _PLAIN_MODES and not file.has_transparency_data and not is_animated


def _orientation_of(file: Pillow.Image) -> int:
    """Return the orientation that EXIF states; 1, upright, without one or where EXIF cannot be read."""
    with suppress(Exception):  # as in `decode_picture`; unreadable EXIF does not spoil a picture
        return int(file.getexif().get(_ORIENTATION, 1) or 1)
    return 1


def _plain_copy(file: Pillow.Image) -> Pillow.Image:
    image = file.copy()
    image.info = {"icc_profile": file.info["icc_profile"]} if "icc_profile" in file.info else {}
    return image


def _normalised(file: Pillow.Image, data: bytes) -> Pillow.Image:
    """Return a picture as RGB or RGBA with nothing in `info` but a profile that still applies."""
    profile = file.info.get("icc_profile")
    is_colour = file.mode in ("RGB", "RGBA", "P")
    if _orientation_of(file) != 1:
        file = ImageOps.exif_transpose(file)
    if file.mode.startswith("I"):
        image = _from_sixteen_bits(file)
    elif file.has_transparency_data:
        image = _with_alpha(file, data)
    elif file.mode == "CMYK":
        image = _from_cmyk(file, profile)
    else:
        image = file.convert("RGB")
    image.info = {"icc_profile": profile} if profile and is_colour else {}
    return image


def _from_sixteen_bits(file: Pillow.Image) -> Pillow.Image:
    """Return a picture of 16-bit gray scaled to 8 bits; Pillow's own conversion clips it."""
    wide, clear = file.convert("I"), file.info.get("transparency")
    gray = wide.point([(value + 128) // 257 for value in range(65_536)], "L").convert("RGB")
    if clear is None:
        return gray
    gray.putalpha(wide.point([255 * (value != clear) for value in range(65_536)], "L"))
    return _without_hidden_colours(gray)


def _with_alpha(file: Pillow.Image, data: bytes) -> Pillow.Image:
    clear = file.info.get("transparency")
    if data.startswith(PNG_SIGNATURE) and file.mode in ("L", "RGB") and clear is not None:
        bits = data[24]  # tRNS is in the file's own depth, which Pillow has scaled to 8 bits
        values = [_scaled(value, bits) for value in (clear if isinstance(clear, tuple) else (clear,))]
        file.info["transparency"] = values[0] if file.mode == "L" else tuple(values)
    if file.mode == "1":
        file = file.convert("L")
    return _without_hidden_colours(file.convert("RGBA"))


def _scaled(value: int, bits: int) -> int:
    return value >> 8 if bits == 16 else (value & (2**bits - 1)) * 255 // (2**bits - 1)


def _without_hidden_colours(image: Pillow.Image) -> Pillow.Image:
    """Return RGB if all is opaque, else RGBA with white where nothing is visible."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    image.paste((255, 255, 255, 0), mask=alpha.point([255] + [0] * 255))
    return image


def _from_cmyk(file: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    """Return a picture for print in colours of a screen, by its embedded profile where that can be used."""
    if profile:
        from PIL import ImageCms  # a library for colours, which few pictures need

        with suppress(ImageCms.PyCMSError, OSError):
            embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(file, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
    return file.convert("RGB")
