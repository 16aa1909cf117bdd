"""Reads prose: takes the things that are certain, and what an unbroken order of chunks says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES
from gems_actors.backends.storyboard.english.collecting import MAX_THINGS, Collector
from gems_actors.backends.storyboard.english.kinds import CLOTHES, PAIRED, SCENES
from gems_actors.backends.storyboard.english.prose.chunks import Chunk, Chunker
from gems_actors.backends.storyboard.english.prose.hedges import certain_end
from gems_actors.backends.storyboard.english.prose.nouns import is_concrete
from gems_actors.backends.storyboard.english.sentence import acts, kinds_of
from gems_actors.backends.storyboard.english.tokens import Tokens
from gems_actors.backends.storyboard.english.verbs import INTRANSITIVE, TAKING_FORMS, is_past
from gems_actors.backends.storyboard.english.vocabulary import COMPARATIVES, COPULAS, STATES, VACUOUS, attribute_of
from gems_actors.backends.storyboard.scene import RelationKind
from gems_actors.backends.storyboard.words import PLACES, is_participle, singular, word_set

_PREDICATES: Final = frozenset(("verb", "be", "have"))
_AFTER_THINGS: Final = _PREDICATES | {"joint", "place", "participle", "relative"}
_PREPOSITIONS: Final = frozenset(("from", "for", "to", "into", "onto", "off"))
"""Words after which nothing more is said of the thing before them."""
_UNSURE_PLACES: Final = frozenset(("toward", "past", "by", "with", "as"))
"""Places whose object may be out of the picture, or no thing."""
_UNSURE_RELATIONS: Final = frozenset(("between", "in between", "into", "on the left side of", "on the right side of"))
_BESIDE: Final = frozenset(("left of", "right of"))
"""Places that in a scene are a side of it: `on the left of the room`."""
_POSTURES: Final = word_set(
    "stands stand sits sit lies lie hangs hang rests rest leans lean floats float hovers hover perches perch sleeps "
    "sleep kneels kneel"
)
"""Verbs that stand before their subject, as in `behind it stands a vase`."""
_COVERED: Final = word_set(
    "covered filled decorated adorned topped lined surrounded flanked framed bordered dotted dusted wrapped laden "
    "stacked piled packed cluttered crowded draped strewn scattered garnished trimmed overgrown loaded stuffed fitted"
)
"""Participles after which `with`, `in` or `by` names what is there."""
_NEARLY: Final = word_set(
    "half almost nearly partially partly barely hardly scarcely never seemingly apparently slightly"
)
_OTHERS: Final = frozenset(("another", "other", "others", "ones", "more"))
_ATTACHING: Final = frozenset(("with", "in", "wearing"))
_ANYWHERE: Final = (
    *(("visible",), ("present",), ("outside",), ("around",), ("in", "sight"), ("in", "view"), ("anywhere",)),
    *(("to", "be", "seen"), ("in", "the", "scene"), ("in", "the", "image"), ("in", "the", "picture")),
)
_MAX_PLAIN_TOKENS: Final = 60
_MAX_PLAIN_SENTENCE: Final = 18
_MAX_PLAIN_STRETCH: Final = 12
_CONTINUING: Final = word_set("its his her their which who whose while as where when then")
"""Words with which no member of a list begins, but a further part of a sentence does."""


def is_prose(tokens: Tokens) -> bool:
    """Return whether a prompt is prose: long, or of several sentences or long ones, and no list of short phrases."""
    length = len(tokens.words)
    if length <= _MAX_PLAIN_SENTENCE:
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
                self._read_sentence(self._chunker.cut(start, certain), is_whole=certain == end)
        return self._found

    def _sentences(self) -> Iterator[tuple[int, int]]:
        start = 0
        for at, word in enumerate([*self.tokens.words, "."]):
            if word in {".", ";"}:
                yield start, at
                start = at + 1

    def _read_sentence(self, chunks: list[Chunk], *, is_whole: bool) -> None:
        there: dict[int, str] = {}
        for index, chunk in enumerate(chunks):
            if chunk.phrase is not None and self._is_there(chunks, index, there) and (name := self._add(chunk)):
                there[index] = name
        for index, name in there.items():
            if self._begins_clause(chunks, index):
                self._read_clause(chunks, index, name, there, is_whole=is_whole)
        for index in there:
            before = chunks[index - 1]
            if index > 0 and before.kind == "place" and not self.tokens.is_used[before.start]:
                self.tokens.doubt(before.start, chunks[index].end)

    # Things

    def _add(self, chunk: Chunk) -> str | None:
        """Add a thing; return its name, or an empty one where it is open which thing of its kind is meant."""
        assert chunk.phrase is not None
        thing = chunk.phrase.thing
        kind = thing.name.split()[-1]
        alike = [name for name in self._found.things if name.split()[-1] == kind]
        if alike and alike != [thing.name]:
            for name in alike:
                self._found.uncount(name)
            return ""
        if alike:
            known = self._found.things[thing.name]
            is_same = chunk.phrase.is_definite and not chunk.phrase.stated
            if not is_same and (thing.count, thing.attributes) != (known.count, known.attributes):
                self._found.uncount(thing.name)
            if not is_same:
                return ""
            self._use(chunk)
            return thing.name
        is_counted = thing.is_counted and not self._is_named_again(chunk, kind)
        added = self._found.add(replace(chunk.phrase, thing=replace(thing, is_counted=is_counted)))
        if added is not None:
            self._use(chunk)
        return added

    def _use(self, chunk: Chunk) -> None:
        """Note that the words of a thing are understood, except for attributes that are not asked for."""
        assert chunk.phrase is not None
        thing = chunk.phrase.thing
        asked = {*thing.attributes, *thing.name.split()}
        for at in range(chunk.start, chunk.end):
            attribute = attribute_of(self.tokens.at(at))
            if attribute is None or attribute in asked or self.tokens.at(at) in asked:
                self._phrases.use(at, at + 1)

    def _is_named_again(self, chunk: Chunk, kind: str) -> bool:
        """Return whether the prompt names more of a kind, except `the birds` after `three birds`."""
        assert chunk.phrase is not None
        if chunk.phrase.thing.count == 1 and not _OTHERS.isdisjoint(self.tokens.words):
            return True
        for at, word in enumerate(self.tokens.words):
            is_here = chunk.start <= at < chunk.end
            is_kind = kind in {singular(word), *word.split("-")}
            if not is_here and is_kind and self.tokens.at(at - 1) != "the":
                return True
        return False

    def _is_there(self, chunks: list[Chunk], index: int, there: dict[int, str]) -> bool:
        return self._ends_well(chunks, index) and self._begins_well(chunks, index, there)

    def _ends_well(self, chunks: list[Chunk], index: int) -> bool:
        """Return whether the words after a thing cannot belong to its name."""
        after = self._skip_adverbs(chunks, index + 1)
        if after == len(chunks):
            return True
        if chunks[after].kind in _AFTER_THINGS:
            return chunks[after].kind != "verb" or self._may_have_verb(chunks, index, self._word(chunks[after]))
        return chunks[after].kind == "other" and self._word(chunks[after]) in _PREPOSITIONS

    def _may_have_verb(self, chunks: list[Chunk], index: int, verb: str) -> bool:
        """Return whether a verb after a thing is no part of its name, as in `with pink ear flaps`."""
        phrase = chunks[index].phrase
        is_object = index > 0 and chunks[index - 1].kind != "joint"
        is_singular_verb = phrase is not None and phrase.is_plural and verb.endswith("s")
        return chunks[index].has_opening or not is_object or is_singular_verb

    def _begins_well(self, chunks: list[Chunk], index: int, there: dict[int, str]) -> bool:
        """Return whether the words before a thing say that it is there."""
        chunk = chunks[index]
        is_subject = self._is_subject(chunks, index)
        is_bare = not (chunk.has_opening or self._is_telegraphic)
        while index > 0 and chunks[index - 1].kind == "adverb" and self._word(chunks[index - 1]) not in _NEARLY:
            index -= 1
        if index == 0:
            return not is_bare or (is_subject and chunk.phrase is not None and chunk.phrase.is_plural)
        before = chunks[index - 1]
        word = self._word(before)
        if before.kind == "joint":
            if self._is_telegraphic and word == ",":
                return True
            return self._is_joined(chunks, index, there, is_subject=is_subject and not is_bare)
        if word in TAKING_FORMS or before.kind == "have":
            return self.tokens.at(before.start - 1) != "to"  # `running to catch a bus`
        if before.kind == "place":
            return self._is_at_place(chunks, index - 1, is_bare=is_bare)
        if is_bare:
            return False
        if before.kind == "be":
            is_said = index > 1 and chunks[index - 2].kind == "there"
            return is_said or self._is_inverted(chunks, index - 1)
        return before.kind == "verb" and word in _POSTURES and self._is_inverted(chunks, index - 1)

    def _is_at_place(self, chunks: list[Chunk], index: int, *, is_bare: bool) -> bool:
        """Return whether the object of a place is there."""
        word = self._word(chunks[index])
        before = chunks[index - 1] if index else None
        is_covered = before is not None and self._word(before) in _COVERED
        if is_covered and word in {"with", "in", "by"}:
            return True
        if word == "with":
            return before is not None and before.kind in {"thing", "joint"}
        if word == "by" and before is not None and before.kind in {"participle", "verb"}:
            return False
        return not is_bare and (word == "by" or PLACES[word] not in _UNSURE_PLACES)

    def _is_inverted(self, chunks: list[Chunk], index: int) -> bool:
        """Return whether a verb stands between a place at the beginning of its clause and its subject."""
        return index in (2, 3) and chunks[0].kind == "place" and all(chunk.kind != "verb" for chunk in chunks[:index])

    def _is_joined(self, chunks: list[Chunk], index: int, there: dict[int, str], *, is_subject: bool) -> bool:
        """Return whether a thing after a comma or `and` is there: a subject, or one more member of a list."""
        start = index
        while start > 0 and chunks[start - 1].kind == "joint":
            start -= 1
        joints = {self._word(chunk) for chunk in chunks[start:index]}
        is_after_thing = start - 1 in there and start > 0
        if is_subject and joints != {","}:
            return True
        if is_subject:
            return not (is_after_thing and self._is_apposed(chunks, start - 1, index))
        if not is_after_thing or not joints <= {",", "and"}:
            return False
        is_alike = chunks[index].has_opening or not chunks[start - 1].has_opening
        return is_alike and ("and" in joints or self._goes_on(chunks, index))

    def _is_apposed(self, chunks: list[Chunk], first: int, index: int) -> bool:
        """Return whether a thing only says what the one before it is: `the knight, a tall woman, kneels`."""
        return first == 0 or chunks[first - 1].kind == "joint" or index + 1 >= len(chunks)

    def _goes_on(self, chunks: list[Chunk], index: int) -> bool:
        """Return whether a list goes on after a thing until `and` and its last member."""
        while index + 2 < len(chunks) and chunks[index + 1].kind == "joint":
            start = index + 1
            index = start
            while index < len(chunks) and chunks[index].kind == "joint":
                index += 1
            if index == len(chunks) or chunks[index].kind != "thing":
                return False
            if any(self._word(chunk) == "and" for chunk in chunks[start:index]):
                return not self._is_subject(chunks, index)
        return False

    # Clauses

    def _begins_clause(self, chunks: list[Chunk], index: int) -> bool:
        """Return whether a thing is alone the subject of its clause."""
        after = index + 1
        if after < len(chunks) and chunks[after].kind == "joint":
            return False
        if index == 0 or (chunks[index - 1].kind == "be" and index > 1 and chunks[index - 2].kind == "there"):
            return True
        before = chunks[index - 1]
        is_list = self._word(before) == "and" and index > 1 and chunks[index - 2].kind in {"thing", "joint"}
        return before.kind == "joint" and not is_list and self._is_subject(chunks, index)

    def _read_clause(
        self, chunks: list[Chunk], index: int, name: str, there: dict[int, str], *, is_whole: bool
    ) -> None:
        """Take what a clause says of its subject, as far as nothing stands between them that is not understood."""
        at = self._skip_adverbs(chunks, index + 1)
        if at < 0 or at >= len(chunks) or not name:
            return
        if self._attach(chunks, at, name, there):
            at += 2
            if at >= len(chunks) or chunks[at].kind not in {"verb", "be"}:
                return
        chunk = chunks[at]
        is_be = chunk.kind == "be"
        if is_be:
            at = self._skip_adverbs(chunks, at + 1)
            if at < 0 or at >= len(chunks):
                return
            if self._describe(chunks, at, name, is_whole=is_whole):
                return
        verb = ""
        if chunks[at].kind in {"verb", "participle"}:
            verb = self._participle_of(chunks[at])
            if not verb:
                return
            span = chunks[at].start
            at = self._skip_adverbs(chunks, at + 1)
            if at < 0:
                return
            if (at >= len(chunks) and is_whole) or (at < len(chunks) and chunks[at].kind == "joint"):
                if acts(name) and is_participle(verb) and self._found.describe(name, action=verb):
                    self.tokens.use(span, span + 1)
                return
            if at >= len(chunks):
                return
        else:
            span = chunks[at].start
        place = ""
        if chunks[at].kind == "place":
            place = self._word(chunks[at])
            at += 1
        if (verb or place) and at in there and there[at]:
            self._relate(name, verb, place, there[at], (span, chunks[at].start))

    def _attach(self, chunks: list[Chunk], at: int, name: str, there: dict[int, str]) -> bool:
        """Take `with a hat` or `in a coat` right after a subject; return whether it stands there."""
        if self._word(chunks[at]) not in {"with", "in", "has", "wearing", "holding"} or at + 1 not in there:
            return False
        word = self._word(chunks[at]).replace("has", "with")
        if there[at + 1]:
            verb, place = ("", word) if word in PLACES else (word, "")
            self._relate(name, verb, place, there[at + 1], (chunks[at].start, chunks[at].end))
        return True

    def _describe(self, chunks: list[Chunk], at: int, name: str, *, is_whole: bool) -> bool:
        """Take the adjectives after `is`; return whether there are any."""
        start = chunks[at].start
        words, after = self._phrases.read_attributes(start)
        ends = after == chunks[-1].end and is_whole
        if not words or not (ends or any(chunk.start == after and chunk.kind == "joint" for chunk in chunks)):
            return False
        if any(self._is_verbal(word) or word in VACUOUS | COMPARATIVES for word in words):
            return False
        for word in words:
            self._found.describe(name, attribute=word)
        self.tokens.use(start, after)
        return True

    def _is_verbal(self, word: str) -> bool:
        return (is_past(word) or is_participle(word)) and word not in STATES

    def _relate(self, name: str, verb: str, place: str, target: str, span: tuple[int, int]) -> None:
        """Add a relation whose words are all known."""
        is_open = place in _UNSURE_RELATIONS or (PLACES.get(place) in _BESIDE and target.split()[-1] in SCENES)
        if is_open or not {name, target} <= self._found.things.keys():
            return
        if is_past(verb) and (not place or (place in {"with", "by"} and verb not in _COVERED)):
            return
        if verb and place == "with" and not is_past(verb):
            return
        full = place if verb in VACUOUS | {"set"} else f"{verb} {place}".strip()
        word = PLACES.get(full, full)
        kind: RelationKind = "position" if full in PLACES else "action"
        is_alone = target.split()[-1] in PAIRED and self._found.things[target].count == 1
        if word == "inside" and not is_alone and not CLOTHES.isdisjoint(kinds_of(target)):
            if not acts(name):
                return
            word, kind = "wearing", "action"
        self._found.relate(name, word, (target,), kind)
        self.tokens.use(*span)

    def _participle_of(self, chunk: Chunk) -> str:
        word = self._word(chunk)
        if chunk.kind == "participle":
            return word
        return self._phrases.verb_at(chunk.start) or TAKING_FORMS.get(word, "")

    # What is not there

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

    # Chunks

    def _word(self, chunk: Chunk) -> str:
        return self.tokens.phrase(chunk.start, chunk.end)

    def _skip_adverbs(self, chunks: list[Chunk], index: int) -> int:
        """Return the index after adverbs, or beyond the last one if they say that something is not wholly so."""
        while index < len(chunks) and chunks[index].kind == "adverb":
            if self._word(chunks[index]) in _NEARLY:
                return len(chunks)
            index += 1
        return index

    def _is_subject(self, chunks: list[Chunk], index: int) -> bool:
        """Return whether a finite verb follows a thing."""
        after = self._skip_adverbs(chunks, index + 1)
        joining = _ATTACHING
        while after + 1 < len(chunks) and self._word(chunks[after]) in joining and chunks[after + 1].kind == "thing":
            after = self._skip_adverbs(chunks, after + 2)  # `a boy with a cap and a scarf sleeps`
            joining = _ATTACHING | {"and"}
        return after < len(chunks) and chunks[after].kind in _PREDICATES
