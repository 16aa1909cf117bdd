"""Draws a scene as a storyboard."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from gems_actors.backends.storyboard.layout import BORDER_PX, PAD_PX, SIGN_PAD_PX, Arrow, Board, Card, Panel, lay_out
from gems_actors.backends.storyboard.lettering import SIZES_PX, glyph, line_height, shorten, width_of, write
from gems_actors.backends.storyboard.scene import Scene, Thing
from gems_actors.backends.storyboard.tiles import Box, Colour, paint_tile
from gems_actors.backends.storyboard.words import COLOURS

INK: Final[Colour] = (38, 46, 66)
PAPER: Final[Colour] = (246, 243, 236)
TITLE: Final[Colour] = (236, 230, 217)
CARD: Final[Colour] = (255, 255, 255)
BAR: Final[Colour] = (52, 68, 98)
EDGE: Final[Colour] = (142, 154, 176)
STRIP: Final[Colour] = (224, 232, 244)
SIGN_EDGE: Final[Colour] = (176, 116, 44)
SIGN: Final[Colour] = (255, 251, 240)
LABEL: Final[Colour] = (255, 226, 150)
NOTE: Final[Colour] = (208, 232, 218)
ARROW: Final[Colour] = (204, 92, 42)
_QUIET: Final[Colour] = (128, 122, 110)
_CHART_COLOURS: Final = tuple(
    COLOURS[name] for name in ("blue", "orange", "teal", "red", "gold", "purple", "green", "pink", "brown", "cyan")
)


def draw(scene: Scene, *, seed: int, width_px: int, height_px: int, caption: str = "") -> bytes:
    """Return the storyboard of a scene as a PNG file; seed and caption only appear in its title."""
    image = Image.new("RGB", (width_px, height_px), PAPER)
    board = lay_out(scene, width_px, height_px)
    _draw_title(image, board, f"storyboard · seed {seed}", caption)
    for card in board.cards:
        _draw_card(image, card)
    for arrow in board.arrows:
        _draw_arrow(image, arrow)
    for sign in board.signs:
        _draw_sign(image, sign)
    for note in board.notes:
        _draw_panel(image, note, NOTE, INK)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _draw_title(image: Image.Image, board: Board, name: str, caption: str) -> None:
    measures = board.measures
    size, height, margin = measures.title_size_px, measures.title_height_px, measures.margin_px
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, image.width, height - 1), fill=TITLE)
    pen.line((0, height - 1, image.width, height - 1), fill=EDGE)
    small = measures.size_px(15)
    top = (height - line_height(size)) // 2
    write(image, (margin, top), name, size, INK)
    left = margin + width_of(name, size) + measures.gap_px
    room = image.width - margin - left
    if room > 60 and caption:
        quoted = " ".join(character if character.isascii() else "?" for character in caption.split())
        text = shorten(quoted, small, room)
        x = image.width - margin - width_of(text, small)
        write(image, (x, (height - line_height(small)) // 2), text, small, _QUIET)


def _draw_panel(image: Image.Image, panel: Panel, ground: Colour, ink: Colour, *, pad_px: int = PAD_PX) -> None:
    left, top, right, bottom = panel.box
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=ground)
    for index, line in enumerate(panel.lines):
        write(image, (left + pad_px, top + pad_px + index * line_height(panel.size_px)), line, panel.size_px, ink)


def _draw_card(image: Image.Image, card: Card) -> None:
    left, top, right, bottom = card.box
    pen = ImageDraw.Draw(image)
    pen.rectangle((left, top, right - 1, bottom - 1), fill=CARD, outline=EDGE, width=BORDER_PX)
    _draw_panel(image, card.bar, BAR, (255, 255, 255))
    if card.strip is not None:
        _draw_panel(image, card.strip, STRIP, INK)
    for box in card.tiles:
        tile = paint_tile(box[2] - box[0], card.thing.colours, card.thing.surface)
        image.paste(tile, box[:2])
        _draw_pictogram(image, card.thing.name, box)
    if card.thing.values:
        _draw_chart(image, card.thing, card.body)


def _draw_pictogram(image: Image.Image, name: str, tile: Box) -> None:
    """Draw the initial of a thing on the white disc of its tile, unless the tile is too small."""
    side = tile[2] - tile[0]
    size = max((size for size in SIZES_PX if size <= side * 0.4), default=0)
    if not size or side < 24:
        return
    letter = name[0].upper()[0]  # a capital ß is two letters
    shape = glyph(letter, size)
    x = (tile[0] + tile[2] - shape.mask.width) // 2
    y = (tile[1] + tile[3] - shape.mask.height) // 2 - shape.top_px
    write(image, (x, y), letter, size, BAR)


def _draw_sign(image: Image.Image, sign: Panel) -> None:
    left, top, right, bottom = sign.box
    pen = ImageDraw.Draw(image)
    pen.rectangle((left - 6, top - 6, right + 5, bottom + 5), fill=SIGN_EDGE)
    _draw_panel(image, sign, SIGN, INK, pad_px=SIGN_PAD_PX)


def _draw_arrow(image: Image.Image, arrow: Arrow) -> None:
    _draw_panel(image, arrow.label, LABEL, INK)
    pen = ImageDraw.Draw(image)
    head = max(6, (arrow.right_px - arrow.left_px) // 7)
    tip, tail, back = (
        (arrow.right_px, arrow.left_px, -head) if arrow.points_right else (arrow.left_px, arrow.right_px, head)
    )
    pen.line((tail, arrow.row_px, tip + back, arrow.row_px), fill=ARROW, width=4)
    pen.polygon(
        ((tip, arrow.row_px), (tip + back, arrow.row_px - head * 2 // 3), (tip + back, arrow.row_px + head * 2 // 3)),
        fill=ARROW,
    )


def _draw_chart(image: Image.Image, chart: Thing, area: Box) -> None:
    numbers = [float(number.rstrip("%")) for _, number in chart.values]
    left, top, right, bottom = area
    if right - left < 24 or bottom - top < 24:
        return
    if "pie" in chart.name:
        _draw_pie(image, numbers, area)
        return
    pen = ImageDraw.Draw(image)
    step = (right - left) / len(numbers)
    peak = max(*numbers, 1e-9)
    heights = [round((bottom - top - 8) * number / peak) for number in numbers]
    if "line" in chart.name:
        points = [(left + round((i + 0.5) * step), bottom - height) for i, height in enumerate(heights)]
        pen.line(points, fill=_CHART_COLOURS[0], width=3)
        for x, y in points:
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=_CHART_COLOURS[1])
    else:
        for index, height in enumerate(heights):
            first, last = round(left + (index + 0.15) * step), round(left + (index + 0.85) * step)
            colour = _CHART_COLOURS[index % len(_CHART_COLOURS)]
            pen.rectangle((first, bottom - height, last, bottom), fill=colour)
    pen.line((left, top, left, bottom, right, bottom), fill=EDGE, width=2)


def _draw_pie(image: Image.Image, numbers: Sequence[float], area: Box) -> None:
    left, top, right, bottom = area
    radius = min(right - left, bottom - top) // 2
    x, y = (left + right) // 2, (top + bottom) // 2
    total = sum(numbers) or 1.0
    start = -90.0
    pen = ImageDraw.Draw(image)
    for index, number in enumerate(numbers):
        end = start + 360 * number / total
        if math.floor(end) > math.floor(start):
            colour = _CHART_COLOURS[index % len(_CHART_COLOURS)]
            pen.pieslice((x - radius, y - radius, x + radius, y + radius), start, end, fill=colour)
        start = end
