"""Parses the noun phrase that begins at a word."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES
from gems_actors.backends.storyboard.english.kinds import ANIMATE, TEXT_NOUNS
from gems_actors.backends.storyboard.english.naming import is_nameable, is_no_noun, is_plural
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import (
    INTRANSITIVE,
    NOUNS_MOSTLY,
    PASSED_VERBS,
    PAST_VERBS,
    PLURAL_VERBS,
    PURPOSES,
    SINGULAR_VERBS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    BREAKERS,
    COMPARATIVES,
    COMPOUNDS,
    CONJUNCTIONS,
    COPULAS,
    DETERMINERS,
    FILLERS,
    HAVING,
    INSUBSTANTIAL,
    LOOSE_COUNTS,
    MEASURES,
    NEGATIONS,
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
    is_compound,
    is_plain_adjective,
    is_shade,
)
from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.words import (
    COLOURS,
    LONGEST_PLACE,
    NOUNS_IN_ING,
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

MAX_COUNT: Final = 60
_MANY: Final = 12
"""Number drawn where the prompt asks for more than `MAX_COUNT`, which is then not understood."""
_PROSE_TOKENS: Final = 60
"""Tokens above which a noun without article, number or colour is taken as a figure of speech, not a thing."""
_MAX_NAME_WORDS: Final = 4
_MAX_RUN: Final = 8
"""Maximum words of a noun phrase; longer runs are no sentence."""
_COMPLEMENTS: Final = frozenset(("of", "to", "than", "as", "from", "enough"))
_NOUNS_TOO: Final = frozenset(
    ("light", "square", "male", "female", "adult", "miniature", "antique", "classic", "cold", "dark", "wild", "public")
) | frozenset(("leather", "velvet", "cotton", "silk", "clay", "rubber", "porcelain", "ceramic", "elder", "newborn"))
_ENDS: Final = frozenset((",", ".", ";", TEXT_MARK))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A thing named by one noun phrase."""

    thing: Thing
    is_definite: bool
    """Whether it has a definite article, and so may refer to an earlier thing."""
    is_sure: bool
    """Whether it is to be drawn even if no relation refers to it."""
    is_plural: bool
    stated: int | None
    """Number that the phrase states: 1 for `a`, negative if it is vague, None without one."""


@dataclass(frozen=True, slots=True)
class _Opening:
    """What stands before the words of a noun phrase."""

    after: int
    count: int | None = None
    is_definite: bool = False


