"""Draws text so that it can be read back exactly, and reads it back.

Each character is drawn at a whole pixel, with at least one blank column before the next. Pillow's embedded font covers
little more than ASCII. An emoji, or a character of a font on this host, is drawn above its code point in dots, which a
reader without that font can read; any other one as a small box of its hexadecimal digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageStat

from gems_actors.backends.storyboard.connected_components import ink_runs
from gems_actors.backends.storyboard.system_fonts import draw_character

SIZES_PX: Final = (9, 11, 14, 18, 23, 30, 40, 54)
"""All text sizes used in a storyboard, few so that a reader can try each."""
_CHARACTERS: Final = [chr(code) for code in range(33, 127)] + list("©«°±´·»‘’“”…‹›™")
_PARTS: Final = frozenset("'.‹›")
"""Characters that are also part of a wider one: two `'` look like a `"`."""
_INK: Final = 110
"""Minimum value, of 255, of a pixel that counts as ink; below the middle because of thin strokes and JPEG."""
_DIGITS: Final = "75557 26227 71747 71317 55711 74717 44757 71122 75757 75711 25755 65656 34443 65556 74647 74644"
"""Bitmaps of the sixteen digits, five rows each; a row is a number of three bits."""
_DIGIT_ROWS: Final = [[int(row) for row in digit] for digit in _DIGITS.split()]
_BOX_HEIGHT: Final = 15
_CODE_ROW, _CODE_COLUMNS = 12, 12
"""Row of a box in which the code of a character begins, below its glyph, and the number of columns of dots."""
_IS_INK: Final = [255 if value >= _INK else 0 for value in range(256)]
_INK_BYTES: Final = bytes(_IS_INK)
_MATCHES: Final = 0.16
"""Maximum mean difference, 0 to 1, of a segment and the glyph that it is recognised as."""


@dataclass(frozen=True, slots=True)
class Glyph:
    """Mask of one character, cropped to its ink, and its offset from the top of the line."""

    mask: Image.Image
    top_px: int


@lru_cache(maxsize=16)
def _face(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def line_height(size_px: int) -> int:
    """Return the line height, at least that of the box of a character outside the font."""
    return max(round(size_px * 1.3), _BOX_HEIGHT * _box_scale(size_px) + 3)


def tracking(size_px: int) -> int:
    """Return the number of blank columns between two characters."""
    return max(1, round(size_px * 0.09))


def space(size_px: int) -> int:
    """Return the number of blank columns that a space adds."""
    return max(4, round(size_px * 0.3))


def _box_scale(size_px: int) -> int:
    return max(1, round(size_px / 18))


@lru_cache(maxsize=4096)
def glyph(character: str, size_px: int) -> Glyph:
    """Return the glyph of one character."""
    if character not in _CHARACTERS:
        return _coded(character, size_px) or _box(character, size_px)
    height = line_height(size_px)
    canvas = Image.new("L", (size_px * 3, height))
    top = (height - round(size_px * 1.2)) // 2
    ImageDraw.Draw(canvas).text((size_px, top), character, fill=255, font=_face(size_px))
    box = _solid(canvas).getbbox() or canvas.getbbox() or (0, 0, 1, 1)
    return Glyph(canvas.crop(box), box[1])


def can_draw(character: str) -> bool:
    """Return whether there is a glyph for a character on this host."""
    return character in _CHARACTERS or draw_character(character, _BOX_HEIGHT) is not None


def _coded(character: str, size_px: int) -> Glyph | None:
    """Return the glyph of another font above its code point in dots, so that it is read without that font."""
    scale = _box_scale(size_px)
    drawn = draw_character(character, _CODE_ROW * scale - 1)
    if drawn is None:
        return None
    code = _code_of(ord(character))
    mask = Image.new("L", (_CODE_COLUMNS * scale, _BOX_HEIGHT * scale))
    mask.paste(drawn, ((mask.width - drawn.width) // 2, (_CODE_ROW * scale - 1 - drawn.height) // 2))
    mask.paste(code.resize((mask.width, code.height * scale), Image.Resampling.NEAREST), (0, _CODE_ROW * scale))
    return Glyph(mask, (line_height(size_px) - mask.height) // 2)


def _code_of(code_point: int) -> Image.Image:
    """Return a code point and a check digit as two rows of dots above a line."""
    number = code_point * 7 + code_point % 7
    code = Image.new("L", (_CODE_COLUMNS, _BOX_HEIGHT - _CODE_ROW))
    for bit in range(2 * _CODE_COLUMNS):
        code.putpixel((bit % _CODE_COLUMNS, bit // _CODE_COLUMNS), 255 * (number >> bit & 1))
    for column in range(_CODE_COLUMNS):
        code.putpixel((column, 2), 255)
    return code


def _read_code(strip: Image.Image, size_px: int) -> tuple[str, float]:
    """Return the character that the dots below a glyph of another font stand for, and its difference from them."""
    scale = _box_scale(size_px)
    if abs(strip.width - _CODE_COLUMNS * scale) > 1:
        return "", 1.0
    top = (line_height(size_px) - _BOX_HEIGHT * scale) // 2 + _CODE_ROW * scale
    size = (_CODE_COLUMNS, _BOX_HEIGHT - _CODE_ROW)
    seen = strip.crop((0, top, strip.width, top + size[1] * scale)).resize(size, Image.Resampling.BOX)
    number = sum(1 << bit for bit, value in enumerate(seen.tobytes()[: 2 * _CODE_COLUMNS]) if value > 127)
    code_point, check = divmod(number, 7)
    if code_point > 0x10FFFF or 0xD800 <= code_point <= 0xDFFF or code_point % 7 != check:
        return "", 1.0
    difference = ImageStat.Stat(ImageChops.difference(seen, _code_of(code_point))).mean[0] / 255
    return chr(code_point), difference / 2


def _box(character: str, size_px: int) -> Glyph:
    digits = f"{ord(character):04x}"
    digits = digits.rjust(6, "0") if len(digits) > 4 else digits
    columns, scale = len(digits) // 2, _box_scale(size_px)
    canvas = Image.new("L", (columns * 4 + 3, _BOX_HEIGHT))
    ImageDraw.Draw(canvas).rectangle((0, 0, canvas.width - 1, canvas.height - 1), outline=255)
    for index, digit in enumerate(digits):
        left, top = 2 + index % columns * 4, 2 + index // columns * 6
        for row, dots in enumerate(_DIGIT_ROWS[int(digit, 16)]):
            for column in range(3):
                if dots >> (2 - column) & 1:
                    canvas.putpixel((left + column, top + row), 255)
    mask = canvas.resize((canvas.width * scale, canvas.height * scale), Image.Resampling.NEAREST)
    return Glyph(mask, (line_height(size_px) - mask.height) // 2)


def width_of(text: str, size_px: int) -> int:
    """Return the width of one line of text."""
    gap = tracking(size_px)
    return sum(
        space(size_px) if character.isspace() else glyph(character, size_px).mask.width + gap for character in text
    )


def write(image: Image.Image, at: tuple[int, int], text: str, size_px: int, colour: tuple[int, int, int]) -> None:
    """Draw one line of text with its top left corner at `at`."""
    x, y = at
    for character in text:
        if character.isspace():
            x += space(size_px)
            continue
        shape = glyph(character, size_px)
        image.paste(colour, (x, y + shape.top_px), shape.mask)
        x += shape.mask.width + tracking(size_px)


def wrap(text: str, size_px: int, width_px: int) -> list[str]:
    """Return the lines of wrapped text; a word wider than a line is broken anywhere."""
    lines: list[str] = []
    line, used = "", 0
    for word in text.split():
        wide = width_of(word, size_px)
        if line and used + space(size_px) + wide <= width_px:
            line, used = f"{line} {word}", used + space(size_px) + wide
            continue
        if line:
            lines.append(line)
        *full, line = _break_word(word, size_px, width_px) if wide > width_px else [word]
        lines.extend(full)
        used = width_of(line, size_px)
    return [*lines, line] if line else lines


def _break_word(word: str, size_px: int, width_px: int) -> list[str]:
    parts, start, used = [], 0, 0
    for index, character in enumerate(word):
        wide = width_of(character, size_px)
        if used + wide > width_px and index > start:
            parts.append(word[start:index])
            start, used = index, 0
        used += wide
    return [*parts, word[start:]]


def shorten(text: str, size_px: int, width_px: int) -> str:
    """Return a line cut to the width, with three dots if anything is missing."""
    if width_of(text, size_px) <= width_px:
        return text
    room = width_px - width_of("...", size_px)
    kept, used = 0, 0
    while kept < len(text) and (used := used + width_of(text[kept], size_px)) <= room:
        kept += 1
    return text[:kept].rstrip() + "..."


def fit_size(text: str, width_px: int, max_size_px: int) -> int:
    """Return the largest size in which one line fits, or the smallest size."""
    return next((size for size in reversed(SIZES_PX) if size <= max_size_px and width_of(text, size) <= width_px), 9)


@dataclass(frozen=True, slots=True)
class ReadLine:
    """Result of reading one line of text."""

    text: str
    doubt: float
    """Mean difference to the recognised characters: 0 for text as drawn, about 0.05 after JPEG, 1 without text."""


def read_line(ink: Image.Image, size_px: int) -> ReadLine:
    """Read the line of text in `ink`, an `L` image exactly one line high, 255 where there is ink."""
    solid, known = _solid(ink), _strips(size_px)
    segments = list(ink_runs(solid, is_across=True))
    letters: list[str] = []
    doubts: list[float] = []
    previous_end = None
    index = 0
    while index < len(segments):
        start, taken = segments[index][0], 1
        letter, doubt = "", 1.0
        alone = known.get(_strip_of(solid, *segments[index]), "")
        if alone and alone not in _PARTS:
            letter, doubt = alone, 0.0
        for count in (3, 2, 1):
            if (alone and alone == letter) or index + count > len(segments):
                continue
            end = segments[index + count - 1][1]
            if count > 1 and end - start > size_px:
                continue
            candidate, difference = _recognise(*_strip_of(ink, start, end), size_px)
            if difference < doubt - 0.02 * (count == 1):
                letter, doubt, taken = candidate, difference, count
            if count > 1 and doubt < 0.05:
                break
        if previous_end is not None and start - previous_end > tracking(size_px) + space(size_px) // 2:
            letters.append(" ")
        letters.append(letter or "\ufffd")
        doubts.append(doubt)
        previous_end = segments[index + taken - 1][1]
        index += taken
    return ReadLine("".join(letters), sum(doubts) / len(doubts) if doubts else 1.0)


def _strip_of(ink: Image.Image, start: int, end: int) -> tuple[tuple[int, int], bytes]:
    strip = ink.crop((start, 0, end, ink.height))
    return strip.size, strip.tobytes()


def _solid(image: Image.Image) -> Image.Image:
    return image.point(_IS_INK)


@lru_cache(maxsize=8192)
def _recognise(size: tuple[int, int], data: bytes, size_px: int) -> tuple[str, float]:
    """Return the most similar character, and its difference."""
    strip = Image.frombytes("L", size, data)
    best, doubt = "", 1.0
    for character in _CHARACTERS:
        difference = _difference(strip, glyph(character, size_px))
        if difference < doubt:
            best, doubt = character, difference
    coded, difference = _read_code(strip, size_px)
    if coded and difference <= doubt:
        best, doubt = coded, difference
    boxed = _read_box(strip, size_px)
    if boxed and (difference := _difference(strip, glyph(boxed, size_px))) <= doubt:
        best, doubt = boxed, difference
    return (best, doubt) if doubt <= _MATCHES else ("", 1.0)


@lru_cache(maxsize=16)
def _strips(size_px: int) -> dict[tuple[tuple[int, int], bytes], str]:
    """Return the characters of the font by their pixels; an empty string for pixels that several characters share."""
    strips: dict[tuple[tuple[int, int], bytes], str] = {}
    for character in _CHARACTERS:
        shape = glyph(character, size_px)
        strip = Image.new("L", (shape.mask.width, line_height(size_px)))
        strip.paste(shape.mask, (0, shape.top_px))
        key = strip.size, strip.tobytes().translate(_INK_BYTES)
        strips[key] = "" if key in strips else character
    return strips


def _difference(strip: Image.Image, shape: Glyph) -> float:
    """Return the difference of a strip and a glyph, as a share of the glyph's bounding box.

    After JPEG, the column that a strip lacks, or has in addition, may be its first or its last one.
    """
    wider_px = strip.width - shape.mask.width
    if abs(wider_px) > 1:
        return 1.0
    totals = []
    for left_px in {0, wider_px}:
        drawn = Image.new("L", strip.size)
        drawn.paste(shape.mask, (left_px, shape.top_px))
        totals.append(sum(value * count for value, count in enumerate(ImageChops.difference(strip, drawn).histogram())))
    return min(1.0, min(totals) / 255 / (shape.mask.width * shape.mask.height))


def _read_box(strip: Image.Image, size_px: int) -> str:
    """Return the character of a box of hexadecimal digits, or an empty string if it is not one."""
    scale = _box_scale(size_px)
    columns = round((strip.width / scale - 3) / 4)
    if columns not in (2, 3):
        return ""
    top = (line_height(size_px) - _BOX_HEIGHT * scale) // 2
    small = strip.crop((0, top, strip.width, top + _BOX_HEIGHT * scale)).resize((columns * 4 + 3, _BOX_HEIGHT))
    code = 0
    for index in range(columns * 2):
        left, first = 2 + index % columns * 4, 2 + index // columns * 6
        dots = small.crop((left, first, left + 3, first + 5)).tobytes()
        differences = [
            sum(abs(255 * (rows[place // 3] >> (2 - place % 3) & 1) - value) for place, value in enumerate(dots))
            for rows in _DIGIT_ROWS
        ]
        code = code * 16 + differences.index(min(differences))
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else ""
