"""Drawn text can be read back, in every size and with any characters."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gems_actors.backends.storyboard.lettering import SIZES_PX, line_height, read_line, shorten, width_of, wrap, write

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
def test_any_characters_are_read(text: str) -> None:
    assert set_and_read(text, 18).replace('"', "''") == text.replace('"', "''")


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    lines = wrap(_TEXT * 3, 18, 120)
    assert all(width_of(line, 18) <= 124 for line in lines)
    assert "".join("".join(lines).split()) == "".join((_TEXT * 3).split())


def test_a_shortened_line_fits() -> None:
    assert width_of(shorten(_TEXT, 18, 150), 18) <= 150
