"""Splits a prompt into tokens, and reads the noun phrase that begins at one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.words import (
    ADJECTIVES,
    BREAKERS,
    DETERMINERS,
    LONGEST_PLACE,
    LOOSE_COUNTS,
    MEASURES,
    NON_THINGS,
    PLACES,
    colour_of,
    is_participle,
    number_of,
    plural,
    singular,
    surface_of,
)

MAX_COUNT: Final = 60
_PROSE_TOKENS: Final = 60
"""In a text longer than this a noun without article, number or colour is more likely a turn of speech than a thing."""
_MAX_NAME_WORDS: Final = 3
_MAX_WORD_CHARACTERS: Final = 24
_TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W_]+)*|\d+|[,.;:!?()\n、，。；：！？（）]|[^\s\w\x00-\x7f]", re.UNICODE)
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_WIDE_JOINT = re.compile(r"[和与及在是]")
_NOUNS_IN_LY: Final = frozenset({"butterfly", "dragonfly", "firefly", "family", "monopoly", "assembly"})
_ENDS = frozenset(",.;\n")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A thing as one noun phrase names it."""

    thing: Thing
    is_definite: bool
    """Said with `the`, so it may be a thing named before."""
    is_sure: bool
    """Looks like a thing to draw even where no relation calls for one."""


def tokens_of(text: str) -> list[str]:
    """Split a prompt into lower-case words and marks; every mark that ends a phrase becomes a comma or a full stop."""
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        if _WIDE.match(token):
            for part in _WIDE_JOINT.split(token):
                tokens.extend((part[:_MAX_WORD_CHARACTERS].lower(), ",") if part else ())
        elif token in ",，、()（）":
            tokens.append(",")
        elif token in ".!?。！？":
            tokens.append(".")
        elif token in ";:；：\n":
            tokens.append(";")
        elif token[0].isalnum():
            tokens.append(token.lower().replace("’", "'")[:_MAX_WORD_CHARACTERS])
    return tokens


