"""Text that is safe to show: what peers, servers and files say must never command a terminal or hide part of a line.

Everything that a command or a role prints goes through `PrintableStream`. Control characters (C0, C1, DEL, NUL, ESC),
marks that change the direction of text, zero-width characters and lone surrogates become U+FFFD; the characters of
every script, and the joiner within emoji, stay.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
import unicodedata
from typing import Any, BinaryIO, Final, TextIO, cast

_UNSAFE_CATEGORIES: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_USER_INFO: Final = re.compile(r"(?<=://)[^/@\s\"']+@")
_ZERO_WIDTH_JOINER: Final = "\u200d"


def printable(text: str) -> str:
    """Return a text as one line without control characters: white space is one space, others become U+FFFD."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(map(_safe, line))


def printable_lines(text: str) -> str:
    """Return a text with its line ends and tabs, and U+FFFD for every other control character."""
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" else _safe(char) for char in text)


def visible_surrogates(text: str) -> str:
    r"""Return a text with escapes such as `\udcff` for lone surrogates, which stand for bytes of file names."""
    return text.encode(errors="backslashreplace").decode()


def escaped_json(text: str) -> str:
    r"""Return JSON with the same meaning, in which `\u` stands for each control character outside ASCII."""
    if text.isprintable():
        return text
    return "".join(char if _safe(char) == char else _json_escape(char) for char in text)


def _safe(char: str) -> str:
    if char.isprintable() or char == _ZERO_WIDTH_JOINER or unicodedata.category(char) not in _UNSAFE_CATEGORIES:
        return char
    return "\ufffd"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def without_passwords(text: str) -> str:
    """Return a text with `***` for user names and passwords in addresses such as `http://NAME:PASSWORD@HOST`."""
    return _USER_INFO.sub("***@", text)


class PrintableStream(io.TextIOWrapper):
    """A stream of text that shows control characters as U+FFFD.

    What is coloured or painted by this program is escaped part by part and written with `paint`.
    """

    def __init__(self, buffer: BinaryIO, encoding: str, *, line_buffering: bool = True) -> None:
        """Take over a buffer; characters that the encoding lacks are written as escapes."""
        # click replaces a stream that says ASCII by one that would be neither ASCII nor printable
        self._is_ascii = codecs.lookup(encoding).name == "ascii"
        encoding = "latin-1" if self._is_ascii else encoding
        super().__init__(buffer, encoding, "backslashreplace", line_buffering=line_buffering)

    def write(self, text: str, /) -> int:
        self.paint(printable_lines(visible_surrogates(text)))
        return len(text)

    def paint(self, text: str) -> None:
        """Write a text that may command the terminal."""
        super().write(text.encode("ascii", "backslashreplace").decode() if self._is_ascii else text)


class Painting:
    """A stream whose writes may command the terminal, for libraries that colour what they are given."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a text as it is; the parts of it that others wrote must be escaped already."""
        paint(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def paint(stream: TextIO, text: str) -> None:
    """Write a text of this program that may command the terminal; what others wrote must be escaped already."""
    if isinstance(stream, PrintableStream):
        stream.paint(text)
    else:
        stream.write(text)


def protect_standard_streams() -> None:
    """Have standard output and standard error show control characters as U+FFFD from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        protected = _protected(stream)
        if getattr(sys, f"__{name}__") is stream:  # which libraries ask for the width of the terminal
            setattr(sys, f"__{name}__", protected)
        setattr(sys, name, protected)


def _protected(stream: TextIO) -> TextIO:
    if type(stream) is not io.TextIOWrapper:  # protected already, or a test captures it
        return stream
    encoding, line_buffering = stream.encoding, stream.line_buffering
    return PrintableStream(cast("BinaryIO", stream.detach()), encoding, line_buffering=line_buffering)
