"""Control characters in what peers, servers and files say."""

from __future__ import annotations

import io
import json

import pytest

from gems_actors.terminal_text import PrintableStream, escaped_json, paint, printable, printable_lines

HOSTILE = (
    "\x1b[2J", "\x1b]8;;http://evil\x1b\\", "\x1b]52;c;ZXZpbA==\x07", "\x9b31m", "\x9d52;c;eA==\x9c", "\0", "\r", "\b",
    "\x7f", "\u202e", "\u2066", "\u200b", "\u200f", "\ufeff", "\u2028", "\U000e0041", "\ud800",
)  # fmt: skip
"""CSI, OSC 8 and OSC 52 in 7 and 8 bits, NUL, CR, DEL, marks of direction, zero-width characters, a lone surrogate."""
UNSAFE = {char for text in HOSTILE for char in text if not char.isprintable()}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_control_character_is_printed(text: str) -> None:
    for shown in (printable(f"a{text}b"), printable_lines(f"a{text}b\n\tc")):
        assert not UNSAFE & {*shown}
        assert shown[0] == "a"
        assert "b" in shown


def test_control_characters_are_replaced_and_white_space_is_one_space() -> None:
    assert printable("red\x1b[2J\ndog\r\u202e\x07") == "red\ufffd[2J dog \ufffd\ufffd"


@pytest.mark.parametrize("text", ["Zoë", "赤い　狐", "👩\u200d🎨 🏳️\u200d🌈", "a\u00a0b", "\ue0b0"], ids=ascii)
def test_the_characters_of_every_script_and_emoji_stay(text: str) -> None:
    assert printable_lines(f"{text}\n\t{text}") == f"{text}\n\t{text}"


@pytest.mark.parametrize("text", HOSTILE[:-1], ids=ascii)
def test_json_keeps_its_meaning_without_control_characters(text: str) -> None:
    line = escaped_json(json.dumps(f"a{text}b", ensure_ascii=False))
    assert not UNSAFE & {*line}
    assert json.loads(line) == f"a{text}b"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_stream_shows_control_characters_as_such_and_paints_only_what_it_is_told_to_paint(encoding: str) -> None:
    buffer = io.BytesIO()
    stream = PrintableStream(buffer, encoding)
    print("".join(HOSTILE), "é", file=stream)
    paint(stream, "\x1b[K")
    stream.flush()
    shown = buffer.getvalue().decode(encoding)
    assert shown.endswith("\n\x1b[K")
    assert not UNSAFE & {*shown.removesuffix("\x1b[K").replace("\n", "")}
    assert "é" in shown or "\\xe9" in shown