class PhraseReader:
    """Reads noun phrases out of one list of tokens."""

    def __init__(self, tokens: list[str]) -> None:
        """Make ready to read from anywhere in these tokens."""
        self._tokens = tokens
        self.is_prose = len(tokens) > _PROSE_TOKENS

    def read(self, at: int) -> tuple[Phrase | None, int]:
        """Return the phrase that begins here, or None where no thing is named, and where the next token begins."""
        at, count, is_definite = self._read_count(at)
        words, after = self._read_words(at)
        if after < len(self._tokens) and self._tokens[after] == "of" and words:
            if words[-1] in MEASURES or singular(words[-1]) in MEASURES:
                phrase, end = self.read(after + 1)
                return self._measured(phrase, words[-1]), end
            if words[-1] not in NON_THINGS and self._is_bare_noun(after + 1):
                words = [*words, "of", self._tokens[after + 1]]
                after += 2
        phrase = self._phrase_of(words, count, is_definite=is_definite)
        return phrase, after

    def read_attributes(self, at: int) -> tuple[tuple[str, ...], int]:
        """Return the attributes that stand here with no noun after them, as in `the car is red and shiny`."""
        words: list[str] = []
        while at < len(self._tokens):
            token = self._tokens[at]
            word = _attribute_of(token)
            if word is None and not (token in {"and", "very"} and at + 1 < len(self._tokens)):
                break
            if word is None and _attribute_of(self._tokens[at + 1]) is None:
                break
            words.extend(() if word is None else (word,))
            at += 1
        ends_here = at >= len(self._tokens) or self._tokens[at] in _ENDS or self._tokens[at] in BREAKERS | {"and"}
        ends_here = ends_here or self._tokens[at] in PLACES
        return (tuple(words), at) if ends_here else ((), at)

    def _read_count(self, at: int) -> tuple[int, int | None, bool]:
        """Read `the three`, `a`, `exactly two`, `several`; a loose count is negative."""
        count: int | None = None
        is_definite = False
        while at < len(self._tokens):
            token = self._tokens[at]
            if (number := number_of(token)) is not None:
                count = min(max(number, 1), MAX_COUNT)
            elif token in {"a", "an", "another"}:
                count = 1
            elif token in LOOSE_COUNTS:
                count = -LOOSE_COUNTS[token]
            elif token in DETERMINERS:
                is_definite = True
            elif token not in {"exactly", "single", "precisely", "only"}:
                break
            at += 1
        return at, count, is_definite

    def _read_words(self, at: int) -> tuple[list[str], int]:
        """Read on to the word that cannot belong to this phrase."""
        words: list[str] = []
        while at < len(self._tokens):
            token = self._tokens[at]
            if token in {"and", "or", ","} and words and self._joins_attributes(at):
                at += 1
                continue
            has_noun = any(_attribute_of(word) is None for word in words)
            stops = token in _ENDS or token in DETERMINERS or token in BREAKERS or token in LOOSE_COUNTS
            if stops or token in {"and", "or"} or number_of(token) is not None:
                break
            if self._place_begins(at):
                break
            if has_noun and surface_of(token) is None and (is_participle(token) or _is_past(token)):
                break
            words.append(token)
            at += 1
        return words, at

    def _place_begins(self, at: int) -> bool:
        return any(" ".join(self._tokens[at : at + length]) in PLACES for length in range(1, LONGEST_PLACE + 1))

    def _joins_attributes(self, at: int) -> bool:
        """Tell `brown and white dog` from `an orange and a pear`."""
        if at + 2 >= len(self._tokens):
            return False
        before, here, noun = self._tokens[at - 1], self._tokens[at + 1], self._tokens[at + 2]
        is_noun = noun not in _ENDS and noun not in BREAKERS and noun not in PLACES and noun not in {"and", "or"}
        return _attribute_of(before) is not None and _attribute_of(here) is not None and is_noun

    def _is_bare_noun(self, at: int) -> bool:
        if at >= len(self._tokens):
            return False
        token = self._tokens[at]
        after = at + 1
        ends = after >= len(self._tokens) or self._tokens[after] in _ENDS | BREAKERS | {"and", "or"}
        ends = ends or self._place_begins(after)
        is_noun = token not in DETERMINERS and token not in LOOSE_COUNTS and number_of(token) is None
        return ends and is_noun and token not in NON_THINGS and token not in BREAKERS

    def _measured(self, phrase: Phrase | None, measure: str) -> Phrase | None:
        """Return the phrase after `a pair of`."""
        if phrase is None or phrase.thing.is_counted:
            return phrase
        count = MEASURES.get(measure, 4)
        thing = Thing(phrase.thing.name, count, count < 4, phrase.thing.attributes)
        return Phrase(thing, phrase.is_definite, is_sure=True)

    def _phrase_of(self, words: list[str], count: int | None, *, is_definite: bool) -> Phrase | None:
        words = [word for word in words if not _is_adverb(word)]
        has_noun = any(_attribute_of(word) is None for word in words[:-1])
        if (
            not words
            or (_is_no_noun(words[-1]) and not has_noun)
            or not {words[-1], singular(words[-1])}.isdisjoint(NON_THINGS)
            or (len(words[-1]) < 2 and words[-1].isascii())
        ):
            return None
        attributes: list[str] = []
        nouns: list[str] = []
        for word in words[:-1]:
            attribute = _attribute_of(word) if not nouns else None
            if attribute is None:
                nouns.append(word)
            elif attribute not in attributes:
                attributes.append(attribute)
        full_name = " ".join([*nouns, words[-1]][-_MAX_NAME_WORDS:])
        name = singular(full_name)
        if count is None:
            is_plural = name != full_name and plural(name) == full_name
            thing = Thing(name, 3 if is_plural else 1, False, tuple(attributes))
        else:
            is_stated = count > 1 or (count == 1 and not self.is_prose)
            thing = Thing(name, abs(count), is_stated, tuple(attributes))
        is_sure = not self.is_prose or count is not None
        return Phrase(thing, is_definite, is_sure)


def _attribute_of(word: str) -> str | None:
    known = colour_of(word) or surface_of(word)
    if known is not None:
        return known
    is_adjective = word in ADJECTIVES or (word.endswith(("ful", "ous", "ish", "less")) and len(word) > 5)
    if is_adjective or (is_participle(word)) or _is_past(word):
        return word
    return None


def _is_past(word: str) -> bool:
    """Tell `painted` from `bed` and `seed`."""
    return word.endswith("ed") and len(word) > 4 and not word.endswith("eed")


def _is_adverb(word: str) -> bool:
    return word.endswith("ly") and len(word) > 5 and word not in _NOUNS_IN_LY


def _is_no_noun(word: str) -> bool:
    """Tell words that name nothing by themselves: `bold`, `inviting`, `visually`."""
    return _is_adverb(word) or (
        (word in ADJECTIVES or is_participle(word) or _is_past(word)) and surface_of(word) is None and word != "light"
    )
