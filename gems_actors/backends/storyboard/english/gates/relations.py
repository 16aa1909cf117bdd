"""Tells relations that make sense from those that only a wrong reading has, such as `wearing a man`."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    SCENES,
    SEATS,
    SUPPORTS,
    VEHICLES,
)
from gems_actors.backends.storyboard.words import singular, word_set

_WEARING: Final = frozenset(("wearing", "dressed in", "clad in"))
_TAKING: Final = word_set("holding carrying eating drinking")
_NOT_WORN: Final = ANIMATE | SCENES | SEATS | SUPPORTS | VEHICLES
_NOT_TAKEN: Final = SCENES - word_set(
    "water moon planet house castle tent igloo spaceship snow bar square rain fog mist"
)
"""Places that nobody holds; a toy house or a glass of water may be held."""


def makes_sense(word: str, target: str) -> bool:
    """Return whether a thing can be what a relation needs: what is worn is no person, what is held no kitchen."""
    head = singular(target.partition(" of ")[0]).split()[-1]
    is_denied_by_kind = (word in _WEARING and head in _NOT_WORN) or (word in _TAKING and head in _NOT_TAKEN)
    return not is_denied_by_kind
