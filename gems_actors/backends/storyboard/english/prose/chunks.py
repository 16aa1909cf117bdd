"""Cuts a sentence of prose into chunks: things that are certain, what stands between them, and everything else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from gems_actors.backends.storyboard.english.kinds import AMBIENT, ANIMATE, BODY_PARTS, SCENES
from gems_actors.backends.storyboard.english.naming import is_owner, is_plural
from gems_actors.backends.storyboard.english.phrases import Phrase, PhraseReader
from gems_actors.backends.storyboard.english.prose.attributes import certain_attributes
from gems_actors.backends.storyboard.english.prose.nouns import is_concrete
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import BASES, TAKING_FORMS, THIRD_PERSONS, is_past
from gems_actors.backends.storyboard.english.vocabulary import (
    COPULAS,
    DETERMINERS,
    FILLERS,
    FUNCTION_WORDS,
    HAVING,
    LOOSE_COUNTS,
    MEASURES,
    ONE_OF_TWO,
    PLURAL_MODIFIERS,
    POSSESSIVES,
    RELATIVES,
    WHOLES,
    attribute_of,
    is_adverb,
    is_compound,
    is_plain_adjective,
    is_superlative,
)
from gems_actors.backends.storyboard.words import (
    is_participle,
    number_of,
    singular,
    surface_of,
    word_set,
)

Kind = Literal[
    "thing", "place", "be", "have", "verb", "participle", "joint", "adverb", "relative", "there", "of", "other"
]
_JOINTS: Final = frozenset((",", "and", "but", "while", "as", "where", "when"))
_OPENINGS: Final = POSSESSIVES | {"a", "an", "the", "exactly", "precisely"}
_HOLDERS: Final = word_set(
    "glass cup mug bowl plate bottle jar basket box bucket vase tray crate sack bag can pot pitcher jug carafe teapot "
    "platter barrel pile stack heap bunch bouquet bundle slice piece loaf sheet ball block scoop stick statue "
    "sculpture portrait painting photograph photo map bust"
)
"""Heads that with `of` and what follows are one certain thing: a bowl of fruit, a stack of books."""
_CONTENTS: Final = word_set("water cocoa matcha punch porridge oatmeal paint oats cider ale rum paper")
"""What they may hold or be of that is no thing by itself."""
_PLANT_COLOURS: Final = word_set("lavender violet orange olive lime cream emerald gold silver")
_PLANTED: Final = word_set(
    "plant flower field bush bloom blossom tree juice oil grove sprig wedge slice cheese soup sauce"
)
"""What a word may name by its kind, and not by its colour: `lavender plants`."""
_PICTURES: Final = word_set("portrait photograph photo painting poster illustration drawing artwork logo")
"""What `the portrait` at the beginning of a sentence says of the picture itself."""
_PARTS: Final = WHOLES | word_set("edge middle center centre top bottom corner end base foot rim surface heart tip")
"""Heads after which `of` names the thing that they are a part of."""
_AROUND: Final = frozenset(("in", "by", "with", "from", "under", "against"))
"""Words after which light and weather are around something, and no things."""
_OF_BODIES: Final = word_set("palm lap sole calf temple lash pupil lid")
"""What after a possessive names a part of a body."""
_BLAZONED: Final = word_set("shield flag banner crest emblem pennant heraldic insignia")
"""What has a field that is its ground."""
_UNREAL: Final = word_set(
    "imaginary imagined imagery hidden unseen invisible absent missing former would-be fake potential possible future "
    "past fictional nonexistent virtual unknown typical traditional-style figurative metaphorical such certain"
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A few words of a sentence."""

    kind: Kind
    start: int
    end: int
    phrase: Phrase | None = None

    @property
    def has_opening(self) -> bool:
        """Whether it is a thing with an article, a number or a possessive."""
        return self.phrase is not None and (self.phrase.stated is not None or self.phrase.is_definite)


