"""Shows a picture within a terminal that can, or else with the desktop's viewer.

Terminals are known by the variables that they set: to ask one would need its keyboard, which the user may be typing on.
"""

from __future__ import annotations

import base64
import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TextIO

from PIL import Image

from gems_actors.cli.terminal.desktop import open_on_desktop
from gems_actors.terminal_text import paint

_CELLS: Final = 48
"""Width of a picture in a terminal that scales it."""
_CELL_HEIGHT: Final = 2.0
"""Height of a cell in widths where the terminal does not tell."""
_SIXEL_SIDE_PX: Final = 480
_SIXEL_COLOURS: Final = 64
_KITTY_CHUNK: Final = 4096
"""Maximum bytes of base64 in one command to kitty."""
_REPEATED: Final = re.compile(rb"(.)\1{3,}", re.DOTALL)


def show_picture(path: Path, stream: TextIO, environment: Mapping[str, str] = os.environ) -> str:
    """Show a picture on the terminal of a stream, or else with the desktop's viewer.

    Returns:
        Why neither is possible; empty if the picture is shown.
    """
    encode = encoder_for(environment) if stream.isatty() else None
    if encode is not None:
        paint(stream, encode(path.read_bytes(), _cell_height(stream)) + "\n")
        stream.flush()
        return ""
    if not open_on_desktop(str(path.absolute()), environment):
        return "--open: no viewer found: expected xdg-open and a desktop, or a terminal such as kitty, iTerm2 or foot"
    return ""


def _cell_height(stream: TextIO) -> float:
    """Return the height of a terminal's cells in widths, from its size in pixels and in cells."""
    try:
        size = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (OSError, ValueError):  # a stream without a file, as in a notebook
        return _CELL_HEIGHT
    rows, columns, width_px, height_px = struct.unpack("4H", size)
    return height_px / rows / (width_px / columns) if rows and columns and width_px and height_px else _CELL_HEIGHT


def encoder_for(environment: Mapping[str, str]) -> Callable[[bytes, float], str] | None:
    """Return what encodes a picture for the terminal with these variables, or None if it shows no pictures."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or environment.get("STY"):  # which pass no pictures on
        return None
    if "kitty" in term or "ghostty" in term or environment.get("KITTY_WINDOW_ID"):
        return encode_for_kitty
    if program in {"iTerm.app", "WezTerm"} or environment.get("LC_TERMINAL") == "iTerm2":
        return encode_for_iterm
    if "sixel" in term or term.partition("-")[0] in {"foot", "mlterm", "yaft", "contour"}:
        return encode_as_sixels
    return None


def encode_for_kitty(png: bytes, cell_height: float = _CELL_HEIGHT) -> str:
    """Return the commands of kitty's graphics protocol that show a PNG file.

    Args:
        png: the file.
        cell_height: height of the terminal's cells in widths; kitty up to 0.26 distorts a picture without its rows.

    Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/
    """
    text = base64.b64encode(png).decode()
    chunks = [text[at : at + _KITTY_CHUNK] for at in range(0, len(text), _KITTY_CHUNK)]
    with Image.open(io.BytesIO(png)) as file:
        rows = max(1, round(_CELLS * file.height / file.width / cell_height))
    commands = []
    for index, chunk in enumerate(chunks):
        first = f"a=T,f=100,c={_CELLS},r={rows},q=2," if index == 0 else ""
        commands.append(f"\x1b_G{first}m={int(index < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(commands)


def encode_for_iterm(png: bytes, _: float = _CELL_HEIGHT) -> str:
    """Return the command of iTerm2 that shows an image file.

    Source: https://iterm2.com/documentation-images.html
    """
    text = base64.b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={_CELLS};preserveAspectRatio=1:{text}\a"


def encode_as_sixels(png: bytes, _: float = _CELL_HEIGHT) -> str:
    """Return a picture as sixels: for each band of six rows and each colour, one character a column.

    Source: https://vt100.net/docs/vt3xx-gp/chapter14.html
    """
    with Image.open(io.BytesIO(png)) as file:
        image = file.convert("RGB")
    image.thumbnail((_SIXEL_SIDE_PX, _SIXEL_SIDE_PX))
    indexed = image.quantize(_SIXEL_COLOURS, dither=Image.Dither.NONE)
    palette = indexed.getpalette() or []
    width, height, pixels = indexed.width, indexed.height, indexed.tobytes()
    parts = [f'\x1bP0;1q"1;1;{width};{height}']
    for colour in sorted(set(pixels)):
        red, green, blue = (round(value / 2.55) for value in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        band = [f"#{colour}{_sixels_of(rows, colour)}" for colour in sorted(set().union(*rows))]
        parts.append("$".join(band) + "-")
    return "".join(parts) + "\x1b\\"


def _sixels_of(rows: list[bytes], colour: int) -> str:
    cells = bytearray(len(rows[0]))
    for bit, row in enumerate(rows):
        at = row.find(colour)
        while at >= 0:
            cells[at] |= 1 << bit
            at = row.find(colour, at + 1)
    text = bytes(cell + 63 for cell in cells).rstrip(b"?")
    return _REPEATED.sub(lambda run: b"!%d%c" % (len(run[0]), run[1][0]), text).decode()
