"""A picture is shown in terminals that can, and elsewhere with the desktop's viewer."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import struct
import termios
from pathlib import Path

import pytest
from PIL import Image

from gems_actors.cli.terminal.desktop import viewer_for
from gems_actors.cli.terminal.inline_picture import (
    encode_as_sixels,
    encode_for_iterm,
    encode_for_kitty,
    encoder_for,
    show_picture,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def png_of(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def noise() -> Image.Image:
    return Image.effect_noise((90, 61), 80).convert("RGB")


@pytest.mark.parametrize(
    ("environment", "encoder"),
    [
        ({"TERM": "xterm-kitty"}, encode_for_kitty),
        ({"TERM": "xterm-ghostty"}, encode_for_kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, encode_for_iterm),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, encode_for_iterm),
        ({"TERM": "foot-extra"}, encode_as_sixels),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "KITTY_WINDOW_ID": "1"}, None),
        ({}, None),
    ],
)
def test_a_terminal_is_known_by_its_variables(environment: dict[str, str], encoder: object) -> None:
    assert encoder_for(environment) is encoder


@pytest.mark.parametrize(("cell_height", "rows"), [(2.0, 24), (2.4, 20)])
def test_kitty_is_told_as_many_rows_as_keep_the_shape(cell_height: float, rows: int) -> None:
    shown = encode_for_kitty(png_of(Image.new("RGB", (90, 90))), cell_height)
    assert f"c=48,r={rows}," in shown


def test_the_shape_of_cells_is_that_of_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_of(Image.new("RGB", (90, 90))))
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 50, 100, 1000, 1500))
    with os.fdopen(its, "w") as stream:
        assert show_picture(tmp_path / "x.png", stream, {"TERM": "xterm-kitty"}) == ""
        assert b"c=48,r=16," in os.read(ours, 4096)
    os.close(ours)


def test_kitty_gets_the_file_in_chunks() -> None:
    png = png_of(noise())
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", encode_for_kitty(png))
    assert base64.b64decode("".join(chunk for _, chunk in commands)) == png
    assert len(commands) > 1
    assert max(len(chunk) for _, chunk in commands) <= 4096
    assert commands[0][0].startswith("a=T,f=100,")
    assert [keys.rpartition("m=")[2] for keys, _ in commands] == ["1"] * (len(commands) - 1) + ["0"]


def test_iterm_gets_the_file_whole() -> None:
    png = png_of(noise())
    found = re.fullmatch(r"\x1b\]1337;File=([^:]*):([^\a]*)\a", encode_for_iterm(png))
    assert found is not None
    assert f"size={len(png)}" in found[1]
    assert base64.b64decode(found[2]) == png


def decode_sixels(text: str) -> Image.Image:
    """Return the picture that a terminal shows."""
    size = re.match(r'\x1bP0;1q"1;1;(\d+);(\d+)', text)
    assert size is not None
    assert text.endswith("\x1b\\")
    image = Image.new("RGB", (int(size[1]), int(size[2])))
    body = text[size.end() : -2]
    colours: dict[str, tuple[int, ...]] = {}
    colour, x, y = "", 0, 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([$-])|([?-~])", body):
        number, red, green, blue, chosen, count, repeated, move, cell = token.groups()
        if number:
            colours[number] = tuple(round(int(value) * 2.55) for value in (red, green, blue))
        elif chosen:
            colour = chosen
        elif move:
            x, y = 0, y + 6 * (move == "-")
        else:
            columns = range(x, x + int(count or 1))
            dots = [bit for bit in range(6) if (ord(repeated or cell) - 63) >> bit & 1]
            for at in ((column, y + bit) for column in columns for bit in dots):
                image.putpixel(at, colours[colour])
            x = columns.stop
    return image


def test_sixels_show_the_picture() -> None:
    image = Image.new("RGB", (70, 45), (200, 30, 40))
    image.paste((10, 120, 240), (13, 7, 50, 32))
    image.paste((255, 255, 255), (20, 20, 21, 40))
    shown = decode_sixels(encode_as_sixels(png_of(image)))
    assert shown.size == image.size
    differences = [abs(a - b) for a, b in zip(shown.tobytes(), image.tobytes(), strict=True)]
    assert max(differences) <= 2


def test_a_large_picture_is_made_smaller_for_sixels() -> None:
    assert max(decode_sixels(encode_as_sixels(png_of(Image.new("RGB", (960, 320))))).size) == 480


def test_a_terminal_shows_the_picture_and_a_pipe_never_does(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(png_of(noise()))
    terminal, pipe = Terminal(), io.StringIO()
    assert show_picture(path, terminal, {"TERM": "xterm-kitty"}) == ""
    assert terminal.getvalue() == encode_for_kitty(path.read_bytes()) + "\n"
    assert "no viewer found" in show_picture(path, pipe, {"TERM": "xterm-kitty"})
    assert pipe.getvalue() == ""


def test_the_desktop_opens_the_picture(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    os.mkfifo(opened)
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    viewer.chmod(0o755)
    desktop = {"DISPLAY": ":0", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert viewer_for({"PATH": desktop["PATH"]}) is None
    assert show_picture(tmp_path / "fox.png", io.StringIO(), desktop) == ""
    assert opened.read_text().strip() == str(tmp_path / "fox.png")
