"""Takes the full stops out of abbreviations, where they end no sentence: `Dr. Watson`, `T. rex`."""

from __future__ import annotations

import re

_TITLES = re.compile(r"\b(Dr|Mr|Mrs|Ms|St|Mt|Ft|Prof|Capt|Sgt|Lt|Col|Gen|Rev|Jr|Sr|vs|approx|ca)\.(?= ?\S)")
_SPECIES = re.compile(r"\b([A-Z])\. (?=(?:rex|coli|elegans|sapiens)\b)")
"""An abbreviated genus before a species that is known by it."""
_INITIALS = re.compile(
    r"(^|\b(?:of|and|with|from|[A-Z][a-z]+),? |, )((?:[A-Z]\. ?)+)"
    r"(?=[A-Z][a-z])(?!(?:The|An?|Its?|In|On|At|He|She|They|There|This|His|Her|One|Two|Three|No|Behind|Above|Next)\b)"
)
_LETTERS = re.compile(r"\b([A-Za-z])\.([A-Za-z])\.(?:([A-Za-z])\.)?")
"""`U.S.` and `p.m.`; a full stop that also ends a sentence is left out, too."""


def open_abbreviations(text: str, unread: list[str]) -> str:
    """Return the text without the full stops of abbreviations; initials before a name are added to `unread`."""
    text = _SPECIES.sub(r"\1-", _TITLES.sub(r"\1", text))
    text = _INITIALS.sub(lambda match: _drop(match, unread), text)
    return _LETTERS.sub(lambda match: "".join(filter(None, match.groups())), text)


def _drop(match: re.Match[str], unread: list[str]) -> str:
    unread.append(match[2].strip())
    return match[1]
