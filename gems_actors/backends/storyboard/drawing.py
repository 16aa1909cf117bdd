"""Draws a scene as a storyboard."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from gems_actors.backends.storyboard.charts import draw_chart
from gems_actors.backends.storyboard.editing.framing import draw_framed
from gems_actors.backends.storyboard.layout import BORDER_PX, PAD_PX, SIGN_PAD_PX, Arrow, Board, Card, Panel, lay_out
from gems_actors.backends.storyboard.lettering import line_height, shorten, width_of, write
from gems_actors.backends.storyboard.patterns import Colour
from gems_actors.backends.storyboard.scene import Scene
from gems_actors.backends.storyboard.tiles import INK as INK
from gems_actors.backends.storyboard.tiles import paint_tile

PAPER: Final[Colour] = (246, 243, 236)
GROUP: Final[Colour] = (234, 228, 214)
TITLE: Final[Colour] = (236, 230, 217)
CARD: Final[Colour] = (255, 255, 255)
BAR: Final[Colour] = (52, 68, 98)
EDGE: Final[Colour] = (142, 154, 176)
STRIP: Final[Colour] = (224, 232, 244)
SIGN_EDGE: Final[Colour] = (176, 116, 44)
SIGN: Final[Colour] = (255, 251, 240)
LABEL: Final[Colour] = (255, 226, 150)
NOTE: Final[Colour] = (188, 226, 206)
ARROW: Final[Colour] = (204, 92, 42)
_QUIET: Final[Colour] = (128, 122, 110)


def draw(
    scene: Scene, *, seed: int, width_px: int, height_px: int, caption: str = "", framed: Sequence[Image.Image] = ()
) -> bytes:
    """Return the storyboard of a scene as a PNG file, with framed pictures above it.

    Seed and caption only appear in its title.
    """
    image = Image.new("RGB", (width_px, height_px), PAPER)
    share = 0.0 if not framed else 0.45 if scene.things or scene.texts else 0.85
    board = lay_out(scene, width_px, height_px, framed_share=share)
    _draw_title(image, board, f"storyboard · seed {seed}", caption)
    for left, top, right, bottom in board.groups:
        box = (left, top, right - 1, bottom - 1)
        ImageDraw.Draw(image).rounded_rectangle(box, radius=board.measures.gap_px // 2, fill=GROUP)
    if board.framed is not None:
        draw_framed(image, framed, board.framed)
    for card in board.cards:
        _draw_card(image, card)
    for arrow in board.arrows:
        _draw_arrow(image, arrow)
    for sign in board.signs:
        _draw_sign(image, sign)
    for note in board.notes:
        _draw_panel(image, note, NOTE, INK)
    return _png_of(image)


def _png_of(image: Image.Image) -> bytes:
    """Return an RGB picture as a PNG file, in a third of the time that Pillow takes to find a filter for each row.

    Most of a storyboard is one colour, for which rows need no filter: the file is 4 % larger.
    """
    row_bytes = 3 * image.width
    data = image.tobytes()
    rows = b"".join([b"\0" + data[start : start + row_bytes] for start in range(0, len(data), row_bytes)])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)  # 8 bits of RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


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
        text = shorten(" ".join(caption.split()), small, room)
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
        tile = paint_tile(card.thing.name, box[2] - box[0], card.thing.colours, card.thing.surface)
        image.paste(tile, box[:2])
    if card.thing.values:
        draw_chart(image, card.thing, card.body)


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
