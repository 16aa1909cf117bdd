"""Reads times in words, such as `half past ten`, and takes out ranges, such as `A to D`, which are no text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gems_actors.backends.storyboard.words import number_of

_HOURS: Final = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_PARTS: Final = {"quarter": 15, "half": 30}
_SPOKEN = re.compile(
    r"\b(?:at |as |exactly |around |about )?(?:a )?(quarter|half|five|ten|twenty(?:[- ]five)?|\d\d?)(?: minutes?)?"
    rf"(?:-| )(past|after|to|till|before)(?:-| )({_HOURS}|\d\d?|noon|midnight)\b",
    re.IGNORECASE,
)
_FULL_HOUR = re.compile(
    rf"\b(?:(?:at |as |exactly )?({_HOURS}) o['’]clock"
    r"|(?:showing|striking|strikes|hands at|point(?:ing)? to) (?:noon|midnight))\b",
    re.IGNORECASE,
)
_ONE = rf"(?:[A-Z]|\d{{1,4}}|{_HOURS})"
_RANGE = re.compile(
    rf"\b(?:(?:numbered|labell?ed|lettered|marked|letters|numbers|numerals|digits|hours|scale|pages|steps)"
    rf"(?: (?:from|of))? |from ){_ONE} ?(?:to|through|-|–) ?{_ONE}\b(?! [a-z]+s\b)|\b[A-Z] (?:to|through) [A-Z]\b"
)


def take_times(text: str, take: Callable[[str, re.Match[str]], str]) -> str:
    """Return the text with each time in words replaced by what `take` returns for its digits and the match."""

    def spoken(match: re.Match[str]) -> str:
        minutes = _PARTS.get(match[1].lower()) or _number(match[1])
        hour = 12 if match[3].lower() in {"noon", "midnight"} else _number(match[3])
        if not (0 < minutes < 60 and 0 < hour < 24):
            return match[0]
        if match[2].lower() in {"to", "till", "before"}:
            hour, minutes = hour - 1 or 12, 60 - minutes
        return take(f"{hour}:{minutes:02}", match)

    text = _SPOKEN.sub(spoken, text)
    return _FULL_HOUR.sub(
        lambda match: take(f"{_number(match[1]) if match[1] else 12}:00", match),
        text,
    )


def drop_times(text: str, unread: list[str]) -> str:
    """Return the text without times in words, which no clock shows; they are added to `unread`."""
    return _SPOKEN.sub(lambda match: _drop(match, unread) if match[1].lower() in _PARTS else match[0], text)


def drop_ranges(text: str, unread: list[str]) -> str:
    """Return the text without ranges of letters or numbers, which are added to `unread`."""
    return _RANGE.sub(lambda match: _drop(match, unread), text)


def _drop(match: re.Match[str], unread: list[str]) -> str:
    unread.append(match[0])
    return " , "


def _number(word: str) -> int:
    return sum(number_of(part) or 0 for part in re.split(r"[- ]", word.lower()))
