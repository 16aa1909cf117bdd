"""Tells which adjectives before a noun are certainly said of the thing, and can be seen in its picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES
from gems_actors.backends.storyboard.english.short.sentence import acts
from gems_actors.backends.storyboard.english.verbs import INTRANSITIVE
from gems_actors.backends.storyboard.english.vocabulary import COMPARATIVES, VACUOUS, attribute_of, is_adverb
from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.words import COLOURS, colour_of, is_participle, surface_of, word_set

_SHOPS: Final = word_set("shop store market fair stall boutique dealer")
_SOLD: Final = word_set("antique vintage organic electric digital classic")
"""What is said of goods, and not of the shop that sells them."""
_OF_FIRST_NOUN: Final = word_set(
    "fresh raw dried roasted frozen hot cold fried baked grilled sweet sour spicy wild organic antique vintage used "
    "live fast stuffed precious natural medical industrial"
)
"""What of a name of two nouns may be said of the first one: `a fresh fruit stand`."""
_GOODS: Final = word_set(
    "wine tea coffee pepper bean rice rose onion cabbage light meat chocolate sugar oil grape apple lentil chili lead "
    "velvet brick stone wood gold leather ink paint thread"
)
"""First nouns of names, to which a colour belongs before them: `a red wine glass`, `a white chocolate bar`."""
_RELATING: Final = COMPARATIVES | word_set(
    "nearby distant adjacent opposite matching similar identical additional extra respective surrounding neighboring "
    "neighbouring remaining visible faraway far near main central accompanying corresponding actual single lone very "
    "entire whole upper lower inner outer front rear various numerous countless several own familiar favorite favourite"
)
"""Adjectives that say how a thing is to others, which its picture alone does not show."""
_SOFT: Final = frozenset(("fluffy", "fuzzy"))


def certain_attributes(thing: Thing, words: list[str]) -> tuple[str, ...]:
    """Return the attributes of a thing that its noun phrase, given by its words, says of it for certain."""
    graded = {attribute_of(word) for adverb, word in pairwise(words) if is_adverb(adverb)}  # `dimly lit`
    kept = [word for word in thing.attributes if word not in graded | VACUOUS | _RELATING]
    kept = [word for word in kept if word != "ivory"]  # which may be what the thing is made of
    first, *others = thing.name.partition(" of ")[0].split()
    if others:
        kept = [word for word in kept if word not in _OF_FIRST_NOUN and not (first in _GOODS and colour_of(word))]
    if thing.name.split()[-1] in _SHOPS:
        kept = [word for word in kept if word not in _SOLD]
    if not acts(thing.name):
        kept = [word for word in kept if not _is_purpose(word) and not (word == "furry" and _SOFT & {*words})]
    if thing.count > 1 and len(COLOURS.keys() & {*kept}) > 1:  # each of `red and blue flags` may have one colour
        kept = [word for word in kept if word not in COLOURS]
    return tuple(kept)


def _is_purpose(word: str) -> bool:
    """Return whether a participle tells what a thing is for, and not what it does: `dipping sauces`."""
    return is_participle(word) and word not in INTRANSITIVE | ADJECTIVES and surface_of(word) is None
