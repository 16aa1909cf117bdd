"""Reads a storyboard from its pixels: names, tiles, colours, positions, labels and texts.

It knows the style of storyboards (the colour of a bar, the text sizes), but not the prompt, the scene or the seed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageStat

from gems_actors.backends.storyboard import drawing
from gems_actors.backends.storyboard.connected_components import Region, find_regions, ink_runs, mask_beyond, mask_near
from gems_actors.backends.storyboard.editing.framing import Framed, find_framed
from gems_actors.backends.storyboard.grid_layout import Link
from gems_actors.backends.storyboard.layout import BORDER_PX, PAD_PX, SEPARATOR, SIGN_PAD_PX, Measures
from gems_actors.backends.storyboard.lettering import SIZES_PX, line_height, read_line, width_of
from gems_actors.backends.storyboard.patterns import Box, Colour
from gems_actors.backends.storyboard.tiles import read_tile
from gems_actors.errors import BackendError

_TOLERANCE: Final = 24
_LINE_TOLERANCE: Final = 48
"""Tolerance for thin lines, whose colour JPEG changes more."""
_SIGN_EDGE_PX: Final = 6
_MIN_TILE_PX: Final = 6
_MAX_DOUBT: Final = 0.35
_GOOD_DOUBT: Final = 0.06
_SAME_TILE: Final = 9.0
"""Mean difference of two tiles, of 255, below which they count as equal."""


@dataclass(frozen=True, slots=True)
class SeenCard:
    """One card as read from the picture."""

    name: str
    box: Box
    count: int
    colours: frozenset[str]
    """Colours that all of its tiles have."""
    surfaces: frozenset[str]
    """Surfaces of its tiles; one if all are alike."""
    written: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything read from one storyboard."""

    cards: tuple[SeenCard, ...]
    links: tuple[Link, ...]
    texts: tuple[str, ...]
    notes: tuple[str, ...]
    framed: tuple[Framed, ...] = ()


def look(data: bytes) -> Seen | None:
    """Return what an encoded picture shows; None if it is not a storyboard.

    Raises:
        BackendError: the bytes are not a picture that can be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BackendError(f"a picture to judge: expected PNG, JPEG or WebP, got {len(data)} bytes: {error}") from error
    if not _is_storyboard(image):
        return None
    framed = find_framed(image)
    for item in framed:  # what such a picture shows is not part of the storyboard
        ImageDraw.Draw(image).rectangle(item.outline, fill=drawing.PAPER)
    frames = _find_cards(image)
    cards = tuple(_read_card(image, frame, frames) for frame in frames)
    outside = image.copy()
    pen = ImageDraw.Draw(outside)
    for frame in frames:
        pen.rectangle((frame.box[0], frame.box[1], frame.box[2] - 1, frame.box[3] - 1), fill=drawing.PAPER)
    pen.rectangle((0, 0, image.width, Measures(image.width, image.height).title_height_px), fill=drawing.PAPER)
    return Seen(cards, _read_links(outside, cards), _read_signs(outside), _read_notes(outside), framed)


def _is_storyboard(image: Image.Image) -> bool:
    measures = Measures(image.width, image.height)
    size, height = measures.title_size_px, measures.title_height_px
    left, top = measures.margin_px, (height - line_height(size)) // 2
    corner = ImageStat.Stat(image.crop((0, 0, max(2, left - 3), max(2, top)))).mean
    if max(abs(value - middle) for value, middle in zip(corner, drawing.TITLE, strict=True)) > _TOLERANCE:
        return False
    word = (left - 2, top, left + width_of("storyboard", size) + 1, top + line_height(size))
    ink = _ink_of(image.crop(word), drawing.TITLE, drawing.INK)
    return read_line(ink, size).text.replace("I", "l") == "storyboard"


def _ink_of(crop: Image.Image, ground: Colour, ink: Colour) -> Image.Image:
    """Return an `L` image, 255 where the crop is as bright as the ink and 0 where it is as bright as the ground."""
    low, high = (Image.new("RGB", (1, 1), colour).convert("L").tobytes()[0] for colour in (ground, ink))
    table = [max(0, min(255, round((value - low) * 255 / (high - low)))) for value in range(256)]
    return crop.convert("L").point(table)


def _read_panel(image: Image.Image, box: Box, ground: Colour, ink: Colour, pad_px: int = PAD_PX) -> str:
    """Return the text of a panel, in the size in which its first line reads best."""
    left, top, right, bottom = box
    inside = _ink_of(image.crop((left + 2, top, right - 2, bottom)), ground, ink)
    height = bottom - top - 2 * pad_px
    counts = {size: round(height / line_height(size)) for size in SIZES_PX}
    fitting = [size for size in SIZES_PX if counts[size] and abs(counts[size] * line_height(size) - height) <= 2]
    best = (_MAX_DOUBT, 0, 0, 0)
    for nudge in (0, -1, 1):
        for size in fitting:
            start = pad_px + nudge
            first = inside.crop((0, start, inside.width, start + line_height(size)))
            best = min(best, (read_line(first, size).doubt, size, counts[size], nudge))
        if best[0] < _GOOD_DOUBT:
            break
    _, size, count, nudge = best
    lines = []
    for index in range(count):
        start = pad_px + nudge + index * line_height(size)
        lines.append(read_line(inside.crop((0, start, inside.width, start + line_height(size))), size).text)
    return " ".join(lines)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A card located by its bar."""

    name: str
    box: Box
    strip: Box | None
    body_top: int


