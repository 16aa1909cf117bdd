"""Parses the noun phrase that begins at a word."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES
from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    SCENES,
    is_substance,
)
from gems_actors.backends.storyboard.english.lookahead import ENDS, MAX_COUNT, Opening
from gems_actors.backends.storyboard.english.name_ends import NameEnds
from gems_actors.backends.storyboard.english.naming import is_nameable, is_no_noun, is_owner, is_plural, is_unsaid
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import (
    BASES,
    INTRANSITIVE,
    PARTICIPLES_AS_BASES,
    PURPOSES,
    THIRD_PERSONS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    AMOUNTS,
    BREAKERS,
    COMPARATIVES,
    CONJUNCTIONS,
    COPULAS,
    DETERMINERS,
    FILLERS,
    HAVING,
    INSUBSTANTIAL,
    LOOSE_COUNTS,
    MEASURES,
    PICTURE_SIDES,
    PICTURED,
    POSSESSIVES,
    POSTNOMINAL,
    SAYING,
    STATES,
    WHOLES,
    attribute_of,
    is_abstract,
    is_adverb,
    is_colour_only,
    is_compound,
    is_of_kind,
    is_plain_adjective,
    is_shade,
    is_superlative,
)
from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.words import (
    COLOURS,
    PLACES,
    PLURAL_ONLY,
    SURFACES,
    colour_of,
    is_participle,
    number_of,
    plural,
    singular,
    surface_of,
)

_MAX_NAME_WORDS: Final = 4
_MAX_RUN: Final = 8
_MAX_DEPTH: Final = 20
"""Phrases within phrases, as in `a cup of a cup of a cup`; what is further in is no phrase."""
"""Maximum words of a noun phrase; longer runs are no sentence."""
_FIGURATIVE: Final = frozenset(
    ("wall", "cloud", "storm", "shower", "tower", "carpet", "blanket", "bed", "wave", "trail")
)
"""Things that before `of` are often figures of speech, as scenes are."""
_SPORTS: Final = frozenset(
    (("ice", "skating"), ("roller", "skating"), ("rock", "climbing"), ("horseback", "riding"), ("arm", "wrestling"))
)
"""Actions of two words, the first of which is no end of a name: `a hedgehog in a sweater ice skating`."""
_PARTICIPLES_AND_NOUNS: Final = frozenset(("split", "cut", "set", "cast", "burst", "spread"))
_TIMES: Final = frozenset(("today's", "tonight's", "tomorrow's", "yesterday's", "day's", "season's", "nature's"))
_UNITS: Final = frozenset(
    [
        "ft",
        "feet",
        "foot",
        "inch",
        "inches",
        "m",
        "cm",
        "mm",
        "km",
        "kg",
        "meter",
        "meters",
        "metre",
        "metres",
        "mile",
        "miles",
        "year",
        "years",
    ]
)
_STOREYS: Final = frozenset(("first", "second", "third", "fourth", "fifth", "tenth", "top", "upper", "lower", "next"))
_DRINKS: Final = frozenset(
    ("wine", "champagne", "cocktail", "beer", "martini", "shot", "water", "whiskey", "juice", "pint", "drinking")
)
"""What glasses are drunk from, and not looked through."""
_SPECTACLES: Final = frozenset(
    ("tortoiseshell", "horn-rimmed", "wire-rimmed", "thick-rimmed", "rimless", "aviator", "wire-frame", "cat-eye")
)
_COMPLEMENTS: Final = frozenset(("of", "to", "than", "as", "from", "enough"))
_NOUNS_TOO: Final = frozenset(
    ("light", "square", "male", "female", "adult", "miniature", "antique", "classic", "cold", "dark", "wild", "public")
) | frozenset(("leather", "velvet", "cotton", "silk", "clay", "rubber", "porcelain", "ceramic", "elder", "newborn"))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A thing named by one noun phrase."""

    thing: Thing
    is_definite: bool
    """Whether it has a definite article, and so may refer to an earlier thing."""
    is_plural: bool
    stated: int | None
    """Number that the phrase states: 1 for `a`, negative if it is vague, None without one."""