class Chunker:
    """Cuts sentences of one prompt."""

    def __init__(self, tokens: Tokens, *, counts_one: bool) -> None:
        """Create one for these tokens."""
        self.tokens = tokens
        self._least_counted = 1 if counts_one else 2
        self.phrases = PhraseReader(tokens)

    def cut(self, start: int, end: int) -> list[Chunk]:
        """Return the chunks of the sentence from `start` up to `end`."""
        chunks: list[Chunk] = []
        while start < end:
            chunk = self._chunk_at(start, chunks[-1] if chunks else None)
            if chunk.end > end:
                chunk = Chunk("other", start, end)
            chunks.append(chunk)
            start = chunk.end
        return chunks

    def _chunk_at(self, at: int, before: Chunk | None) -> Chunk:
        word = self.tokens.at(at)
        if word in _JOINTS:
            return Chunk("joint", at, at + 1)
        if word == TEXT_MARK:
            return Chunk("other", at, at + 1)
        if word in RELATIVES or word == "whom":
            return Chunk("relative", at, at + 1)
        if word in COPULAS:
            return Chunk("be", at, at + 1)
        if word in {"there", "of"}:
            return Chunk("there" if word == "there" else "of", at, at + 1)
        if word in HAVING:
            return Chunk("have", at, at + 1)
        if word == "full" and self.tokens.at(at + 1) == "of":
            return Chunk("participle", at, at + 1)
        if end := self.phrases.text_end(at):
            self.tokens.use(at, end)
            return Chunk("other", at, end)
        if length := self.phrases.place_at(at):
            return Chunk("place", at, at + length)
        if is_adverb(word):
            return Chunk("adverb", at, at + 1)
        is_opened = word in DETERMINERS or word in LOOSE_COUNTS or number_of(word) is not None
        if not is_opened and (kind := self._verbal(at, before)):
            return Chunk(kind, at, at + 1)
        return self._thing_at(at)

    def _verbal(self, at: int, before: Chunk | None) -> Kind | None:
        """Return whether a finite verb or a participle stands at a token that opens no noun phrase."""
        word = self.tokens.at(at)
        is_subject_before = before is not None and before.kind in {"thing", "adverb", "relative", "place"}
        if self.phrases.is_participle_at(at) or (is_past(word) and surface_of(word) is None):
            following = self.tokens.at(at + 1)
            is_attribute = not is_subject_before and following.isalpha() and attribute_of(following) is None
            is_attribute = is_attribute and following not in DETERMINERS and is_concrete(following)
            return None if is_attribute else "participle"
        if self.phrases.verb_at(at) is not None or self.phrases.is_passed_verb(at) or word in THIRD_PERSONS:
            return "verb"
        if word in TAKING_FORMS and word.endswith("s") and is_subject_before:
            return "verb"
        if before is not None and self._is_unknown_verb(at, before):
            return "verb"
        is_plural_verb = before is not None and before.phrase is not None and before.phrase.is_plural
        return "verb" if is_plural_verb and word in BASES else None

    def _is_unknown_verb(self, at: int, before: Chunk) -> bool:
        """Return whether a word in -s right after one thing is a verb that no table has: `a barber trims a beard`."""
        word = self.tokens.at(at)
        is_one = before.phrase is not None and before.phrase.stated == 1 and not before.phrase.is_plural
        return is_one and singular(word) != word and word.isalpha() and word not in FUNCTION_WORDS

    def _thing_at(self, at: int) -> Chunk:
        """Return the certain thing at a token, or else words that say nothing."""
        phrase, after = self.phrases.read(at)
        if phrase is None or not self._is_certain(phrase, at, after):
            return Chunk("other", at, max(after, at + 1))
        return Chunk("thing", at, after, self._plain(phrase, at, after))

    def _is_certain(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether each word of a phrase is known, and it names something that can only be a thing."""
        opening = self.phrases.open(at)
        words = self.tokens.words[opening.after : after]
        first = self.tokens.words[at : opening.after]
        if any(word not in _OPENINGS and not self._is_number(word) for word in first) or not words:
            return False
        name = phrase.thing.name
        head = name.partition(" of ")[0].split()[-1]
        if words[0].startswith(EMOJI):
            return True
        if not is_concrete(head) or not _UNREAL.isdisjoint(words):
            return False
        if not POSSESSIVES.isdisjoint(first) and (head in ANIMATE or head in SCENES):
            return False  # `its owner`, `her home`
        if "of" in words and not self._is_of_certain(words):
            return False
        if any(mark == "," and is_concrete(word) and not is_plain_adjective(word) for word, mark in pairwise(words)):
            return False  # `beyond the glass, flying ambulances wait`
        if self.tokens.at(after) == "of" or any(map(is_superlative, words)) or self._may_mean_another(words, at):
            return False
        return all(self._is_word_certain(opening.after, after, index) for index in range(opening.after, after))

    def _may_mean_another(self, words: list[str], at: int) -> bool:
        """Return whether a noun may name another thing here: a part, a kind of plant, or the picture itself."""
        is_definite = self.tokens.at(at) == "the"
        if singular(words[0]) in BODY_PARTS and self.tokens.at(at) not in {"a", "an"}:
            return True  # `biting her tongue`
        if singular(words[0]) in _OF_BODIES and self.tokens.at(at) in POSSESSIVES:
            return True  # `coins in her palm`
        if words[-1] in AMBIENT and self.tokens.at(at - 1) in _AROUND:
            return True  # `bathed in the evening sun`
        if not ONE_OF_TWO.isdisjoint(words[:-1]) and is_definite:
            return True  # `the upper bunk` is not each bunk
        if words[-1] in {"moon", "sun"} and self.tokens.at(at - 1) == "by":
            return True  # `lit only by the moon`
        if words[-1] == "field" and not _BLAZONED.isdisjoint(self.tokens.words):
            return True  # `a shield bearing a lion on a white field`
        if is_definite and words[0] in _PICTURES and self.tokens.at(at - 1) in {".", ";"}:
            return True
        if is_definite and len(words) == 1 and (words[0] in {"glass", "page", "canvas"} or self._is_of_more(words[0])):
            return True  # `behind the glass`
        named = words[: words.index("of")] if "of" in words else words
        return singular(named[-1]) in _PLANTED and not _PLANT_COLOURS.isdisjoint(named)

    def _is_of_more(self, head: str) -> bool:
        """Return whether a noun stands before `of` elsewhere: `the house` may be the house of cards."""
        return any(word == head and self.tokens.at(at + 1) == "of" for at, word in enumerate(self.tokens.words))

    def _is_number(self, word: str) -> bool:
        return word in LOOSE_COUNTS or number_of(word) is not None

    def _is_of_certain(self, words: list[str]) -> bool:
        """Return whether `of` joins a holder and its content, a measure or a part and the thing that it is of."""
        at = words.index("of")
        head = words[at - 1] if at else ""
        is_joined = singular(head) in _HOLDERS | MEASURES.keys() or head in _PARTS or singular(head) in _PARTS
        return is_joined and words.count("of") == 1 and (is_concrete(words[-1]) or words[-1] in _CONTENTS)

    def _is_word_certain(self, start: int, end: int, at: int) -> bool:
        """Return whether a word of a phrase is a known noun, an attribute, or the unknown first part of a name."""
        word = self.tokens.at(at)
        is_last = at == end - 1 or self.tokens.at(at + 1) == "of"
        before = self.tokens.at(at - 1) if at > start else ""
        if word in {"of", "and", ","} or word in DETERMINERS or number_of(word) is not None or word in LOOSE_COUNTS:
            return True
        if is_last:
            is_base = word in BASES and (is_plural(before) or self.tokens.at(start - 2) == "and")
            may_be_verb = is_base or word in THIRD_PERSONS or is_participle(word)
            is_after_noun = bool(before) and attribute_of(before) is None and not is_adverb(before)
            is_after_noun = is_after_noun and before not in {"of", "and", ","} and before not in FILLERS
            is_after_adverb = word in BASES and is_adverb(before)  # `some eagerly wave`
            return not (may_be_verb and is_after_noun) and not is_after_adverb
        if word == "other's":
            return False
        if is_compound(word, singular(self.tokens.at(at + 1))):
            return True
        if attribute_of(word) is not None or is_adverb(word) or word in FILLERS or is_owner(word) or "-" in word:
            return True
        is_singular = (
            not word.endswith("s")
            or word in PLURAL_MODIFIERS
            or word.endswith("ss")
            or self.tokens.raw[at][0].isupper()
        )
        return is_singular and word not in BASES and word.isalpha()

    def _plain(self, phrase: Phrase, at: int, after: int) -> Phrase:
        """Return a phrase with the attributes and the number that are certain."""
        thing = phrase.thing
        is_counted = thing.is_counted and thing.count >= self._least_counted and phrase.stated == thing.count
        attributes = certain_attributes(thing, self.tokens.words[max(at - 1, 0) : after])
        return replace(phrase, thing=replace(thing, attributes=attributes, is_counted=is_counted))
