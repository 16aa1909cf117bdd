"""The text of a lesson, which compressor or refiner write: plain sentences of at most 100 words. Pure."""

from __future__ import annotations

import re
from typing import Final

from actors.prompting import unexpected

MAX_WORDS: Final = 100
MAX_CHARS: Final = 2_000
"""Limit of the message; it also bounds scripts in which neither spaces nor characters separate words."""

_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Ideographs, hiragana and katakana, half-width forms included."""
# Each of these characters, with the punctuation after it, is a word; in other scripts spaces separate words.
_WORD = re.compile(rf"[{_CJK}][^\w\s]*|[^\s{_CJK}]+")
_SENTENCE_END = re.compile(r"""[.!?]["'”’)]*(?=\s|\Z)|[。！？]""")


def parse_lesson(text: str) -> str:
    """Return a lesson as the model wrote it.

    Raises:
        ModelOutputError: the lesson is empty or too long.
    """
    lesson = _parse_words(text)
    if (words := len(_WORD.findall(lesson))) > MAX_WORDS:
        raise unexpected(f"at most {MAX_WORDS} words, got {words}", lesson)
    if len(lesson) > MAX_CHARS:
        raise unexpected(f"at most {MAX_CHARS} characters, got {len(lesson)}", lesson)
    return lesson


def cut_lesson(text: str) -> str:
    """Return a lesson, cut after the last whole sentence within the limit, or at the limit if no sentence ends there.

    Raises:
        ModelOutputError: the lesson is empty.
    """
    lesson = _parse_words(text)
    words = list(_WORD.finditer(lesson))
    limit = min(MAX_CHARS, words[MAX_WORDS - 1].end() if len(words) > MAX_WORDS else len(lesson))
    if limit == len(lesson):
        return lesson
    ends = [match.end() for match in _SENTENCE_END.finditer(lesson) if match.end() <= limit]
    return lesson[: ends[-1] if ends else limit].rstrip()


def _parse_words(text: str) -> str:
    if not (text := text.strip()):
        raise unexpected("a lesson in plain sentences", text)
    return text
