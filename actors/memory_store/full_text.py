"""Full-text search for similar prompts, and for prompts with certain words, with SQLite's FTS5.

A query with a whole prompt would read the posting list of every common word: 125 ms for 80,000 prompts. A query with
only its rarest words finds the same prompts in a few milliseconds.
"""

from __future__ import annotations

import re
from typing import Final

import apsw

_UNSPACED: Final = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and ideographs
_WORDS: Final = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[^\W_])+")
_HAS_UNSPACED: Final = re.compile(rf"[{_UNSPACED}]")
_SPACED_WORDS: Final = re.compile(r"[^\W_]+")
_FUNCTION_WORDS: Final = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "into", "is", "it", "its",
        "of", "on", "or", "that", "the", "their", "there", "this", "to", "which", "with",
    )
)  # fmt: skip
"""Words that say nothing about similarity; in a small log their counts would not show that."""
MIN_RELATIVE_LIKENESS: Final = 0.25
"""Minimum likeness of a result, relative to the best result."""
MAX_READ: Final = 4000
"""Maximum number of postings that one query reads."""
COMMON_FROM: Final = 10_000
"""Number of prompts with a word beyond which the word is no longer searched for."""
_MAX_WORDS: Final = 512


def split_words(text: str) -> str:
    """Return the content words of a text; in scripts without spaces, each pair of neighbouring characters is a word."""
    if not _HAS_UNSPACED.search(text):
        return " ".join([word for word in _SPACED_WORDS.findall(text) if word.lower() not in _FUNCTION_WORDS])
    words: list[str] = []
    for word in _WORDS.findall(text):
        if len(word) > 2 and _HAS_UNSPACED.match(word):
            words += (word[at : at + 2] for at in range(len(word) - 1))
        elif word.lower() not in _FUNCTION_WORDS:
            words.append(word)
    return " ".join(words)


class WordIndex:
    """Finds prompts that share words with another one. Not thread-safe: it uses one connection."""

    def __init__(
        self, connection: apsw.Connection, *, max_read: int = MAX_READ, common_from: int = COMMON_FROM
    ) -> None:
        self.common_words: set[str] = set()
        """Stems that too many prompts have; remembered, because counting them is the expensive part."""
        self._connection = connection
        self._max_read = max_read
        self._common_from = common_from
        self._stem = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])

    def find_similar(self, text: str, limit: int) -> dict[int, float]:
        """Return the numbers of the trajectories with the most similar prompts, each with its likeness, best first."""
        words = self._rarest(split_words(text))
        if not words:
            return {}
        query = " OR ".join(f'"{word}"' for word in words)
        found = list(
            self._connection.execute(
                "SELECT rowid, rank FROM prompts WHERE prompts MATCH ? ORDER BY rank, rowid LIMIT ?", (query, limit)
            )
        )
        return {
            number: -rank for number, rank in found if rank <= MIN_RELATIVE_LIKENESS * found[0][1]
        }  # ranks are negative

    def find_words(self, text: str, before: int, limit: int) -> list[int]:
        """Return the numbers of the trajectories below `before` whose prompts have all words of a text, latest first.

        The last word may be the beginning of a word.
        """
        tokens = self._stem(split_words(text).encode(), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False)
        stems = list(dict.fromkeys(str(token[0]) for token in tokens))[:_MAX_WORDS]
        if not stems:
            return []
        query = " AND ".join(f'"{stem}"' for stem in stems) + " *"
        rows = self._connection.execute(
            "SELECT rowid FROM history WHERE history MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
            (query, before, limit),
        )
        return [number for (number,) in rows]

    def _rarest(self, words: str) -> list[str]:
        """Return the stems that any prompt has, rarest first, up to what one query may read."""
        tokens = self._stem(words.encode(), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False)
        stems = {str(token[0]) for token in tokens}
        counts: dict[str, int] = {}
        for stem in sorted(stems - self.common_words)[:_MAX_WORDS]:
            row = self._connection.execute("SELECT doc FROM words WHERE term = ?", (stem,)).fetchone()
            if row is not None:
                counts[stem] = row[0]
                if row[0] > self._common_from:
                    self.common_words.add(stem)
        chosen: list[str] = []
        read = 0
        for stem in sorted(counts, key=lambda stem: (counts[stem], stem)):
            read += counts[stem]
            if chosen and read > self._max_read:
                break
            chosen.append(stem)
        return chosen