def _find_cards(image: Image.Image) -> list[_Frame]:
    bars = find_regions(mask_near(image, drawing.BAR, _TOLERANCE), min_area_px=200)
    frames = []
    for bar in bars:
        if _is_bar(bar) and (name := _read_panel(image, bar.box, drawing.BAR, (255, 255, 255))):
            frames.append(_frame_under(image, bar, name))
    return frames


def _is_bar(bar: Region) -> bool:
    width, height = bar.right - bar.left, bar.bottom - bar.top
    fits = any(abs(line_height(size) + 2 * PAD_PX - height) <= 2 for size in SIZES_PX)
    return fits and width >= 16 and bar.area_px > 0.4 * width * height


def _frame_under(image: Image.Image, bar: Region, name: str) -> _Frame:
    top = bar.bottom
    strip_end = _run_down(image, bar.left + 3, top, drawing.STRIP, 12)
    strip = (bar.left, top, bar.right, strip_end) if strip_end - top > 2 * PAD_PX else None
    body_top = strip_end if strip else top
    edges = (bar.left, bar.right - BORDER_PX)
    bottom = max(_run_down(image, x, body_top, drawing.EDGE, _LINE_TOLERANCE, BORDER_PX) for x in edges)
    return _Frame(name, (bar.left, bar.top, bar.right, bottom), strip, body_top)


def _run_down(image: Image.Image, x: int, top: int, colour: Colour, tolerance: int, width_px: int = 1) -> int:
    """Return the row at which a colour ends, going down one column; `top` itself at the end of a small picture."""
    if top >= image.height or x + width_px > image.width:
        return top
    column = image.crop((x, top, x + width_px, image.height)).resize((1, image.height - top), Image.Resampling.BOX)
    mask = mask_near(column, colour, tolerance).tobytes()
    return top + (len(mask) if (end := mask.find(b"\0\0")) < 0 else end)


def _read_card(image: Image.Image, frame: _Frame, frames: list[_Frame]) -> SeenCard:
    left, _, right, bottom = frame.box
    inset = BORDER_PX + 2
    area = (left + inset, frame.body_top + 2, right - inset, bottom - inset)
    written: tuple[str, ...] = ()
    if frame.strip:
        text = _read_panel(image, frame.strip, drawing.STRIP, drawing.INK)
        written = tuple(part.strip() for part in text.split(SEPARATOR.strip()))
    if area[2] - area[0] < _MIN_TILE_PX or area[3] - area[1] < _MIN_TILE_PX:
        return SeenCard(frame.name, frame.box, 0, frozenset(), frozenset(), written)
    body = image.crop(area)
    pen = ImageDraw.Draw(body)
    for other in frames:
        if other is not frame and _covers(other, frame):
            x, y = area[:2]
            pen.rectangle(
                (other.box[0] - x - 2, other.box[1] - y - 2, other.box[2] - x + 2, other.box[3] - y + 2),
                fill=drawing.CARD,
            )
    tiles = _find_tiles(body)
    colours, surfaces = _read_tiles(tiles)
    return SeenCard(frame.name, frame.box, len(tiles), colours, surfaces, written)


