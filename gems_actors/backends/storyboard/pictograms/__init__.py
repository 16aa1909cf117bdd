"""Pictograms of things by name: line drawings of Noto Emoji, their silhouettes, and the words that stand for them.

The font, the table and their licences are made by `deploy/pictograms.py`; `synonyms.txt` is written by hand. Colours,
tiles and cards must not live here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageFont

from gems_actors.backends.storyboard.words import plural, singular

_FOLDER: Final = Path(__file__).parent
_SILHOUETTES: Final = 0xF0000
"""Offset of a silhouette's code point from that of its pictogram."""
_SIZES_PX: Final = (128, 256, 512)
"""Sizes in which pictograms are drawn before they are scaled: each open font takes a megabyte."""
_SOLID: Final = 0.62


@dataclass(frozen=True, slots=True)
class Pictogram:
    """Masks of one size: what is enclosed, and the lines over it."""

    silhouette: Image.Image
    lines: Image.Image
    is_solid: bool
    """Whether the lines cover most of the silhouette, so that colour shows only in the lines."""


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Return the spoken name of each pictogram."""
    lines = (_FOLDER / "words.txt").read_text("utf-8").splitlines()
    return {chr(int(code, 16)): words for code, _, words in (line.partition(" ") for line in lines)}


@lru_cache(maxsize=1)
def _characters() -> dict[str, str]:
    """Return the pictogram of each word."""
    return {word: character for character, words in _names().items() for word in words.split(", ")}


def find_pictogram(name: str) -> str:
    """Return the pictogram for the name of a thing, by the whole name or else by its head; empty if there is none.

    `dining chair` is a chair; a `cup of tea` is in the table, a `pot of gold` is a pot.
    """
    if found := _find(name):
        return found
    head, _, content = name.partition(" of ")
    words = head.split()
    for start in range(len(words)):
        if found := _find(" ".join(words[start:])):
            return found
    last = words[-1].rpartition("-")[2] if words else ""
    return _find(last) or (find_pictogram(content) if content else "")


def _find(word: str) -> str:
    """Return the pictogram of a word, its singular or its plural: a pictogram may be called `grapes`."""
    characters = _characters()
    return characters.get(word) or characters.get(singular(word)) or characters.get(plural(word), "")


def emoji_name(emoji: str) -> str:
    """Return the spoken name of an emoji, by which `find_pictogram` finds it; empty for another text."""
    return _names().get(emoji[:1], "").partition(",")[0]


def is_pictogram(character: str) -> bool:
    """Return whether this is the character of a pictogram."""
    return character in _names()


@lru_cache(maxsize=3)
def _face(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FOLDER / "pictograms.woff", size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=64)
def draw_pictogram(character: str, side_px: int) -> Pictogram:
    """Return the masks of a pictogram that just fits a square of this side."""
    font = _face(next((size for size in _SIZES_PX if size >= side_px), _SIZES_PX[-1]))
    lines, offset = _draw(font, character)
    drawn, shift = _draw(font, chr(ord(character) + _SILHOUETTES))
    silhouette = Image.new("L", lines.size)
    silhouette.paste(drawn, (shift[0] - offset[0], shift[1] - offset[1]))
    scale = side_px / max(lines.size)
    size = max(1, round(lines.width * scale)), max(1, round(lines.height * scale))
    is_solid = _covered(lines) > _SOLID * _covered(silhouette)
    silhouette, lines = (mask.resize(size, Image.Resampling.BOX) for mask in (silhouette, lines))
    return Pictogram(silhouette, lines, is_solid)


def _draw(font: ImageFont.FreeTypeFont, character: str) -> tuple[Image.Image, tuple[int, int]]:
    """Return the mask of a glyph and its offset from the origin."""
    mask, (left, top) = font.getmask2(character, mode="L", anchor="ls")
    image = Image.new("L", mask.size)
    image.im.paste(mask, (0, 0, *mask.size))
    return image, (round(left), round(top))


def _covered(mask: Image.Image) -> int:
    return sum(value * count for value, count in enumerate(mask.histogram()))
