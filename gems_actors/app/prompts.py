"""Read prompts from arguments and standard input. The bytes are foreign input and are checked here."""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO, Final

from protocol.limits import MAX_PROMPT_CHARS

_MAX_PROMPT_BYTES = 4 * MAX_PROMPT_CHARS
_BYTE_ORDER_MARKS: Final = (
    ("UTF-32", codecs.BOM_UTF32_LE),  # begins with that of UTF-16
    ("UTF-32", codecs.BOM_UTF32_BE),
    ("UTF-16", codecs.BOM_UTF16_LE),
    ("UTF-16", codecs.BOM_UTF16_BE),
)
_RARE: Final = 1 / 8
"""Share of NUL bytes that no text in UTF-16 has fewer of, unless it is not UTF-8 either."""


class PromptError(ValueError):
    """A prompt or a record of an input file cannot be drawn."""


def check_prompt(text: str) -> str:
    """Return a prompt without surrounding white space.

    Raises:
        PromptError: the prompt is empty, too long, not UTF-8, or has a NUL character.
    """
    prompt = text.strip()
    check_text(prompt)
    if not 1 <= len(prompt) <= MAX_PROMPT_CHARS:
        length = f"{len(prompt):,}" if prompt else "an empty one"
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got {length}")
    return prompt


def check_text(text: str) -> None:
    """Check that a text is UTF-8 without NUL characters. Other control characters are kept, and never printed as such.

    Raises:
        PromptError: it is not.
    """
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        got = lone_surrogate(error)
        raise PromptError(f"expected UTF-8, got {got} at character {error.start + 1}") from error
    if "\0" in text:
        raise PromptError(f"expected text, got a NUL character at character {text.index(chr(0)) + 1}")


def lone_surrogate(error: UnicodeEncodeError) -> str:
    """Return what a character stands for that cannot be encoded: a byte, as Python passes it, or half of a pair."""
    code = ord(error.object[error.start])
    return f"byte {code - 0xDC00:#04x}" if 0xDC80 <= code <= 0xDCFF else f"half a surrogate pair (U+{code:04X})"


def read_prompt(stream: BinaryIO) -> str:
    """Read a whole stream as one prompt.

    Raises:
        PromptError: as `check_prompt`.
    """
    data = stream.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got more")
    check_encoding(data)
    return check_prompt(decode(data))


def slug_of(prompt: str) -> str:
    """Return a file name without ending from the first words of a prompt."""
    name = re.sub(r"[^\w]+", "-", prompt[:200].lower()).strip("-_")
    slug = name.encode()[:60].decode(errors="ignore")
    if len(name) > len(slug):
        slug = slug.rpartition("-")[0] or slug
    return slug or "picture"


def decode(data: bytes) -> str:
    """Return bytes as text.

    Raises:
        PromptError: the bytes are not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PromptError(f"expected UTF-8, got byte {data[error.start]:#04x} at byte {error.start + 1}") from error


def check_encoding(start: bytes) -> None:
    """Check that the start of a text is not in UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        PromptError: it is.
    """
    for name, mark in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            raise PromptError(f"expected UTF-8, got {name}; save it as UTF-8")
    if 0 not in start or (start.count(0) < _RARE * len(start) and _text_in(start, "utf-8") is not None):
        return
    for codec in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = _text_in(start, codec)
        if text and "".join(text.split()).isprintable():
            raise PromptError(f"expected UTF-8, got {codec[:6].upper()}; save it as UTF-8")


def _text_in(start: bytes, codec: str) -> str | None:
    """Return the start of a text, which may end within a character, or None if it is not in this encoding."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(start)
    except UnicodeDecodeError:
        return None
