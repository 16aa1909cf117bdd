"""Which words of a prompt tell it from others, and which prompts share them; full text in SQLite's FTS5.

A whole prompt as a query would read the list of every common word: of 80,000 prompts 125 ms. Its rarest words find the
same prompts in a few.
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
"""They make no two prompts alike, and a small log would not know that they are common."""
LEAST_ALIKE: Final = 0.25
"""Of the likeness of the first found; what is less like the prompt is no evidence."""
_MAX_READ: Final = 4000
"""Places in the word lists that one query reads."""
_MAX_COMMON: Final = 10_000
_MAX_WORDS: Final = 512


def split_words(text: str) -> str:
    """Return the words of a text that tell something; of scripts without spaces each two neighbours are a word."""
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
    """Finds prompts that share words with another, through one connection, which one thread at a time may use."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._stem = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])
        self._common: set[str] = set()
        """Words that so many prompts have that they tell nothing; counting them is what costs."""

    def alike(self, text: str, limit: int) -> dict[int, float]:
        """Return the numbers of the trajectories whose prompts are most like a text, the most alike first.

        Each has its likeness, which is above 0.
        """
        words = self._rarest(split_words(text))
        if not words:
            return {}
        query = " OR ".join(f'"{word}"' for word in words)
        found = list(
            self._connection.execute(
                "SELECT rowid, rank FROM prompts WHERE prompts MATCH ? ORDER BY rank, rowid LIMIT ?", (query, limit)
            )
        )
        return {number: -rank for number, rank in found if rank <= LEAST_ALIKE * found[0][1]}  # ranks are negative

    def _rarest(self, words: str) -> list[str]:
        """Return those words that any prompt has, the rarest first, up to what one query may read."""
        tokens = self._stem(words.encode(), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False)
        stems = {str(token[0]) for token in tokens}
        counts: dict[str, int] = {}
        for stem in sorted(stems - self._common)[:_MAX_WORDS]:
            row = self._connection.execute("SELECT doc FROM words WHERE term = ?", (stem,)).fetchone()
            if row is not None:
                counts[stem] = row[0]
                if row[0] > _MAX_COMMON:
                    self._common.add(stem)
        chosen: list[str] = []
        read = 0
        for stem in sorted(counts, key=lambda stem: (counts[stem], stem)):
            read += counts[stem]
            if chosen and read > _MAX_READ:
                break
            chosen.append(stem)
        return chosen