def _covers(other: _Frame, frame: _Frame) -> bool:
    """Return whether another card begins on this one, in front of it or inside it."""
    left, top, right, bottom = frame.box
    return top < other.box[1] < bottom and other.box[0] < right and other.box[2] > left


def _find_tiles(body: Image.Image) -> list[Image.Image]:
    """Return the tiles of a card, found as rows of ink and, within each, columns of ink."""
    mask = mask_beyond(body, drawing.CARD, 60)
    tiles = []
    for top, bottom in ink_runs(mask, is_across=False):
        for left, right in ink_runs(mask.crop((0, top, body.width, bottom)), is_across=True):
            wide, high = right - left, bottom - top
            if min(wide, high) >= _MIN_TILE_PX and abs(wide - high) <= max(3, wide // 8):
                tiles.append(body.crop((left, top, right, bottom)))
    return tiles


def _read_tiles(tiles: list[Image.Image]) -> tuple[frozenset[str], frozenset[str]]:
    readings: list[tuple[Image.Image, tuple[tuple[str, ...], str]]] = []
    for tile in tiles:
        if not any(_is_same(tile, known) for known, _ in readings):
            readings.append((tile, read_tile(tile)))
    if not readings:
        return frozenset(), frozenset()
    colours = frozenset.intersection(*(frozenset(found) for _, (found, _) in readings))
    return colours, frozenset(surface for _, (_, surface) in readings)


def _is_same(tile: Image.Image, known: Image.Image) -> bool:
    if abs(tile.width - known.width) > 2:
        return False
    difference = ImageChops.difference(tile.resize((24, 24)), known.resize((24, 24)))
    return max(ImageStat.Stat(difference).mean) < _SAME_TILE


def _read_links(image: Image.Image, cards: tuple[SeenCard, ...]) -> tuple[Link, ...]:
    links = []
    for label in find_regions(mask_near(image, drawing.LABEL, _TOLERANCE), min_area_px=120):
        word = _read_panel(image, label.box, drawing.LABEL, drawing.INK)
        middle = (label.left + label.right) // 2
        level = [card for card in cards if card.box[1] <= label.bottom <= card.box[3]]
        before = max((card for card in level if card.box[2] <= middle), key=lambda card: card.box[2], default=None)
        after = min((card for card in level if card.box[0] >= middle), key=lambda card: card.box[0], default=None)
        if before is None or after is None:
            continue
        below = (before.box[2], label.bottom, after.box[0], label.bottom + (after.box[0] - before.box[2]) // 3 + 24)
        points_right = _points_right(mask_near(image.crop(below), drawing.ARROW, _LINE_TOLERANCE))
        subject, target = (before, after) if points_right else (after, before)
        links.append(Link(subject.name, word, target.name))
    return tuple(links)


def _points_right(arrow: Image.Image) -> bool:
    """Return whether the right half of an arrow has more ink, and so the head."""
    box = arrow.getbbox() or (0, 0, arrow.width, arrow.height)
    middle = (box[0] + box[2]) // 2
    first, second = arrow.crop((0, 0, middle, arrow.height)), arrow.crop((middle, 0, arrow.width, arrow.height))
    return second.histogram()[255] > first.histogram()[255]


def _read_signs(image: Image.Image) -> tuple[str, ...]:
    signs = []
    edge = _SIGN_EDGE_PX
    for sign in find_regions(mask_near(image, drawing.SIGN_EDGE, _TOLERANCE), min_area_px=200):
        inner = (sign.left + edge, sign.top + edge, sign.right - edge, sign.bottom - edge)
        if inner[2] - inner[0] > SIGN_PAD_PX and inner[3] - inner[1] > 2 * SIGN_PAD_PX:
            signs.append(_read_panel(image, inner, drawing.SIGN, drawing.INK, SIGN_PAD_PX))
    return tuple(signs)


def _read_notes(image: Image.Image) -> tuple[str, ...]:
    notes = find_regions(mask_near(image, drawing.NOTE, _TOLERANCE), min_area_px=120)
    is_note = [note for note in notes if note.bottom - note.top > 2 * PAD_PX]
    return tuple(_read_panel(image, note.box, drawing.NOTE, drawing.INK) for note in is_note)
