"""Reads the cases of a calibration: pictures, questions and right answers, from JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, get_args

from gems_actors.errors import UsageError
from gems_actors.files import os_reason, read_regular
from protocol.limits import MAX_NOTE_CHARS
from protocol.messages import RequirementKind

_ANSWERS: Final[Mapping[object, bool]] = {
    "yes": True, "met": True, "true": True, "1": True, "no": False, "unmet": False, "false": False, "0": False,
}  # fmt: skip
_KINDS: Final = get_args(RequirementKind)
_HELD_OUT: Final = 3
"""One picture in so many is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question about a picture, and its right answer."""

    line: int
    """Number of its line in the file, from 1, as an editor counts them."""
    image: str
    """The picture's path as the file has it."""
    picture: Path
    question: str
    is_met: bool
    kind: RequirementKind | None = None
    score: float | None = None
    """Probability that is known already; None if the model must be asked."""

    @property
    def is_held_out(self) -> bool:
        """Whether it measures the fit and has no part in it; the same for all questions about a picture."""
        return int.from_bytes(sha256(self.image.encode(errors="backslashreplace")).digest()[:8]) % _HELD_OUT == 0


def read_cases(file: Path) -> list[Case]:
    """Return the cases in a file, `.csv` or JSON lines, whose pictures are named relative to its folder.

    Raises:
        UsageError: the file cannot be read, or a line is not a case; the message names the line.
    """
    try:
        text = read_regular(file).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise UsageError(f"FILE: {file}: expected JSON lines or CSV, got: {reason}") from error
    rows = _csv_rows(text, file) if file.suffix.lower() == ".csv" else _json_rows(text, file)
    cases = [_case(row, file, line) for line, row in rows]
    if not cases:
        raise UsageError(f"FILE: {file}: expected pictures, questions and answers, got none")
    return cases


def _json_rows(text: str, file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, content in enumerate(text.split("\n"), 1):
        if content.strip():
            try:
                row = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise _wrong(file, line, "a JSON object", content) from error
            if not isinstance(row, dict):
                raise _wrong(file, line, "a JSON object", content)
            yield line, row


def _csv_rows(text: str, file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    try:
        for row in reader:
            yield reader.line_num, {str(name).strip(): value for name, value in row.items() if value not in (None, "")}
    except csv.Error as error:
        raise UsageError(f"FILE: {file}: expected CSV, got: {error}") from error


def _case(row: Mapping[str, Any], file: Path, line: int) -> Case:
    image, question = row.get("image", row.get("file_name")), row.get("question")
    if not isinstance(image, str) or not image.strip("\0 "):
        raise _wrong(file, line, "the path of a picture as `image`", image)
    if not isinstance(question, str) or not 0 < len(question.strip()) <= MAX_NOTE_CHARS:
        raise _wrong(file, line, f"a question of up to {MAX_NOTE_CHARS} characters as `question`", question)
    answer = str(row.get("answer")).strip().lower()
    if answer not in _ANSWERS:
        raise _wrong(file, line, "yes or no as `answer`", row.get("answer"))
    kind = row.get("kind")
    if kind is not None and kind not in _KINDS:
        raise _wrong(file, line, f"one of {', '.join(_KINDS)} as `kind`", kind)
    score = _score(row.get("score"), file, line)
    picture = file.parent / image
    try:
        is_missing = score is None and not picture.is_file()
    except (OSError, ValueError):
        is_missing = True
    if is_missing:
        raise _wrong(file, line, "a picture that exists as `image`", image)
    return Case(
        line=line,
        image=image,
        picture=picture,
        question=question.strip(),
        is_met=_ANSWERS[answer],
        kind=kind,
        score=score,
    )


def _score(value: Any, file: Path, line: int) -> float | None:
    if value is None:
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not 0 <= score <= 1:
        raise _wrong(file, line, "a number from 0 to 1 as `score`", value)
    return score


def _wrong(file: Path, line: int, expected: str, value: object) -> UsageError:
    got = "none" if value is None else repr(value)[:100]
    return UsageError(f"FILE: {file}: line {line}: expected {expected}, got {got}")