class PhraseReader(NameEnds):
    """Parses noun phrases in one list of tokens."""

    def __init__(self, tokens: Tokens) -> None:
        """Create a reader that can start at any of these tokens."""
        super().__init__(tokens)
        self._read: dict[int, tuple[Phrase | None, int]] = {}
        """Phrases by the token at which they begin: several rules ask for the same one."""
        self._depth = 0
        self._runs: dict[int, tuple[Opening, list[str], int]] = {}

    def read(self, at: int) -> tuple[Phrase | None, int]:
        """Return the phrase that begins at a token, or None, and the index after it."""
        if at not in self._read:
            if self._depth == _MAX_DEPTH:
                return None, at
            self._depth += 1
            self._read[at] = self._parse(at)
            self._depth -= 1
        return self._read[at]

    def use(self, start: int, after: int) -> None:
        """Note that a phrase is understood, except for words of it that ask for nothing."""
        for at in range(start, after):
            word = self.tokens.at(at)
            is_half_dozen = word == "half" and self.tokens.phrase(at + 1, at + 3) == "a dozen"
            is_left = (
                (is_adverb(word) and not is_half_dozen) or word in FILLERS or is_shade(word, self.tokens.at(at + 1))
            )
            is_left = is_left or word == "than" or is_unsaid(self.tokens.words, at)
            if not is_left and (number_of(word) or 0) <= MAX_COUNT:
                self.tokens.use(at, at + 1)

    def _run(self, at: int) -> tuple[Opening, list[str], int]:
        """Return what opens a phrase, its words, and the index after them."""
        if at not in self._runs:
            opening = self.open(at)
            self._runs[at] = (opening, *self._read_words(opening))
        return self._runs[at]

    def _parse(self, at: int) -> tuple[Phrase | None, int]:
        opening, words, after = self._run(at)
        if len(words) > 1 and self.is_verb_of(words, opening, after):
            words, after = words[:-1], after - 1
        if not words and opening.count is not None and self.tokens.at(opening.after) == "of":
            return self.read(opening.after + 1) if self.tokens.at(opening.after + 1) == "the" else (None, opening.after)
        is_whose = len(words) == 1 and opening.is_definite and words[0] in THIRD_PERSONS
        if is_whose and self.tokens.at(at) == "her" and self.is_before_object(after):
            return None, after  # `a colleague behind her holds a camera`
        if len(words) > 1 and (self.may_end_in_verb(words, at, after) or self.is_before_object(after)):
            return None, after
        words = [word for word in words if not is_adverb(word)]
        if self.begins_with_verb(words, opening):
            words = words[1:]
        if words and self.is_name_in_s(words, opening, after):
            return None, after
        if self.tokens.at(after) == "of" and words:
            return self._read_of(words, opening, after)
        return self._phrase_of(words, opening), after

    def read_attributes(self, at: int) -> tuple[tuple[str, ...], int]:
        """Return attributes without a noun after them, as in `the car is red and shiny`, and the index after them."""
        words: list[str] = []
        while attribute := attribute_of(self.tokens.at(at)):
            if self.place_at(at):
                break  # `is next to her`
            if self.tokens.at(at + 1) == "than":
                return (), at
            if not is_unsaid(self.tokens.words, at) and not is_shade(attribute, self.tokens.at(at + 1)):
                words.append(attribute)
            at += 1
            if self.tokens.at(at) in {"and", "very", ","} and attribute_of(self.tokens.at(at + 1)):
                at += 1
        token = self.tokens.at(at)
        ends_here = token in ENDS or token in BREAKERS or self.place_at(at) > 0
        return (tuple(words), at) if ends_here else ((), at)

    def read_pronominal(self, at: int) -> tuple[int, tuple[str, ...], int] | None:
        """Return count and attributes of `one black`, `a big one` or `two white ones`, and the index after it."""
        opening = self.open(at)
        words: list[str] = []
        after = opening.after
        while attribute := attribute_of(self.tokens.at(after)):
            words.append(attribute)
            after += 1
        names_one = self.tokens.at(after) in {"one", "ones"}
        first = self.tokens.at(at)
        ends = self.tokens.at(after) in ENDS or self.tokens.at(after) in BREAKERS
        if not words or not (names_one or (ends and (number_of(first) or first in {"another", "other"}))):
            return None
        return abs(opening.count or 1), tuple(words), after + names_one

    def is_unknown_verb(self, at: int, after: int) -> bool:
        """Return whether a phrase ends before a verb that no table has, as in `lanterns illuminate the path`."""
        opening, words, end = self._run(at)
        if end == after + 1 and len(words) > 1 and self.is_verb_of(words, opening, end):
            return True
        word = self.tokens.at(after)
        is_known = attribute_of(word) is not None or is_adverb(word) or self.verb_at(after) is not None
        is_known = is_known or self.is_participle_at(after)
        is_other = word in ENDS or word in BREAKERS or word in DETERMINERS or word in LOOSE_COUNTS
        if is_known or is_other or self.place_at(after) or number_of(word) is not None or not word.isalpha():
            return False
        return bool(words) and is_plural(words[-1]) and word not in POSTNOMINAL

    def begins_predicate(self, phrase: Phrase, after: int) -> bool:
        """Return whether a phrase is the subject of what follows it, and not one more member of a list."""
        word = self.tokens.at(after)
        is_verbal = is_participle(word) or is_past(word) or word in COPULAS | HAVING | {"with", "in", "who"}
        if phrase.thing.name.split()[-1] in ANIMATE and (is_verbal or self.place_at(after) > 0):
            return True
        return word in COPULAS or self.verb_at(after) is not None

    def _read_words(self, opening: Opening) -> tuple[list[str], int]:
        """Return the words up to the first that cannot belong to this phrase."""
        words: list[str] = []
        at = opening.after
        while at < len(self.tokens.words) and len(words) < _MAX_RUN:
            token = self.tokens.at(at)
            if token in {"and", "or", ","} and words and self._joins_attributes(at):
                if token == "or":
                    words.pop()  # `a red or blue ball` is not both
                at += 1 + (token == "or")
                continue
            if words and (number_of(token) or 0) > MAX_COUNT:  # the year of a `red 1969 Camaro`
                at += 1
                continue
            is_doing = is_participle(token) and token not in INTRANSITIVE and not is_plain_adjective(token)
            is_purpose = (is_doing or token in PURPOSES) and self.names_purpose(words, at)
            if is_purpose or self._is_compound(at):
                words.append(f"{token} {self.tokens.at(at + 1)}")
                at += 2
                continue
            if (length := self._name_at(at)) > 1:
                words.append(self.tokens.phrase(at, at + length))
                at += length
                continue
            if self._phrase_ends(words, at, opening):
                break
            if is_unsaid(self.tokens.words, at):
                at += 1
                continue
            words.append(token.removeprefix(EMOJI))
            at += 1
        return words, at

    def _name_at(self, at: int) -> int:
        """Return the number of words of a name such as `Golden Gate Bridge`, if there are several."""
        end = at
        if self.is_in_capitals or self.tokens.at(at) in COLOURS or self.tokens.at(at) in SURFACES:
            return 0  # the name of a thing that begins with a colour promises that colour
        while end < len(self.tokens.raw) and self._is_capitalised(end):
            end += 1
        return end - at

    def _is_definite_before(self, at: int) -> bool:
        return self.tokens.at(at - 1) in {"the", *POSSESSIVES}

    def _is_capitalised(self, at: int) -> bool:
        raw = self.tokens.raw[at]
        starts_sentence = self.tokens.at(at - 1) in {".", ";"} or at == 0
        return raw[0].isupper() and raw[1:].islower() and not starts_sentence and raw.lower() not in DETERMINERS

    def _is_compound(self, at: int) -> bool:
        """Return whether two words are one name; a nearly full moon is no full moon."""
        first, rest = self.tokens.at(at), self.tokens.at(at + 1)
        is_named = is_compound(first, rest) or is_compound(first, singular(rest))
        return is_named and not is_unsaid(self.tokens.words, at)

    def _phrase_ends(self, words: list[str], at: int, opening: Opening) -> bool:
        token = self.tokens.at(at)
        following = self.tokens.at(at + 1)
        is_tin = following in ENDS | {"and"} or self.place_at(at + 1) > 0 or following in THIRD_PERSONS
        if token == "can" and words and is_tin:
            return False  # `a copper can`
        if token in ENDS or token in DETERMINERS or token in BREAKERS or token in LOOSE_COUNTS:
            return True
        if number_of(token) is not None or self.place_at(at):
            return True
        is_after_noun = token in POSTNOMINAL and not is_unsaid(self.tokens.words, at)  # `a half full glass`
        if words and (is_after_noun or self.tokens.at(at - 1).startswith(EMOJI)):
            return True
        if len(token) == 1 and token.isascii() and token.isalpha():
            return True  # a letter of a formula or a name, such as `E = mc2`
        if not any(attribute_of(word) is None and not is_adverb(word) for word in words):
            is_noun = words[-1:] == ["light"] or (bool(words) and self._is_definite_before(at - len(words)))
            is_finite = self.verb_at(at) is not None or self.is_passed_verb(at)
            is_light = is_noun and is_finite  # `afraid of the dark hides`
            return is_light or (token in COMPARATIVES and self.tokens.at(at + 1) == "than")
        is_after = token in ADJECTIVES and token not in _NOUNS_TOO and self.ends_at(at + 1)
        if is_after and token not in FILLERS:  # `tossing a pizza high into the air`
            return True
        has_complement = is_plain_adjective(token) and self.tokens.at(at + 1) in _COMPLEMENTS
        if has_complement and token not in _NOUNS_TOO:  # `a camera symbolic of cinema`
            return True
        is_owned = self.tokens.at(at - len(words) - 1) in POSSESSIVES
        if is_owned and colour_of(token) is not None and self.ends_at(at + 1) and not self.place_at(at + 1):
            return True  # `his robe orange`
        is_passed = self.is_passed_verb(at) and (opening.count or 1) == 1  # `two water towers`
        if is_passed or (token in STATES and self.ends_at(at + 1) and not self.place_at(at + 1)):
            return True
        if is_after_noun or is_adverb(token) or (token in COMPARATIVES and self.tokens.at(at + 1) == "than"):
            return True
        if token.endswith("ed") and is_past(token) and self.tokens.at(at + 1) == "with":
            return True  # `a sky dotted with clouds`
        is_saying = token in SAYING and self.tokens.at(at + 1) == TEXT_MARK
        if is_saying or (token, self.tokens.at(at + 1)) in _SPORTS:
            return True
        is_noun = token.endswith("ing") and self.tokens.at(at + 1) == "of"  # `a cutaway drawing of a ship`
        is_noun = is_noun and words[-1] not in ANIMATE  # `a boy dreaming of the sea`
        is_verbal = not is_noun and surface_of(token) is None and (self.is_participle_at(at) or is_past(token))
        is_compound_of_plural = opening.is_single and len(words) == 1  # `a farmers market`
        return (
            is_verbal
            or self.verb_at(at) is not None
            or words[-1] in PICTURE_SIDES
            or (token in PARTICIPLES_AS_BASES and self.tokens.at(at + 1) in {"by", "across"})
            or (is_plural(words[-1]) and not is_compound_of_plural)
        )

    def _joins_attributes(self, at: int) -> bool:
        """Return whether attributes are joined, as in `brown and white dog`, and not things."""
        before, here, noun = self.tokens.at(at - 1), self.tokens.at(at + 1), self.tokens.at(at + 2)
        if attribute_of(before) is None or attribute_of(here) is None or noun in CONJUNCTIONS:
            return False
        if self.tokens.at(at) == "," and before in _PARTICIPLES_AND_NOUNS:
            return False  # `legs in a perfect split, sparkling leotard`
        return noun not in ENDS and noun not in BREAKERS and noun not in PLACES

    def _read_of(self, words: list[str], opening: Opening, after: int) -> tuple[Phrase | None, int]:
        """Read `a pair of shoes`, `a glass of water` or `a statue of a horse`, from its `of` on."""
        head = words[-1]
        inner, end = self.read(after + 1)
        if self.tokens.at(after + 1) in DETERMINERS and self.tokens.at(after + 2) in {"other", "same"}:
            return None, end  # `a finger of the other hand`
        if is_plural(head) and end > after + 2 and self.tokens.at(end - 1) in BASES and inner and not inner.is_plural:
            return None, end  # `shavings of wood lie on a bench`
        if head in INSUBSTANTIAL or (head == "number" and opening.is_definite):
            return None, end  # `the memory of a summer` has no summer, `the number of flowers` no further flowers
        is_mass = inner is not None and not inner.is_plural and inner.thing.name.split()[-1] not in PLURAL_ONLY
        if head in AMOUNTS and len(words) == 1:  # `lots of smoke` is smoke, `lots of the cups` are not all of them
            is_part = inner is None or inner.is_definite
            return None if is_part else inner if is_mass else self._measured(inner, head), end
        if (head in MEASURES or singular(head) in MEASURES) and not is_mass:  # `a pile of laundry` is one thing
            return self._measured(inner, head), end
        if head in WHOLES:
            return inner, end
        if inner is None and is_abstract(singular(self.tokens.at(after + 1))) and singular(head) not in ANIMATE:
            return None, after  # `the passage of time` has no passage
        is_unnamed = (is_abstract(singular(head)) or is_abstract(head)) and head not in PICTURED
        if inner is None and singular(head) in SCENES | _FIGURATIVE:
            return None, after  # `a mountain of letters`
        if inner is None or is_unnamed or " of " in inner.thing.name:
            return self._phrase_of(words, opening), after
        thing = inner.thing
        has_article = self.tokens.at(after + 1) in {"a", "an"}
        named = [*thing.attributes, plural(thing.name) if inner.is_plural else thing.name]  # `a cup of black coffee`
        article = [self.tokens.at(after + 1)] if has_article or self.tokens.at(after + 1) == "the" else []
        is_counted = inner.stated is not None and not has_article
        if is_counted or len(named) > 2:
            return self._phrase_of(words, opening), after
        return self._phrase_of([*words, "of", *article, *named], opening, of=len(words)), end

    def _measured(self, phrase: Phrase | None, measure: str) -> Phrase | None:
        """Return the phrase after a measure such as `a pair of`, with its count."""
        if phrase is None or phrase.thing.is_counted:
            return phrase
        name = phrase.thing.name
        first, space, last = name.rpartition(" ")
        if measure == "pair" and last == "glass" and phrase.is_plural and first not in _DRINKS:
            last, name = "eyeglasses", f"{first}{space}eyeglasses"
        is_one = last in PLURAL_ONLY and (measure == "pair" or not first)
        count = 1 if is_one else MEASURES.get(measure, 4)
        thing = Thing(name, count, 1 < count < 4, phrase.thing.attributes)
        return Phrase(thing, phrase.is_definite, is_plural=True, stated=-count)

    def _phrase_of(self, words: list[str], opening: Opening, of: int | None = None) -> Phrase | None:
        """Return the phrase of some words; `of` is the index of `of` in them, before which the head stands."""
        head_words = words[:of]
        has_noun = any(attribute_of(word) is None for word in head_words[:-1])
        is_pictured = of is not None and bool(head_words) and head_words[-1] in PICTURED
        if words and opening.count is not None and words[0] in _UNITS:
            return None  # `a 5 ft tall statue`
        if head_words and head_words[-1] == "floor" and not _STOREYS.isdisjoint(words):
            return None  # `on the third floor of a hotel`
        if head_words and is_colour_only(head_words[-1]):
            return None  # `painted in mint green`
        is_drawing = of is not None and head_words[-1:] == ["drawing"]
        if not head_words or (is_no_noun(head_words[-1]) and not has_noun and not is_drawing):
            return None
        if not is_pictured and not is_nameable(head_words[-1]):
            return None
        if not {"former's", "latter's"}.isdisjoint(head_words):
            return None
        owner = max((at for at, word in enumerate(head_words[:-1]) if is_owner(word)), default=-1)
        attributes: list[str] = []
        nouns: list[str] = []
        for at, (word, following) in enumerate(pairwise(head_words)):
            if at < owner:  # `the younger woman's hand`: what stands before an owner is about the owner
                nouns.append(word)
                continue
            if not nouns and (word in FILLERS or is_superlative(word) or is_shade(word, following)):
                continue
            is_kind = bool(nouns) or is_of_kind(word, following, head_words[-1])
            attribute = None if is_kind else attribute_of(word)
            if attribute is None:
                nouns.append(word)
            elif attribute not in attributes:
                attributes.append(attribute)
        if len(nouns) >= _MAX_NAME_WORDS or (nouns and nouns[0] in _TIMES):
            return None
        head = head_words[-1]
        is_rimmed = not _SPECTACLES.isdisjoint(head_words)
        is_plain = all(is_owner(word) or word in _SPECTACLES for word in nouns)
        if head == "glasses" and of is None and is_plain and (is_rimmed or self.is_worn(opening)):
            head = "eyeglasses"
        if head in {"reading glasses", "safety glasses"}:
            head = f"{head.split()[0]} eyeglasses"
        full_name = " ".join([*nouns, head, *words[len(head_words) :]])
        name = singular(full_name)
        is_group = name != full_name and plural(name) == full_name
        if is_group and opening.is_single and of is None:
            return None  # `a crowd cheers` with a verb that no table has
        count = opening.count
        is_one_of_more = count == 1 and self.tells_one_from_another(opening)
        if count is None:
            thing = Thing(name, 3 if is_group else 1, False, tuple(attributes))
        else:
            is_stated = count > 1 or (count == 1 and not is_one_of_more and not is_substance(name))
            thing = Thing(name, abs(count), is_stated, tuple(attributes))
        return Phrase(thing, opening.is_definite, is_group or abs(count or 1) > 1, count)
