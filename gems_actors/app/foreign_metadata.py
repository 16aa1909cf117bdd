"""Removes what an image server wrote about a picture into its file; the pixels keep their bytes. Pure.

Readers disagree about which text counts, the first, the last or that of another tool, so only ours may be in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gems_actors.backends.pictures import PNG_SIGNATURE, png_chunks

PNG_METADATA: Final = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"caBX")
"""Chunks about a picture: texts, XMP (an iTXt), EXIF, its time and content credentials."""
WEBP_CHUNKS: Final = (b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L")
"""Chunks of a still picture that decide what is shown; `EXIF`, `XMP ` and unknown ones do not."""
_WEBP_ICC, _WEBP_ALPHA = 0x20, 0x10

_JPEG_END, _JPEG_SCAN, _JPEG_COMMENT = 0xD9, 0xDA, 0xFE
_JPEG_APPS: Final = range(0xE0, 0xF0)
_JPEG_KEPT: Final = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Application segments that decide what is shown: density, colour profile and colour transform."""
_MARKER: Final = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)
_NEXT_MARKER: Final = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A marker after the data of a scan, in which 0xff is followed by 0 or is a restart marker."""


def png_without_metadata(data: bytes) -> bytes:
    """Return a PNG file without texts, EXIF and XMP, and without what follows its end.

    Raises:
        ValueError: the file is cut short or damaged.
    """
    return PNG_SIGNATURE + b"".join(chunk for chunk in png_chunks(data) if chunk[4:8] not in PNG_METADATA)


def jpeg_without_metadata(data: bytes) -> bytes:
    """Return a JPEG file without comments, EXIF, XMP and IPTC, and without what follows its end.

    Raises:
        ValueError: its segments do not follow one another as the standard says, which decoders tolerate.
    """
    kept = [data[:2]]
    for marker, segment in _jpeg_segments(data):
        is_foreign = marker in _JPEG_APPS and not segment[4:].startswith(_JPEG_KEPT.get(marker, b"\xff\xff"))
        if not is_foreign and marker != _JPEG_COMMENT:
            kept.append(segment)
    return b"".join(kept)


def webp_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a still WebP file that decide what is shown, by name; `VP8X` says that there are no others.

    Raises:
        ValueError: the file has no chunk with pixels.
    """
    chunks: dict[bytes, bytes] = {}
    start = 12
    while start + 8 <= len(data):
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        if (name := data[start : start + 4]) in WEBP_CHUNKS:
            chunks.setdefault(name, data[start + 8 : end])
        start = end + end % 2
    if not {b"VP8 ", b"VP8L"} & chunks.keys():
        raise ValueError("expected a chunk with pixels, got none")
    if header := chunks.get(b"VP8X"):
        chunks[b"VP8X"] = bytes([header[0] & (_WEBP_ICC | _WEBP_ALPHA)]) + header[1:]
    return chunks


def webp_of(chunks: dict[bytes, bytes]) -> bytes:
    """Return the WebP file with these chunks, in their order."""
    body = b"".join(
        name + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
        for name, content in chunks.items()
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of each segment after the start, a scan with its data, up to the end of the picture."""
    at = 2
    while True:
        found = _MARKER.match(data, at)
        if found is None:
            raise ValueError(f"expected a marker at byte {at}")
        marker, length_at = data[found.end() - 1], found.end()
        if marker == _JPEG_END:
            yield marker, b"\xff\xd9"
            return
        end = length_at + int.from_bytes(data[length_at : length_at + 2], "big")
        if end < length_at + 2 or end > len(data):
            raise ValueError(f"expected a whole segment at byte {at}")
        if marker == _JPEG_SCAN:
            following = _NEXT_MARKER.search(data, end)
            if following is None:
                raise ValueError(f"expected the end of the scan at byte {at}")
            end = following.start()
        yield marker, data[found.end() - 2 : end]
        at = end
