"""Finds alternatives, such as `a cat or a dog`: neither need be there, and what is denied of one is denied of both."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.phrases import PhraseReader
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import TAKING_FORMS, THIRD_PERSONS
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    DETERMINERS,
    JOINTS,
    NEGATIONS,
    NEGATIVE_COPULAS,
    RELATIVES,
    attribute_of,
)
from gems_actors.backends.storyboard.words import LONGEST_PLACE, PLACES, is_participle, number_of

_LISTING: Final = ABSENCES | {"nor", "whether", "any"}
"""Words after which `or` joins a list that the rules for absences read."""
_MAX_PHRASE: Final = 6
_MORE_OR_LESS: Final = frozenset(("more", "so", "less"))


def alternatives_at(tokens: Tokens, at: int, start: int, end: int) -> tuple[int, int] | None:
    """Return start and end of the alternatives that `or` at a token joins in a sentence, or None if it joins none."""
    before = tokens.words[start:at]
    phrases = PhraseReader(tokens)
    is_of_texts = TEXT_MARK in tokens.words[at - 1 : at + 2]
    if tokens.at(at) != "or" or is_of_texts or not _LISTING.isdisjoint(before) or _joins_words(tokens, phrases, at):
        return None
    after = _end_of_second(tokens, phrases, at + 1, end)
    if not (NEGATIONS | NEGATIVE_COPULAS).isdisjoint(before):
        return at, after  # `not wearing a hat or gloves`
    begin = _start_of_first(tokens, phrases, at, start)
    return begin, after if phrases.read(at + 1)[0] is not None else _clause_end(tokens, at + 1, end)


def _joins_words(tokens: Tokens, phrases: PhraseReader, at: int) -> bool:
    """Return whether it joins adjectives before a noun, or numbers, which phrases read, or is `two or more`."""
    before, after = tokens.at(at - 1), tokens.at(at + 1)
    is_number = number_of(before) is not None and (number_of(after) is not None or after in _MORE_OR_LESS)
    is_adjective = attribute_of(before) is not None and attribute_of(after) is not None
    is_before_noun = tokens.at(at + 2).isalpha() and tokens.at(at + 2) not in JOINTS | DETERMINERS
    return is_number or (is_adjective and is_before_noun and not phrases.place_at(at + 2))


def _end_of_second(tokens: Tokens, phrases: PhraseReader, at: int, end: int) -> int:
    phrase, after = phrases.read(at)
    if phrase is None:
        return _clause_end(tokens, at, end)
    return _clause_end(tokens, after, end) if tokens.at(after) in RELATIVES else min(after, end)


def _clause_end(tokens: Tokens, at: int, end: int) -> int:
    while at < end and tokens.at(at) != ",":
        at += 1
    return at


def _start_of_first(tokens: Tokens, phrases: PhraseReader, at: int, start: int) -> int:
    """Return where the first alternative begins, with the words that relate it to what is before."""
    begin = at - (tokens.at(at - 1) == ",")
    found = begin
    while (first := _phrase_before(phrases, begin, start)) is not None:
        found = first
        if tokens.at(first - 1) != ",":
            break
        begin = first - 1  # `an apple, a pear or a plum`
    if found == at:
        verbs = (index for index in range(at - 1, start - 1, -1) if _is_verb(tokens.at(index)))
        return next(verbs, start)
    if tokens.at(at - 1) == "," and begin == at - 1:
        return start  # `a wolf that looks like a cloud, or a cloud`
    found -= tokens.at(found - 1) == "either"
    place = next((n for n in range(LONGEST_PLACE, 0, -1) if tokens.phrase(found - n, found) in PLACES), 0)
    found -= place
    return found - 1 if found > start and _is_verb(tokens.at(found - 1)) else max(found, start)


def _phrase_before(phrases: PhraseReader, at: int, start: int) -> int | None:
    """Return where the longest noun phrase begins that ends at a token."""
    for first in range(max(start, at - _MAX_PHRASE), at):
        phrase, after = phrases.read(first)
        if phrase is not None and after == at:
            return first
    return None


def _is_verb(word: str) -> bool:
    return is_participle(word) or word in THIRD_PERSONS or word in TAKING_FORMS