class PhraseReader:
    """Parses noun phrases in one list of tokens."""

    def __init__(self, tokens: Tokens) -> None:
        """Create a reader that can start at any of these tokens."""
        self.tokens = tokens
        self.is_prose = len(tokens.words) > _PROSE_TOKENS
        self._is_in_capitals = 4 * sum(raw[0].isupper() for raw in tokens.raw) > 3 * len(tokens.raw)

    def read(self, at: int) -> tuple[Phrase | None, int]:
        """Return the phrase that begins at a token, or None, and the index after it."""
        opening = self._open(at)
        words, after = self._read_words(opening.after)
        if len(words) > 1 and self._is_verb_of(words, opening, after):
            words, after = words[:-1], after - 1
        if not words and opening.count is not None and self.tokens.at(opening.after) == "of":
            return self.read(opening.after + 1) if self.tokens.at(opening.after + 1) == "the" else (None, opening.after)
        words = [word for word in words if not is_adverb(word)]
        if self._begins_with_verb(words, opening):
            words = words[1:]
        if self.tokens.at(after) == "of" and words:
            return self._read_of(words, opening, after)
        return self._phrase_of(words, opening), after

    def read_attributes(self, at: int) -> tuple[tuple[str, ...], int]:
        """Return attributes without a noun after them, as in `the car is red and shiny`, and the index after them."""
        words: list[str] = []
        while attribute := attribute_of(self.tokens.at(at)):
            if self.tokens.at(at + 1) == "than":
                return (), at
            words.append(attribute)
            at += 1
            if self.tokens.at(at) in {"and", "very", ","} and attribute_of(self.tokens.at(at + 1)):
                at += 1
        token = self.tokens.at(at)
        ends_here = token in _ENDS or token in BREAKERS or self.place_at(at) > 0
        return (tuple(words), at) if ends_here else ((), at)

    def read_pronominal(self, at: int) -> tuple[int, tuple[str, ...], int] | None:
        """Return count and attributes of `one black`, `a big one` or `two white ones`, and the index after it."""
        opening = self._open(at)
        words: list[str] = []
        after = opening.after
        while attribute := attribute_of(self.tokens.at(after)):
            words.append(attribute)
            after += 1
        names_one = self.tokens.at(after) in {"one", "ones"}
        first = self.tokens.at(at)
        ends = self.tokens.at(after) in _ENDS or self.tokens.at(after) in BREAKERS
        if not words or not (names_one or (ends and (number_of(first) or first in {"another", "other"}))):
            return None
        return abs(opening.count or 1), tuple(words), after + names_one

    def place_at(self, at: int) -> int:
        """Return the number of words of the longest place, such as `in front of`, that begins at a token; else 0."""
        lengths = range(min(LONGEST_PLACE, len(self.tokens.words) - at), 0, -1)
        return next((length for length in lengths if self.tokens.phrase(at, at + length) in PLACES), 0)

    def is_unknown_verb(self, at: int, after: int) -> bool:
        """Return whether a phrase ends before a verb that no table has, as in `lanterns illuminate the path`."""
        opening = self._open(at)
        words, end = self._read_words(opening.after)
        if end == after + 1 and len(words) > 1 and self._is_verb_of(words, opening, end):
            return True
        word = self.tokens.at(after)
        is_known = attribute_of(word) is not None or is_adverb(word) or self.verb_at(after) is not None
        is_known = is_known or self.is_participle_at(after)
        is_other = word in _ENDS or word in BREAKERS or word in DETERMINERS or word in LOOSE_COUNTS
        if is_known or is_other or self.place_at(after) or number_of(word) is not None or not word.isalpha():
            return False
        return bool(words) and is_plural(words[-1]) and word not in POSTNOMINAL

    def verb_at(self, at: int) -> str | None:
        """Return the participle of the finite verb at a token, such as `sitting` for `sits`, or None."""
        word, after = self.tokens.at(at), self.tokens.at(at + 1)
        begins_object = after in DETERMINERS or after in ABSENCES or number_of(after) is not None
        is_said = begins_object or (self.tokens.at(at - 1) in ANIMATE and after in _ENDS)  # `his daughter watches`
        if word in NOUNS_MOSTLY and not is_said:
            return None
        if word in PAST_VERBS:
            return PAST_VERBS[word] if after != "by" else None
        before = self.tokens.at(at - 1)
        is_plural = before in NEGATIONS | {"they", "who", "that"} or singular(before) != before
        if word in SINGULAR_VERBS:
            return SINGULAR_VERBS[word] if after != "of" and after not in COMPARATIVES else None
        if word in PLURAL_VERBS and is_plural:
            is_followed = begins_object or self.place_at(at + 1) or after in _ENDS or word not in NOUNS_MOSTLY
            return PLURAL_VERBS[word] if is_followed else None
        return None

    def is_participle_at(self, at: int) -> bool:
        """Return whether the word at a token is a participle: `painting` is one before an article."""
        word = self.tokens.at(at)
        is_done = self.tokens.at(at - 1) in ANIMATE and self.place_at(at + 1) > 0  # `a walker crossing between`
        return is_participle(word) or (word in NOUNS_IN_ING and (is_done or self.tokens.at(at + 1) in DETERMINERS))

    def begins_predicate(self, phrase: Phrase, after: int) -> bool:
        """Return whether a phrase is the subject of what follows it, and not one more member of a list."""
        word = self.tokens.at(after)
        is_verbal = is_participle(word) or is_past(word) or word in COPULAS | HAVING | {"with", "in", "who"}
        if phrase.thing.name.split()[-1] in ANIMATE and (is_verbal or self.place_at(after) > 0):
            return True
        return word in COPULAS or self.verb_at(after) is not None

    def ends_at(self, at: int) -> bool:
        """Return whether no noun phrase goes on at a token."""
        token = self.tokens.at(at)
        return token != "except" and (token in _ENDS or token in BREAKERS or token in CONJUNCTIONS)

    def text_end(self, at: int) -> int:
        """Return the index after the text that `says`, `with the words` or `showing the message` introduces, else 0."""
        word = self.tokens.at(at)
        is_verb = word in SAYING or word.endswith("ing") or self.verb_at(at) is not None
        end = at + (is_verb or word in {"with", "shows"})
        end += self.tokens.at(end) in DETERMINERS
        end += self.tokens.at(end) in TEXT_NOUNS
        return end + 1 if end > at and self.tokens.at(end) == TEXT_MARK else 0

    def _open(self, at: int) -> _Opening:
        """Read `the three`, `a`, `exactly two` or `several`; a vague count is negative."""
        count: int | None = None
        is_definite = False
        while at < len(self.tokens.words):
            token = self.tokens.at(at)
            if (number := number_of(token)) is not None:
                count = max(number, 1) if number <= MAX_COUNT else -_MANY
            elif token in {"a", "an", "another"}:
                count = 1
            elif token in LOOSE_COUNTS:
                count = -LOOSE_COUNTS[token]
            elif token in DETERMINERS:
                is_definite = True
            elif token not in {"exactly", "single", "precisely", "only", "just", "other"}:
                break
            at += 1
        return _Opening(at, count, is_definite)

    def _read_words(self, at: int) -> tuple[list[str], int]:
        """Return the words up to the first that cannot belong to this phrase."""
        words: list[str] = []
        while at < len(self.tokens.words) and len(words) < _MAX_RUN:
            token = self.tokens.at(at)
            if token in {"and", "or", ","} and words and self._joins_attributes(at):
                at += 1
                continue
            if words and (number_of(token) or 0) > MAX_COUNT:  # the year of a `red 1969 Camaro`
                at += 1
                continue
            is_purpose = token in PURPOSES and self._names_purpose(words, at)
            if is_purpose or is_compound(token, self.tokens.at(at + 1)) or self._is_compound_plural(at):
                words.append(f"{token} {self.tokens.at(at + 1)}")
                at += 2
                continue
            if (length := self._name_at(at)) > 1:
                words.append(self.tokens.phrase(at, at + length))
                at += length
                continue
            if self._phrase_ends(words, at):
                break
            words.append(token.removeprefix(EMOJI))
            at += 1
        return words, at

    def _names_purpose(self, words: list[str], at: int) -> bool:
        """Return whether a participle and the noun after it are one name, as in `a charging case`."""
        before, noun = self.tokens.at(at - 1), self.tokens.at(at + 1)
        is_opened = before in DETERMINERS or number_of(before) is not None or bool(words)
        if not is_opened or any(attribute_of(word) is None for word in words):
            return False
        is_noun = noun.isalpha() and attribute_of(noun) is None and noun not in BREAKERS and not is_adverb(noun)
        return is_noun and singular(noun) not in ANIMATE and noun not in DETERMINERS and number_of(noun) is None

    def _begins_with_verb(self, words: list[str], opening: _Opening) -> bool:
        """Return whether the first word is a participle with an object, as in `emphasizing real people`."""
        if len(words) < 3 or opening.count is not None or opening.is_definite:
            return False
        is_verbal = (
            is_participle(words[0])
            and words[0] not in INTRANSITIVE
            and surface_of(words[0]) is None
            and not is_plain_adjective(words[0])
        )
        return is_verbal and attribute_of(words[1]) is not None

    def _is_verb_of(self, words: list[str], opening: _Opening, after: int) -> bool:
        """Return whether the last word is a verb that no table has, as in `a hand sprinkles sugar`."""
        last, following = words[-1], self.tokens.at(after)
        if singular(last) == last or attribute_of(words[-2]) is not None or any("'" in word for word in words):
            return False
        begins_object = following in DETERMINERS or number_of(following) is not None
        begins_object = begins_object or is_plain_adjective(following) or is_adverb(following)
        is_one = opening.count == 1 or (opening.count is None and opening.is_definite and self.is_prose)
        return (is_one and following != "of") or begins_object

    def _name_at(self, at: int) -> int:
        """Return the number of words of a name such as `Golden Gate Bridge`, if there are several."""
        end = at
        if self._is_in_capitals or self.tokens.at(at) in COLOURS or self.tokens.at(at) in SURFACES:
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

    def _is_compound_plural(self, at: int) -> bool:
        return f"{self.tokens.at(at)}-{singular(self.tokens.at(at + 1))}" in COMPOUNDS

    def _phrase_ends(self, words: list[str], at: int) -> bool:
        token = self.tokens.at(at)
        if token in _ENDS or token in DETERMINERS or token in BREAKERS or token in LOOSE_COUNTS:
            return True
        if number_of(token) is not None or self.place_at(at):
            return True
        if words and (token in POSTNOMINAL or self.tokens.at(at - 1).startswith(EMOJI)):
            return True
        if len(token) == 1 and token.isascii() and token.isalpha():
            return True  # a letter of a formula or a name, such as `E = mc2`
        if not any(attribute_of(word) is None and not is_adverb(word) for word in words):
            is_noun = words[-1:] == ["light"] or (bool(words) and self._is_definite_before(at - len(words)))
            is_light = is_noun and (self.verb_at(at) is not None or token in PASSED_VERBS)  # `afraid of the dark hides`
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
        if token in PASSED_VERBS or (token in STATES and self.ends_at(at + 1) and not self.place_at(at + 1)):
            return True
        if token in POSTNOMINAL or is_adverb(token) or (token in COMPARATIVES and self.tokens.at(at + 1) == "than"):
            return True
        if token.endswith("ed") and self.tokens.at(at + 1) == "with":
            return True  # `a sky dotted with clouds`
        is_verbal = surface_of(token) is None and (self.is_participle_at(at) or is_past(token))
        return is_verbal or self.verb_at(at) is not None or words[-1] in PICTURE_SIDES or is_plural(words[-1])

    def _joins_attributes(self, at: int) -> bool:
        """Return whether attributes are joined, as in `brown and white dog`, and not things."""
        before, here, noun = self.tokens.at(at - 1), self.tokens.at(at + 1), self.tokens.at(at + 2)
        if attribute_of(before) is None or attribute_of(here) is None or noun in CONJUNCTIONS:
            return False
        return noun not in _ENDS and noun not in BREAKERS and noun not in PLACES

    def _read_of(self, words: list[str], opening: _Opening, after: int) -> tuple[Phrase | None, int]:
        """Read `a pair of shoes`, `a glass of water` or `a statue of a horse`, from its `of` on."""
        head = words[-1]
        inner, end = self.read(after + 1)
        if head in INSUBSTANTIAL or (head == "number" and opening.is_definite):
            return None, end  # `the memory of a summer` has no summer, `the number of flowers` no further flowers
        if head in MEASURES or singular(head) in MEASURES:
            return self._measured(inner, head), end
        if head in WHOLES:
            return inner, end
        if inner is None and is_abstract(singular(self.tokens.at(after + 1))) and singular(head) not in ANIMATE:
            return None, after  # `the passage of time` has no passage
        is_unnamed = (is_abstract(singular(head)) or is_abstract(head)) and head not in PICTURED
        if inner is None or is_unnamed or " of " in inner.thing.name:
            return self._phrase_of(words, opening), after
        thing = inner.thing
        has_article = self.tokens.at(after + 1) in {"a", "an"}
        named = [*(thing.attributes if has_article else ()), plural(thing.name) if inner.is_plural else thing.name]
        article = [self.tokens.at(after + 1)] if has_article else []
        is_counted = inner.stated is not None and not has_article
        if is_counted or len(named) > 2:
            return self._phrase_of(words, opening), after
        phrase = self._phrase_of([*words, "of", *article, *named], opening, of=len(words))
        if phrase is not None and not has_article:
            merged = tuple(dict.fromkeys((*phrase.thing.attributes, *thing.attributes)))
            whole = Thing(phrase.thing.name, phrase.thing.count, phrase.thing.is_counted, merged)
            phrase = Phrase(whole, phrase.is_definite, phrase.is_sure, phrase.is_plural, phrase.stated)
        return phrase, end

    def _measured(self, phrase: Phrase | None, measure: str) -> Phrase | None:
        """Return the phrase after a measure such as `a pair of`, with its count."""
        if phrase is None or phrase.thing.is_counted:
            return phrase
        count = 1 if phrase.thing.name in PLURAL_ONLY else MEASURES.get(measure, 4)
        thing = Thing(phrase.thing.name, count, 1 < count < 4, phrase.thing.attributes)
        return Phrase(thing, phrase.is_definite, is_sure=True, is_plural=True, stated=-count)

    def _phrase_of(self, words: list[str], opening: _Opening, of: int | None = None) -> Phrase | None:
        """Return the phrase of some words; `of` is the index of `of` in them, before which the head stands."""
        head_words = words[:of]
        has_noun = any(attribute_of(word) is None for word in head_words[:-1])
        is_pictured = of is not None and bool(head_words) and head_words[-1] in PICTURED
        if not head_words or (is_no_noun(head_words[-1]) and not has_noun):
            return None
        if not is_pictured and not is_nameable(head_words[-1]):
            return None
        owner = max((at for at, word in enumerate(head_words[:-1]) if word.endswith("'s")), default=-1)
        attributes: list[str] = []
        nouns: list[str] = []
        for at, (word, following) in enumerate(pairwise(head_words)):
            if at < owner:  # `the younger woman's hand`: what stands before an owner is about the owner
                nouns.append(word)
                continue
            if not nouns and (word in FILLERS or is_shade(word, following)):
                continue
            attribute = attribute_of(word) if not nouns else None
            if attribute is None:
                nouns.append(word)
            elif attribute not in attributes:
                attributes.append(attribute)
        if len(nouns) >= _MAX_NAME_WORDS:
            return None
        head = head_words[-1]
        if head == "glasses" and all(noun.endswith("'s") for noun in nouns) and of is None and opening.count is None:
            head = "eyeglasses"
        full_name = " ".join([*nouns, head, *words[len(head_words) :]])
        name = singular(full_name)
        is_group = name != full_name and plural(name) == full_name
        count = opening.count
        if count is None:
            thing = Thing(name, 3 if is_group else 1, False, tuple(attributes))
        else:
            is_stated = count > 1 or (count == 1 and not self.is_prose)
            thing = Thing(name, abs(count), is_stated, tuple(attributes))
        is_sure = not self.is_prose or count is not None
        return Phrase(thing, opening.is_definite, is_sure, is_group or abs(count or 1) > 1, count)
