"""Prompts as a user hands them in: an argument, standard input, a file of lines. Foreign bytes, checked here once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from protocol.identity import attempt_seed
from protocol.limits import MAX_PROMPT_CHARS

LineFormat = Literal["txt", "jsonl"]

_MAX_PROMPT_BYTES = 4 * MAX_PROMPT_CHARS
_MAX_LINE_BYTES = 1024 * 1024
"""A line of a .jsonl file may carry more than its prompt."""


class PromptError(ValueError):
    """A prompt cannot be drawn as it is; says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class PromptLine:
    """One line of a prompt file that can be drawn."""

    index: int
    """Its place in the file, from 0, blank lines counted: line 1 of an editor is 0."""
    prompt: str
    seed: int
    metadata: dict[str, Any] = field(default_factory=dict)
    """What else stood in the line of a .jsonl file."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line of a prompt file that cannot be drawn."""

    index: int
    text: str
    """As it stands there, with U+FFFD for bytes that are no UTF-8."""
    reason: str


class _Task(msgspec.Struct):
    """What we read from a line of a .jsonl file."""

    prompt: str
    seed: int | None = None


def check_prompt(text: str) -> str:
    """Return a prompt without the white space round it.

    Raises:
        PromptError: it is empty, too long, or holds bytes that are no UTF-8.
    """
    prompt = text.strip()
    try:
        prompt.encode()
    except UnicodeEncodeError as error:  # Python hands over an argument's foreign bytes as half surrogates
        came = ord(prompt[error.start]) - 0xDC00
        raise PromptError(f"expected UTF-8, came byte {came:#04x} at character {error.start + 1}") from error
    if not 1 <= len(prompt) <= MAX_PROMPT_CHARS:
        came_text = f"{len(prompt):,}" if prompt else "an empty one"
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, came {came_text}")
    return prompt


def read_prompt(stream: BinaryIO) -> str:
    """Read one prompt, all that a stream holds.

    Raises:
        PromptError: as `check_prompt`.
    """
    data = stream.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise PromptError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, came more")
    return check_prompt(_decode(data))


def format_of(path: Path) -> LineFormat:
    """Return how the lines of a file are to be read, from its name.

    Raises:
        PromptError: it ends in neither .txt nor .jsonl.
    """
    match path.suffix.lower():
        case ".txt":
            return "txt"
        case ".jsonl":
            return "jsonl"
    raise PromptError(f"{path}: expected a name that ends in .txt or .jsonl, came {path.suffix or 'no ending'!r}")


def read_lines(stream: BinaryIO, format_: LineFormat, seed: int) -> Iterator[PromptLine | BadLine]:
    """Read a prompt file line by line, blank ones skipped; a bad line is an item like the others, never an exception.

    The seed of a line that gives none is `seed_of_line(seed, index)`.
    """
    index = -1
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        index += 1
        if len(line) > _MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_MAX_LINE_BYTES)
            yield BadLine(index, "", f"expected a line of at most {_MAX_LINE_BYTES:,} bytes, came more")
        elif line.strip():
            yield _read_line(line.rstrip(b"\r\n"), index, format_, seed)


def seed_of_line(seed: int, index: int) -> int:
    """Return the seed of one line of a bulk: a hash of the bulk's seed and the line's index, 0 to 2**32 - 1.

    It does not depend on what stands in other lines; no line has the bulk's own seed but by chance.
    """
    return attempt_seed(seed, index + 1, 0)


def slug_of(prompt: str) -> str:
    """Return a file name made from a prompt's first words, without an ending."""
    words = re.sub(r"[^\w]+", "-", prompt[:200].lower()).strip("-_")
    slug = words.encode()[:60].decode(errors="ignore")
    if len(words) > len(slug):
        slug = slug.rpartition("-")[0] or slug
    return slug or "picture"


def _read_line(line: bytes, index: int, format_: LineFormat, seed: int) -> PromptLine | BadLine:
    try:
        text = _decode(line)
        if format_ == "txt":
            return PromptLine(index, check_prompt(text.lstrip("\ufeff")), seed_of_line(seed, index))
        return _read_task(line, index, seed)
    except PromptError as error:
        return BadLine(index, line.decode(errors="replace"), str(error))


def _read_task(line: bytes, index: int, seed: int) -> PromptLine:
    try:
        task = msgspec.json.decode(line, type=_Task)
        metadata = msgspec.json.decode(line)
    except msgspec.ValidationError as error:
        raise PromptError(f'expected an object like {{"prompt": "...", "seed": 7}}: {error}') from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise PromptError(f"expected JSON: {error}") from error
    if task.seed is not None and not 0 <= task.seed <= 0xFFFFFFFF:
        raise PromptError(f"expected a seed of 0 to {0xFFFFFFFF}, came {task.seed}")
    others = {key: value for key, value in metadata.items() if key not in ("prompt", "seed")}
    return PromptLine(
        index, check_prompt(task.prompt), seed_of_line(seed, index) if task.seed is None else task.seed, others
    )


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PromptError(f"expected UTF-8, came byte {data[error.start]:#04x} at byte {error.start + 1}") from error
