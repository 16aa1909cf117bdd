"""Reads prose: takes the things that are certain, and what an unbroken order of chunks says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES
from gems_actors.backends.storyboard.english.collecting import MAX_THINGS, Collector
from gems_actors.backends.storyboard.english.lookahead import tells_again
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.prose.chunks import Chunk, Chunker
from gems_actors.backends.storyboard.english.prose.hedges import certain_end
from gems_actors.backends.storyboard.english.prose.nouns import is_concrete
from gems_actors.backends.storyboard.english.prose.order import Order
from gems_actors.backends.storyboard.english.prose.predicates import PredicateReader
from gems_actors.backends.storyboard.english.tokens import MAX_PLAIN_SENTENCE, Tokens
from gems_actors.backends.storyboard.english.verbs import INTRANSITIVE, is_past
from gems_actors.backends.storyboard.english.vocabulary import COPULAS, attribute_of
from gems_actors.backends.storyboard.words import is_participle, singular, word_set

_OTHERS: Final = frozenset(("another", "other", "others", "ones", "more"))
_ORDINALS: Final = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ANYWHERE: Final = (
    *(("visible",), ("present",), ("outside",), ("around",), ("in", "sight"), ("in", "view"), ("anywhere",)),
    *(("to", "be", "seen"), ("in", "the", "scene"), ("in", "the", "image"), ("in", "the", "picture")),
)
_PICTURES: Final = word_set("picture photo photograph painting illustration drawing artwork render composition")
"""What `shows` at the beginning of a prompt names the picture itself; further on it may be a thing in the picture."""
_DEPICTING: Final = word_set(
    "depicts shows features captures portrays presents displays showcases illustrates contains"
)
_MAX_PLAIN_TOKENS: Final = 60
_MAX_PLAIN_STRETCH: Final = 12
_CONTINUING: Final = word_set("its his her their which who whose while as where when then")
"""Words with which no member of a list begins, but a further part of a sentence does."""


def is_prose(tokens: Tokens) -> bool:
    """Return whether a prompt is prose: long, or of several sentences or long ones, and no list of short phrases."""
    length = len(tokens.words)
    if length <= MAX_PLAIN_SENTENCE:
        return False
    sentences = [list(words) for is_end, words in groupby(tokens.words, (".", ";").__contains__) if not is_end]
    stretches = [list(words) for is_end, words in groupby(tokens.words, (".", ";", ",").__contains__) if not is_end]
    is_long = length > _MAX_PLAIN_TOKENS or max(map(len, stretches), default=0) > _MAX_PLAIN_STRETCH
    return is_long or len(sentences) > 1 or any(_continues(words[0]) for words in stretches[1:])


def _continues(word: str) -> bool:
    return word in _CONTINUING or ((is_participle(word) or is_past(word)) and word not in ADJECTIVES | INTRANSITIVE)


class ProseReader:
    """Reads the tokens of one long prompt into a collector."""

    def __init__(self, tokens: Tokens, *, counts_one: bool = False) -> None:
        """Start at the first sentence of these tokens; `counts_one` makes one of what stands after `a`."""
        self.tokens = tokens
        self._chunker = Chunker(tokens, counts_one=counts_one)
        self._phrases = self._chunker.phrases
        self._found = Collector(MAX_THINGS)
        self._is_telegraphic = {"a", "an", "the"}.isdisjoint(tokens.words)
        """Whether things stand without articles, as in `white sedan, wet road, neon signs`."""

    def read(self) -> Collector:
        """Return the things and relations of all sentences."""
        for start, end in self._sentences():
            if not self._take_absence(start, end):
                certain = certain_end(self.tokens, start, end)
                chunks = self._chunker.cut(start, certain)
                self._read_sentence(
                    Order(self.tokens, chunks, is_whole=certain == end, is_telegraphic=self._is_telegraphic)
                )
        return self._found

    def _sentences(self) -> Iterator[tuple[int, int]]:
        start = 0
        for at, word in enumerate([*self.tokens.words, "."]):
            if word in {".", ";"}:
                yield min(self._after_frame(start), at), at
                start = at + 1

    def _after_frame(self, start: int) -> int:
        """Return the index after `the image depicts` at the beginning of a sentence, or else where that begins."""
        at = start + (self.tokens.at(start) in {"the", "this", "a", "an"})
        while attribute_of(self.tokens.at(at)) is not None:
            at += 1
        noun, verb = self.tokens.at(at), self.tokens.at(at + 1)
        is_frame = noun in {"image", "scene"} or (start == 0 and noun in _PICTURES)
        if not is_frame or verb not in _DEPICTING:
            return start
        self.tokens.use(at, at + 2)
        return at + 2

    def _read_sentence(self, order: Order) -> None:
        for index, chunk in enumerate(order.chunks):
            if chunk.phrase is not None and order.is_there(index):
                name = self._add(chunk, chunk.phrase)
                if name is not None:
                    order.there[index] = name
        predicates = PredicateReader(order, self._phrases, self._found)
        for index, name in order.there.items():
            if name and order.begins_clause(index):
                predicates.read(index, name)
        for index, name in order.there.items():
            if name and order.kind(index - 1) == "place" and not self.tokens.is_used[order.chunks[index - 1].start]:
                self._doubt_place(order, index - 1)

    def _doubt_place(self, order: Order, index: int) -> None:
        """List a place that was not understood with the words before it, and without its object, which is asked."""
        start, end = order.chunks[index].start, order.chunks[index].end
        before = order.chunks[index - 1] if index else None
        if before is not None and before.phrase is not None and self.tokens.is_used[before.end - 1]:
            start = before.end - 1
        while start > 0 and not self.tokens.is_used[start - 1] and self.tokens.at(start - 1) not in {",", ".", ";"}:
            start -= 1
        self.tokens.doubt(start, end)
        self.tokens.doubts[-1] += " …"

    def _add(self, chunk: Chunk, phrase: Phrase) -> str | None:
        """Add a thing; return its name, an empty one if it is open which of its kind is meant, or None without room."""
        thing = phrase.thing
        kind = thing.name.split()[-1]
        alike = [name for name in self._found.things if name.split()[-1] == kind]
        if alike and tells_again(self.tokens, chunk.start):
            return ""
        if alike == [thing.name] and phrase.is_definite and phrase.stated is None:
            self._use(chunk, phrase)
            return thing.name
        if alike:
            known = self._found.things[alike[0]]
            if alike != [thing.name] or (thing.count, thing.attributes) != (known.count, known.attributes):
                for name in alike:
                    self._found.uncount(name)
            return ""
        is_counted = thing.is_counted and not self._is_named_again(chunk, thing.count, kind)
        before = self.tokens.at(chunk.start - 1)
        is_counted = is_counted and before not in {"between", "across", "among"}  # of more: `between two buildings`
        added = self._found.add(replace(phrase, thing=replace(thing, is_counted=is_counted)))
        if added is not None:
            self._use(chunk, phrase)
        return added

    def _use(self, chunk: Chunk, phrase: Phrase) -> None:
        """Note that the words of a thing are understood, except for attributes that are not asked for."""
        asked = {*phrase.thing.attributes, *phrase.thing.name.split()}
        for at in range(chunk.start, chunk.end):
            attribute = attribute_of(self.tokens.at(at))
            if attribute is None or attribute in asked or self.tokens.at(at) in asked:
                self._phrases.use(at, at + 1)

    def _is_named_again(self, chunk: Chunk, count: int, kind: str) -> bool:
        """Return whether the prompt names more of a kind, except `the birds` after `three birds`."""
        further = {*_ORDINALS[count - 1 : count], *(_OTHERS if count == 1 else ())}
        if not further.isdisjoint(self.tokens.words):
            return True  # `two people sit on the deck, and a third dives`
        for at, word in enumerate(self.tokens.words):
            is_here = chunk.start <= at < chunk.end
            is_kind = kind in {singular(word), *word.split("-")}
            if not is_here and is_kind and self.tokens.at(at - 1) != "the":
                return True
        return False

    def _take_absence(self, start: int, end: int) -> bool:
        """Take the clauses `no people are visible` and `there are no cars`; return whether the sentence is one."""
        opens = self.tokens.words[start : start + 3]
        is_there = len(opens) == 3 and (opens[0], opens[2]) == ("there", "no") and opens[1] in COPULAS
        at = start + 2 if is_there else start
        if self.tokens.at(at) != "no":
            return False
        phrase, after = self._phrases.read(at + 1)
        if phrase is None or phrase.stated is not None or phrase.thing.attributes or not is_concrete(phrase.thing.name):
            return False
        rest = tuple(self.tokens.words[after:end])
        rest = rest[1:] if rest and rest[0] in COPULAS and not is_there else rest
        is_plain = rest in _ANYWHERE or (is_there and not rest)
        if is_plain and self._found.exclude(singular(phrase.thing.name)):
            self.tokens.use(start, end)
        return is_plain
