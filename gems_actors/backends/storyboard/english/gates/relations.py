"""Tells relations that make sense from those that only a wrong reading has, such as `holding a kitchen`."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    CLOTHES,
    SCENES,
    SEATS,
    SUPPORTS,
    VEHICLES,
)
from gems_actors.backends.storyboard.english.naming import is_known_noun
from gems_actors.backends.storyboard.words import singular, word_set

_TAKING: Final = word_set("holding carrying eating drinking")
_ACCESSORIES: Final = word_set(
    "eyeglasses glasses spectacles watch wristwatch ring earring bracelet necklace chain belt tie bow backpack bag "
    "purse flower wreath garland badge medal sash ribbon monocle wing mask horn ear tail bandage collar harness bell "
    "saddle blanket towel feather makeup lipstick beard moustache mustache hair headset helmet glove mitten boot lei"
)
"""What is worn and is no garment."""
_NOT_WORN: Final = ANIMATE | SCENES | SEATS | SUPPORTS | VEHICLES
_NOT_TAKEN: Final = SCENES - word_set(
    "water moon planet house castle tent igloo spaceship snow bar square rain fog mist"
)
"""Places that nobody holds; a toy house or a glass of water may be held."""


def may_be_worn_too(target: str) -> bool:
    """Return whether a further member of a list may be worn: `a witch in a hat and a broom` wears no broom."""
    head = singular(target.partition(" of ")[0]).split()[-1]
    return head in CLOTHES | _ACCESSORIES or not (head in _NOT_WORN or is_known_noun(head))


def makes_sense(word: str, target: str) -> bool:
    """Return whether a thing can be the object of a relation: nobody holds a kitchen."""
    head = singular(target.partition(" of ")[0]).split()[-1]
    return word not in _TAKING or head not in _NOT_TAKEN
