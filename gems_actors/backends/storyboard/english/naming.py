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
    PLURAL_MODIFIERS,
    POSTNOMINAL,
    is_abstract,
    is_adverb,
    is_colour_only,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.pictograms import find_pictogram
from gems_actors.backends.storyboard.words import is_participle, singular, surface_of

_NOUNS: Final = ANIMATE | BODY_PARTS | CLOTHES | SCENES | SEATS | SIGN_NOUNS | SUPPORTS


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


@lru_cache(maxsize=4096)
def is_no_noun(word: str) -> bool:
    """Return whether a word cannot name a thing by itself, such as `bold`, `inviting` or `visually`."""
    if is_adverb(word) or is_colour_only(word):
        return True
    is_verbal = is_participle(word) or is_past(word)
    is_material = surface_of(word) is not None and not is_verbal and not word.endswith(("y", "en"))
    return (is_plain_adjective(word) or is_verbal) and not is_material and word != "light"
