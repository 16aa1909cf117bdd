"""Finds a drawing for a character that the built-in font lacks: a pictogram, or a glyph of a font on this host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from gems_actors.backends.storyboard.pictograms import draw_pictogram, is_pictogram

_FOLDERS: Final = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/Library/Fonts")
_PREFERRED: Final = (
    "dejavusans.ttf",
    "notosans-regular",
    "notosanscjk-regular",
    "notosans",
    "wqy",
    "droidsans",
    "unifont",
)
"""Beginnings of names of fonts with many characters, tried first."""
_MAX_FONTS: Final = 300
_PLAIN: Final = ("regular", "-book", "medium", "cjk")


def draw_character(character: str, side_px: int) -> Image.Image | None:
    """Return the mask of a character within a square, or None if this host has no drawing for it."""
    if is_pictogram(character):
        return draw_pictogram(character, side_px).lines
    path = _font_for(character)
    if path is None:
        return None
    mask = Image.new("L", (side_px, side_px))
    font = _open(path, max(6, round(side_px * 0.86)))
    ImageDraw.Draw(mask).text((side_px / 2, side_px * 0.82), character, fill=255, font=font, anchor="ms")
    return mask


@lru_cache(maxsize=8)
def _open(path: Path, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _font_for(character: str) -> Path | None:
    return next((path for path in _fonts() if _has(path, character)), None)


def _has(path: Path, character: str) -> bool:
    """Return whether a font draws a character otherwise than what it lacks."""
    try:
        font = _open(path, 16)
        drawn, missing = (font.getmask(text) for text in (character, "\uffff"))
    except (OSError, ValueError):
        return False
    return drawn.getbbox() is not None and (drawn.size != missing.size or bytes(drawn) != bytes(missing))


@lru_cache(maxsize=1)
def _fonts() -> tuple[Path, ...]:
    """Return the fonts of this host, those with many characters first."""
    found = sorted(_font_files(), key=_rank)
    return tuple(found[:_MAX_FONTS])


def _font_files() -> Iterator[Path]:
    for folder in _FOLDERS:
        for where, _, names in os.walk(Path(folder).expanduser()):
            yield from (Path(where, name) for name in names if name.lower().endswith((".ttf", ".otf", ".ttc")))


def _rank(path: Path) -> tuple[int, bool, str]:
    name = path.name.lower()
    rank = next((place for place, start in enumerate(_PREFERRED) if name.startswith(start)), len(_PREFERRED))
    return rank, not any(word in name for word in _PLAIN), str(path)
