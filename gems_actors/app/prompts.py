"""A prompt as a user hands it in: an argument, or standard input. Foreign bytes, checked here once."""

from __future__ import annotations

import re
from typing import BinaryIO

from protocol.limits import MAX_PROMPT_CHARS

_MAX_PROMPT_BYTES = 4 * MAX_PROMPT_CHARS


class PromptError(ValueError):
    """A prompt cannot be drawn as it is; says what was expected and what was found."""


def check_prompt(text: str) -> str:
    """Return a prompt without the white space round it.

    Raises:
        PromptError: it is empty, too long, or holds bytes that are no UTF-8.
    """
    prompt = text.strip()
    try:
        prompt.encode()
    except UnicodeEncodeError as error:  # Python hands over an argument's foreign bytes as half surrogates
        got = ord(prompt[error.start]) - 0xDC00
        raise PromptError(f"expected UTF-8, got byte {got:#04x} at character {error.start + 1}") from error
    if not 1 <= len(prompt) <= MAX_PROMPT_CHARS:
        came_text = f"{len(prompt):,}" if prompt else "an empty one"
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got {came_text}")
    return prompt


def read_prompt(stream: BinaryIO) -> str:
    """Read one prompt, all that a stream holds.

    Raises:
        PromptError: as `check_prompt`.
    """
    data = stream.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got more")
    return check_prompt(decode(data))


def slug_of(prompt: str) -> str:
    """Return a file name made from a prompt's first words, without an ending."""
    words = re.sub(r"[^\w]+", "-", prompt[:200].lower()).strip("-_")
    slug = words.encode()[:60].decode(errors="ignore")
    if len(words) > len(slug):
        slug = slug.rpartition("-")[0] or slug
    return slug or "picture"


def decode(data: bytes) -> str:
    """Return bytes as text.

    Raises:
        PromptError: they are no UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PromptError(f"expected UTF-8, got byte {data[error.start]:#04x} at byte {error.start + 1}") from error
