"""Drawn text can be read back, in every size and with any characters."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gems_actors.backends.storyboard.lettering import (
    SIZES_PX,
    can_draw,
    line_height,
    read_line,
    shorten,
    width_of,
    wrap,
    write,
)

_TEXT = 'The "quick" brown fox: 37% of jump—ed, café 每日新鲜 🎉 Il1| O0; …5 & (A)'


def set_and_read(text: str, size_px: int) -> str:
    line = Image.new("RGB", (width_of(text, size_px) + 12, line_height(size_px)))
    write(line, (5, 0), text, size_px, (255, 255, 255))
    return read_line(line.convert("L"), size_px).text


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_a_line_is_read_in_every_size(size_px: int) -> None:
    assert set_and_read(_TEXT, size_px) == _TEXT


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=12))
@pytest.mark.slow
def test_any_characters_are_read(text: str) -> None:
    assert set_and_read(text, 18).replace('"', "''") == text.replace('"', "''")


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_glyphs_of_other_fonts_are_read_after_jpeg(size_px: int) -> None:
    text = "🐕🎉☀ Добро 每日 café 🎻"
    line = Image.new("RGB", (width_of(text, size_px) + 16, line_height(size_px)), (255, 251, 240))
    write(line, (7, 0), text, size_px, (38, 46, 66))
    file = io.BytesIO()
    line.save(file, "JPEG", quality=90)
    ink = ImageOps.invert(Image.open(file).convert("L"))
    assert read_line(ink.point(lambda value: min(255, max(0, (value - 5) * 255 // 204))), size_px).text == text


def test_emoji_need_no_font_of_the_host() -> None:
    assert can_draw("🎉")
    assert not can_draw("\ue000")


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    lines = wrap(_TEXT * 3, 18, 120)
    assert all(width_of(line, 18) <= 124 for line in lines)
    assert "".join("".join(lines).split()) == "".join((_TEXT * 3).split())


def test_a_shortened_line_fits() -> None:
    assert width_of(shorten(_TEXT, 18, 150), 18) <= 150
