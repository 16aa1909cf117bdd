"""Compounds that are written as several words: `snow covered`, `hide and seek`, `two way`."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.adjectives import COMPOUNDING
from gems_actors.backends.storyboard.english.kinds import ANIMATE
from gems_actors.backends.storyboard.english.vocabulary import DETERMINERS, FUNCTION_WORDS, attribute_of, is_adverb
from gems_actors.backends.storyboard.words import NUMBERS, PLACES, word_set

_REPEATING: Final = frozenset(("in", "by", "to", "after"))
_FIXED: Final = (
    ("hide", "and", "seek"),
    ("jack", "o", "lantern"),
    ("merry", "go", "round"),
    ("tug", "of", "war"),
    ("ping", "pong"),
    ("bird", "watching"),
    ("peanut", "butter", "and", "jelly"),
    ("fish", "and", "chips"),
    ("mac", "and", "cheese"),
    ("gin", "and", "tonic"),
    ("bed", "and", "breakfast"),
    ("rock", "and", "roll"),
    ("arts", "and", "crafts"),
)
"""Names of one thing that seem to be several."""
_FIXED_BY_FIRST: Final = {phrase[0]: phrase for phrase in _FIXED}
_UNITS: Final = word_set(
    "way poster legged headed eyed armed winged handed story storey piece tone toned course star wheel wheeled seater "
    "gallon tier tiered lane leaf leafed layer layered person door bedroom pointed toed horned masted bladed pronged "
    "sided part"
)
"""What numbers tell about the thing that follows: a two way street is one."""
_FOODS: Final = (
    ("ham", "and", "cheese"),
    ("salt", "and", "pepper"),
    ("bacon", "and", "egg"),
    ("cookies", "and", "cream"),
)
"""Names of kinds of a thing that follows: `salt and pepper shakers`."""
_NO_NOUNS: Final = frozenset((*FUNCTION_WORDS, *DETERMINERS, *PLACES))
_NOT_COVERING: Final = frozenset((*FUNCTION_WORDS, *DETERMINERS, *ANIMATE, *NUMBERS))
_PARTICIPLES: Final = frozenset(end.removeprefix("-") for end in COMPOUNDING)


def compound_length(words: list[str], at: int) -> int:
    """Return the number of words of the compound that begins at a word; 0 if none does."""
    word = words[at]
    following = words[at + 1] if at + 1 < len(words) else "."
    third = words[at + 2] if at + 2 < len(words) else "."
    if word == third and word.isalpha() and following in _REPEATING:
        return 3
    fixed = _FIXED_BY_FIRST.get(word)
    if fixed is not None and tuple(words[at : at + len(fixed)]) == fixed:
        return len(fixed)
    if (word, following, third) in _FOODS and _is_noun(words[at + 3 : at + 4]):
        return 3
    if not _is_noun([third]):
        return 0
    if word in NUMBERS and following in _UNITS:
        return 2
    return 2 if following in _PARTICIPLES and _may_be_covering(word) else 0


def _is_noun(words: list[str]) -> bool:
    """Return whether a word may be a noun or an adjective before one."""
    return bool(words) and words[0].isalpha() and words[0] not in _NO_NOUNS


def _may_be_covering(word: str) -> bool:
    """Return whether a participle after a word and before a noun may tell what this is like: `a snow covered hill`."""
    is_plain = word.isalpha() and word not in _NOT_COVERING
    return is_plain and attribute_of(word) is None and not is_adverb(word)
