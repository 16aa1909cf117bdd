"""Tokenizer of prompts, and parser of the noun phrase that begins at a token."""

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
"""Tokens above which a noun without article, number or colour is taken as a figure of speech, not a thing."""
_MAX_NAME_WORDS: Final = 3
_MAX_WORD_CHARACTERS: Final = 24
_TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W_]+)*|\d+|[,.;:!?()\n、，。；：！？（）]|[^\s\w\x00-\x7f]", re.UNICODE)
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_WIDE_JOINT = re.compile(r"[和与及在是]")
_NOUNS_IN_LY: Final = frozenset({"butterfly", "dragonfly", "firefly", "family", "monopoly", "assembly"})
_ENDS = frozenset(",.;\n")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A thing named by one noun phrase."""

    thing: Thing
    is_definite: bool
    """Whether it has a definite article, and so may refer to an earlier thing."""
    is_sure: bool
    """Whether it is to be drawn even if no relation refers to it."""


def tokens_of(text: str) -> list[str]:
    """Return the lower-case words of a prompt, and its punctuation as commas, semicolons and full stops."""
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
    """Parses noun phrases in one list of tokens."""

    def __init__(self, tokens: list[str]) -> None:
        """Create a reader that can start at any of these tokens."""
        self._tokens = tokens
        self.is_prose = len(tokens) > _PROSE_TOKENS

    def read(self, at: int) -> tuple[Phrase | None, int]:
        """Return the phrase that begins at a token, or None, and the index after it."""
        at, count, is_definite = self._read_count(at)
        words, after = self._read_words(at)
        has_of = after < len(self._tokens) and self._tokens[after] == "of" and bool(words)
        if has_of and (words[-1] in MEASURES or singular(words[-1]) in MEASURES):
            phrase, end = self.read(after + 1)
            return self._measured(phrase, words[-1]), end
        if has_of and words[-1] not in NON_THINGS and self._is_bare_noun(after + 1):
            words = [*words, "of", self._tokens[after + 1]]
            after += 2
        return self._phrase_of(words, count, is_definite=is_definite), after

    def read_attributes(self, at: int) -> tuple[tuple[str, ...], int]:
        """Return attributes without a noun after them, as in `the car is red and shiny`, and the index after them."""
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
        """Read `the three`, `a`, `exactly two` or `several`; a vague count is returned as negative."""
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
        """Return the words up to the first that cannot belong to this phrase."""
        words: list[str] = []
        while at < len(self._tokens):
            token = self._tokens[at]
            if token in {"and", "or", ","} and words and self._joins_attributes(at):
                at += 1
                continue
            if self._phrase_ends(words, at):
                break
            words.append(token)
            at += 1
        return words, at

    def _phrase_ends(self, words: list[str], at: int) -> bool:
        token = self._tokens[at]
        stops = token in _ENDS or token in DETERMINERS or token in BREAKERS or token in LOOSE_COUNTS
        if stops or token in {"and", "or"} or number_of(token) is not None or self._place_begins(at):
            return True
        has_noun = any(_attribute_of(word) is None for word in words)
        return has_noun and surface_of(token) is None and (is_participle(token) or _is_past(token))

    def _place_begins(self, at: int) -> bool:
        return any(" ".join(self._tokens[at : at + length]) in PLACES for length in range(1, LONGEST_PLACE + 1))

    def _joins_attributes(self, at: int) -> bool:
        """Return whether attributes are joined, as in `brown and white dog`, and not things."""
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
        """Return the phrase after a measure such as `a pair of`, with its count."""
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
    """Return whether a word is a past participle such as `painted`, and not `bed` or `seed`."""
    return word.endswith("ed") and len(word) > 4 and not word.endswith("eed")


def _is_adverb(word: str) -> bool:
    return word.endswith("ly") and len(word) > 5 and word not in _NOUNS_IN_LY


def _is_no_noun(word: str) -> bool:
    """Return whether a word cannot name a thing by itself, such as `bold`, `inviting` or `visually`."""
    return _is_adverb(word) or (
        (word in ADJECTIVES or is_participle(word) or _is_past(word)) and surface_of(word) is None and word != "light"
    )
