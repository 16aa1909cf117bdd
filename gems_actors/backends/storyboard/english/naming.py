"""Tells which words can name a thing: the heads of noun phrases."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    BODY_PARTS,
    CLOTHES,
    SCENES,
    SEATS,
    SIGN_NOUNS,
    SUPPORTS,
)
from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.english.vocabulary import (
    DEGREES,
    FUNCTION_WORDS,
    PLURAL_MODIFIERS,
    POSTNOMINAL,
    attribute_of,
    is_abstract,
    is_adverb,
    is_colour_only,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.pictograms import find_pictogram
from gems_actors.backends.storyboard.words import is_participle, number_of, singular, surface_of, word_set

_NOUNS: Final = ANIMATE | BODY_PARTS | CLOTHES | SCENES | SEATS | SIGN_NOUNS | SUPPORTS


_TIES: Final = word_set(
    "classmate roommate teammate master friend pal buddy mate companion acquaintance colleague comrade"
    " partner rival enemy foe lover flame relative cousin"
)
"""What somebody is to somebody else."""
_OF_TIES: Final = word_set("old close dear near distant big deep bitter great true new former lifelong")
_HABITS: Final = word_set(
    "smoker drinker eater sleeper worker thinker dreamer reader listener talker believer lover fan admirer learner "
    "spender hitter sport winner loser player starter riser"
)
"""What somebody is by doing something often."""
_OF_HABITS: Final = word_set("heavy light hard big great huge fast slow early late deep quick poor bad good sore")


_HOW_DONE: Final = frozenset(("hard", "soft", "deep"))
_PARTS: Final = BODY_PARTS | word_set("brim heel sleeve rim crest breast belly color colour petal roof wall")
_HAVING: Final = frozenset(f"{part.removesuffix('e')}{end}" for part in _PARTS for end in ("ed", f"{part[-1]}ed"))
"""What has parts of a kind: a `wide brimmed` hat is not wide."""


@lru_cache(maxsize=4096)
def is_plural(word: str) -> bool:
    """Return whether a word is a plural after which no further noun of a name follows, as it does in `sports car`."""
    return singular(word) != word and len(word) > 3 and "'" not in word and word not in PLURAL_MODIFIERS


def is_owner(word: str) -> bool:
    """Return whether a word names an owner, as in `the girl's hat` and `the girls' hats`."""
    return word.endswith(("'s", "s'"))


@lru_cache(maxsize=4096)
def is_known_noun(word: str) -> bool:
    """Return whether a table has a word as a noun: one of the kinds of things, or the name of a pictogram."""
    return not _NOUNS.isdisjoint({word, singular(word)}) or find_pictogram(singular(word)) != ""


def is_nameable(head: str) -> bool:
    """Return whether a word can be the head of a phrase that names a thing."""
    if head == "lights":
        return True
    if head in POSTNOMINAL:
        return False
    if head != singular(head) and is_colour_only(singular(head)):
        return False  # `painted in cold blues`
    if is_abstract(head) or is_abstract(singular(head)) or is_owner(head):
        return False
    return head[0].isalpha() and (len(head) > 1 or not head.isascii())


def is_of_relation(adjective: str, noun: str) -> bool:
    """Return whether an adjective says how somebody does or is something: an `old friend`, a `heavy smoker`."""
    noun = singular(noun)
    return (adjective in _OF_TIES and noun in _TIES) or (adjective in _OF_HABITS and noun in _HABITS)


def is_unsaid(words: list[str], at: int) -> bool:
    """Return whether an attribute is not wholly so, as in `half empty`, or is about a role, as in `old friend`."""
    word = words[at]
    if word == "wide" and words[at + 1 : at + 2] in (["open"], ["awake"]):
        return True
    if any(is_of_part(words, index) for index in (at, at + 1)):
        return True
    is_attribute = attribute_of(word) is not None or word in POSTNOMINAL
    is_before_noun = at + 1 < len(words) and words[at + 1].isalpha() and words[at + 1] not in FUNCTION_WORDS
    may_be_one = is_before_noun and word.isalpha() and word not in FUNCTION_WORDS and number_of(word) is None
    if not (is_attribute or (may_be_one and at > 0 and words[at - 1] in DEGREES)):
        return False
    start = at
    while start > 0 and is_adverb(words[start - 1]):
        start -= 1
    is_graded = not DEGREES.isdisjoint(words[start:at])
    return is_graded or (at + 1 < len(words) and is_of_relation(word, words[at + 1]))


def is_of_part(words: list[str], at: int) -> bool:
    """Return whether a word and the one before say together what a part is like: `short haired`, `deep fried`."""
    if not 0 < at < len(words):
        return False
    before, word = words[at - 1], words[at]
    if before in _HOW_DONE and word in {"boiled", "fried", "set", "rooted", "cooked"}:
        return True
    is_said = attribute_of(before) is not None or number_of(before) is not None
    return is_said and word in _HAVING


@lru_cache(maxsize=4096)
def is_no_noun(word: str) -> bool:
    """Return whether a word cannot name a thing by itself, such as `bold`, `inviting` or `visually`."""
    if is_adverb(word) or is_colour_only(word):
        return True
    is_verbal = is_participle(word) or is_past(word)
    is_material = surface_of(word) is not None and not is_verbal and not word.endswith(("y", "en"))
    return (is_plain_adjective(word) or is_verbal) and not is_material and word != "light"
