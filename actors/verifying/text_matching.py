"""Compares a text that a picture must show with the texts read from it: exact up to case and line breaks. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from protocol.messages import Requirement

_QUOTES: Final = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "…": "..."})
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Letters of scripts that are written without spaces, so that words have no edges."""

_QUOTED: Final = re.compile('"([^"]+)"|“([^“”]+)”|„([^„“”]+)[“”]|«([^«»]+)»|「([^「」]+)」|『([^『』]+)』')
_ASKS_MORE: Final = re.compile(
    r"\b(?:not?|none|without|free|absent|missing|font|typeface|colou?r|coloured|colored|capitals?|uppercase|lowercase|bold|"
    r"italics?|large[rs]?t?|bigg?e?[rs]?t?|small(?:e[rs]t?)?|left|right|above|below|under|top|bottom|cent(?:er|re)|"
    r"style|written in|twice|once|times|first|last|instead)\b",
    re.IGNORECASE,
)
"""Words of a question that asks for more than that a text is there."""


def text_asked_for(requirement: Requirement) -> str | None:
    """Return the text that a requirement says the picture shows; None if it says anything else, or more than that."""
    if requirement.kind != "text":
        return None
    if (claim := requirement.claim) is not None:
        return claim.value if claim.type == "text" and not claim.negated else None
    quoted: list[str] = [next(filter(None, match.groups())) for match in _QUOTED.finditer(requirement.question)]
    if len(quoted) != 1 or _ASKS_MORE.search(_QUOTED.sub(" ", requirement.question)):
        return None
    return quoted[0]


def shows_text(wanted: str, texts: Iterable[str]) -> bool:
    """Return whether one of the texts, or all of them in their order, contain the wanted text in whole words.

    Letter case, white space and the forms of quotation marks make no difference; every other character does.
    """
    read = [fold_text(text) for text in texts]
    joined = " ".join(read)
    words = fold_text(wanted).split()
    if not words:
        return False
    pattern = r"\s+".join(map(re.escape, words))
    if _UNSPACED.search(wanted):
        glued = "".join(words)
        return any(glued in re.sub(r"\s", "", text) for text in (*read, joined))
    before = r"(?<!\w)" if words[0][0].isalnum() else ""
    after = r"(?!\w)" if words[-1][-1].isalnum() else ""
    whole = re.compile(before + pattern + after)
    if any(whole.search(text) for text in (*read, joined)):
        return True
    glued = "".join(words)  # a line break within a word reads as a space
    return any(glued == re.sub(r"\s", "", text) for text in (*read, joined))


def fold_text(text: str) -> str:
    """Return a text in lower case with single spaces and plain quotation marks."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold().split())
