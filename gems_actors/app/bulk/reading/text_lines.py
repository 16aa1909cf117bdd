"""Read the lines of a text file: their encoding, their ends and their length are checked here."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from gems_actors.app.prompts import check_encoding

_START_BYTES: Final = 64 * 1024
"""Start of a file from which encoding and line ends are told."""


def read_lines(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Return the lines of a stream with their ends; a line over the limit is cut one byte above it.

    A byte order mark of UTF-8 is removed, also within the file: files are joined with `cat`. If no line of the start
    ends with a line feed, carriage returns end lines.

    Raises:
        PromptError: the text is in another encoding than UTF-8. Raised by this call, but for a stream that cannot be
            rewound by the first line.
    """
    if not stream.seekable():
        return _lines_of(stream, max_bytes)
    position = stream.tell()
    start = stream.read(_START_BYTES)
    stream.seek(position)
    check_encoding(start)
    if b"\r" in start and b"\n" not in start:
        return _lines_of(io.BufferedReader(_LineFeeds(stream)), max_bytes)
    return _lines_of(stream, max_bytes)


def _lines_of(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    is_first = True
    while line := stream.readline(max_bytes + 1):
        if is_first:
            check_encoding(line[:_START_BYTES])
            is_first = False
        rest = line
        while len(rest) > max_bytes and not rest.endswith(b"\n"):
            rest = stream.readline(max_bytes + 1)
        yield line.removeprefix(codecs.BOM_UTF8)


class _LineFeeds(io.RawIOBase):
    """A stream with line feeds in place of carriage returns."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)
