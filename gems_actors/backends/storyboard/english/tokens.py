"""Tokenizer of prompts, and the words that nobody understood."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final

from gems_actors.backends.storyboard.english.compounds import compound_length
from gems_actors.backends.storyboard.english.naming import is_unsaid
from gems_actors.backends.storyboard.english.vocabulary import FILLERS, FUNCTION_WORDS, JOINTS, NEGATIONS, is_adverb
from gems_actors.backends.storyboard.pictograms import emoji_name

TEXT_MARK: Final = "\ue000"
"""Stands for a text that was taken out of the prompt, such as `"OPEN"`."""
EMOJI: Final = "\ue001"
"""Begins the name of an emoji, which is one token."""
MAX_PLAIN_SENTENCE: Final = 18
"""Maximum words and marks of a prompt that is read as a phrase; a longer one may be prose."""
_MAX_WORD_CHARACTERS: Final = 24
_TOKEN = re.compile(
    r"\d+x\d+|\d+(?:-[^\W\d_]+)+|\d+(?:st|nd|rd|th|[.:,]\d+)*%?(?:[^\W\d_]+)?"
    r"|[^\W\d_]{1,4}\d+\b|[^\W\d_]+(?:['’-][^\W_]+)*(?:(?<=s)['’](?!\w))?"
    rf"|{TEXT_MARK}|[,.;:!?()\[\]\n、，。；：！？（）—–|/]|[^\s\w\x00-\x7f]"
)
_CONTRACTION = re.compile(r"\b(he|she|it|that|who|there|here|what)['’]s\b", re.IGNORECASE)
_CONTRACTED_PLURAL = re.compile(r"\b(they|we|you|who)['’]re\b", re.IGNORECASE)
_COMMAS: Final = frozenset(",，、()（）[]—–|/")
_STOPS: Final = frozenset(".!?。！？")
_SEMICOLONS: Final = frozenset(";:；：\n")
_EMOJI = re.compile(r"[\u203c-\u3299\U0001f000-\U0001faff]")
_JOINED_EMOJI = re.compile("\u200d.")
"""Second part of an emoji that is joined of several, such as a family."""
_PART_OF_EMOJI = re.compile(r"selector|modifier|regional indicator")
_MAX_PHRASES: Final = 16
_MAX_PHRASE_CHARACTERS: Final = 200


@dataclass(slots=True)
class Tokens:
    """The words and marks of a prompt, in lower case, and which of them a requirement or a rule has used."""

    words: list[str]
    raw: list[str]
    """The same words as they are written."""
    is_used: list[bool] = field(init=False)
    doubts: list[str] = field(default_factory=list)
    """Phrases whose words are understood, but not what they belong to."""
    doubted: set[int] = field(default_factory=set)
    """Indexes of their words."""

    def __post_init__(self) -> None:
        self.is_used = [False] * len(self.words)

    @property
    def is_in_capitals(self) -> bool:
        """Whether most words begin with a capital letter, as in a title, so that it does not tell a name."""
        return 4 * sum(raw[0].isupper() for raw in self.raw) > 3 * len(self.raw)

    def use(self, start: int, end: int) -> None:
        """Note that the words from `start` up to `end` are understood."""
        for at in range(start, min(end, len(self.words))):
            self.is_used[at] = True

    def doubt(self, start: int, end: int) -> None:
        """Note that a phrase belongs to something that was not understood."""
        self.doubts.append(self.written(start, end))
        self.doubted.update(range(start, end))

    def at(self, index: int) -> str:
        """Return the word at an index, or a full stop beyond the end."""
        return self.words[index] if 0 <= index < len(self.words) else "."

    def written(self, start: int, end: int) -> str:
        """Return words as they are written, as far as a phrase may be long."""
        return " ".join(self.raw[start:end])[:_MAX_PHRASE_CHARACTERS]

    def phrase(self, start: int, end: int) -> str:
        """Return words in lower case, joined by spaces."""
        return " ".join(self.words[start:end])


def tokenize(text: str, limit: int) -> Tokens:
    """Return up to `limit` tokens of a prompt; punctuation becomes commas, semicolons and full stops."""
    words: list[str] = []
    raw: list[str] = []
    text = _CONTRACTION.sub(r"\1 is", _CONTRACTED_PLURAL.sub(r"\1 are", text))
    for match in _TOKEN.finditer(_JOINED_EMOJI.sub("", text)):
        if len(words) >= limit:
            break
        token = match[0]
        if token in _COMMAS:
            word = ","
        elif token in _STOPS:
            word = "."
        elif token in _SEMICOLONS:
            word = ";"
        elif token[0].isalnum() or token == TEXT_MARK:
            word = token.lower().replace("’", "'")[:_MAX_WORD_CHARACTERS]
        elif _EMOJI.match(token) and (name := unicodedata.name(token, "").lower()) and not _PART_OF_EMOJI.search(name):
            word = EMOJI + (emoji_name(token) or name.removesuffix(" symbol"))
        else:
            continue
        words.append(word)
        raw.append(token)
    return Tokens(*_joined(*_counted_emoji(words, raw)))


def _joined(words: list[str], raw: list[str]) -> tuple[list[str], list[str]]:
    """Return the tokens with compounds such as `side by side` and `snow covered` as one each."""
    at = 0
    while at < len(words):
        if length := compound_length(words, at):
            words[at : at + length] = ["-".join(words[at : at + length])]
            raw[at : at + length] = [" ".join(raw[at : at + length])]
        at += 1
    return words, raw


def _counted_emoji(words: list[str], raw: list[str]) -> tuple[list[str], list[str]]:
    """Return the tokens with equal emoji in a row as a number and one emoji, and with commas between others."""
    counted: list[tuple[str, str]] = []
    for word, pairs in groupby(zip(words, raw, strict=True), key=itemgetter(0)):
        run = list(pairs)
        if not word.startswith(EMOJI):
            counted.extend(run)
            continue
        counted.extend([(",", ",")] if counted and counted[-1][0].startswith(EMOJI) else [])
        counted.extend([*([(str(len(run)), str(len(run)))] if len(run) > 1 else []), run[0]])
    return [word for word, _ in counted], [token for _, token in counted]


def is_latin(word: str) -> bool:
    """Return whether a word is written in Latin letters, as English is."""
    return all(not character.isalpha() or unicodedata.name(character, "").startswith("LATIN") for character in word)


def is_content(word: str) -> bool:
    """Return whether a word asks for something, so that it must be understood."""
    return (word[0].isalnum() or word[0] == EMOJI) and word not in FUNCTION_WORDS


def first_gap(tokens: Tokens) -> int | None:
    """Return the index of the first word that was not understood before others of its stretch that were, if any."""
    gap: int | None = None
    for at, word in enumerate(tokens.words):
        if word in {",", ".", ";"}:
            gap = None
        elif is_content(word):
            if tokens.is_used[at] and gap is not None:
                return gap
            is_before_noun = at + 1 < len(tokens.words) and tokens.is_used[at + 1] and is_content(tokens.words[at + 1])
            is_passed = is_adverb(word) or word in FILLERS or (is_before_noun and is_unsaid(tokens.words, at))
            if gap is None and not (tokens.is_used[at] or is_passed):
                gap = at
    return None


def not_understood(tokens: Tokens, unread: Iterable[str]) -> tuple[str, ...]:
    """Return what patterns left and the words that nothing used, as phrases; those from the sixteenth on are one."""
    left = [tokens.written(start, end) for start, end in listed_spans(tokens)]
    doubts = [words for words in tokens.doubts if not _is_within(words, tokens.doubts)]
    doubts = [
        words for words in doubts if not _is_within(words.removesuffix(" …") if words.count(" ") > 1 else words, left)
    ]
    left = [words for words in left if not _is_within(words, doubts)]
    phrases = list(dict.fromkeys((*filter(None, unread), *doubts, *left)))
    if len(phrases) > _MAX_PHRASES:
        phrases = [*phrases[: _MAX_PHRASES - 1], ", ".join(phrases[_MAX_PHRASES - 1 :])]
    phrases = [words.replace(TEXT_MARK, "…") for words in phrases]
    return tuple(text if len(text) <= 1_500 else f"{text[:1_500]}…" for text in phrases)


def _is_within(words: str, phrases: Iterable[str]) -> bool:
    """Return whether words are a part of one of these phrases."""
    return any(f" {words} " in f" {phrase} " and words != phrase for phrase in phrases)


def listed_spans(tokens: Tokens) -> Iterator[tuple[int, int]]:
    """Yield start and end of each phrase of words that nothing used, with the preposition or article before them."""
    start: int | None = None
    end = 0
    for at, word in enumerate([*tokens.words, "."]):
        is_open = at < len(tokens.words) and not tokens.is_used[at] and (word[0].isalnum() or word[0] == EMOJI)
        if is_open and is_content(word):
            start = at if start is None else start
            end = at + 1
        elif not is_open and start is not None:
            yield _widened(tokens, start, end)
            start = None


def _widened(tokens: Tokens, start: int, end: int) -> tuple[int, int]:
    while start > 0 and (not tokens.is_used[start - 1] or tokens.words[start - 1] in NEGATIONS):
        if tokens.words[start - 1] not in FUNCTION_WORDS - JOINTS:
            break
        start -= 1
    after = end
    while after < len(tokens.words) and not tokens.is_used[after] and tokens.words[after] in FUNCTION_WORDS - JOINTS:
        after += 1
    if after == len(tokens.words) or tokens.words[after] in {",", ".", ";"}:
        end = after  # `flickering off`
    return start, end
