"""Read prompts from arguments and standard input. The bytes are foreign input and are checked here."""

from __future__ import annotations

import re
from typing import BinaryIO

from protocol.limits import MAX_PROMPT_CHARS

_MAX_PROMPT_BYTES = 4 * MAX_PROMPT_CHARS


class PromptError(ValueError):
    """A prompt or a record of an input file cannot be drawn."""


def check_prompt(text: str) -> str:
    """Return a prompt without surrounding white space.

    Raises:
        PromptError: the prompt is empty, too long or not UTF-8.
    """
    prompt = text.strip()
    try:
        prompt.encode()
    except UnicodeEncodeError as error:  # Python passes bytes of an argument that are not UTF-8 as lone surrogates
        got = ord(prompt[error.start]) - 0xDC00
        raise PromptError(f"expected UTF-8, got byte {got:#04x} at character {error.start + 1}") from error
    if not 1 <= len(prompt) <= MAX_PROMPT_CHARS:
        length = f"{len(prompt):,}" if prompt else "an empty one"
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got {length}")
    return prompt


def read_prompt(stream: BinaryIO) -> str:
    """Read a whole stream as one prompt.

    Raises:
        PromptError: as `check_prompt`.
    """
    data = stream.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got more")
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
