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
_SAID: Final = word_set(
    "shouting yelling whispering telling announcing explaining discussing promising describing predicting imagining "
    "dreaming remembering wanting needing missing expecting awaiting seeking fearing planning wishing demanding "
    "requesting debating proposing mentioning recalling mourning envisioning picturing visualizing regretting "
    "encouraging urging warning reminding persuading"
)
"""Verbs whose object somebody has in mind, and nobody need see."""
_FIGURES: Final = {
    verb: word_set(nouns)
    for verb, nouns in (
        ("taking", "bow turn nap shot picture photo selfie break step dive bite sip swing stroll walk test exam look"),
        ("scoring", "goal basket point touchdown try run"),
        ("making", "save catch wish face noise promise deal point speech call entrance turn mess joke living history"),
        ("giving", "speech hug kiss lecture bow smile lesson presentation toast lift ride massage tour"),
        ("striking", "pose match balance deal"),
        ("keeping", "watch balance eye lookout secret time pace score"),
        ("catching", "breath sight cold fire wave eye"),
        ("holding", "breath court ground pose office"),
        ("losing", "balance temper way game mind"),
        ("waiting", "turn"),
        ("playing", "tag dress-up hide-and-seek hopscotch catch charades role trick"),
        ("blowing", "kiss"),
        ("breaking", "record news wind"),
        ("casting", "spell vote"),
        ("setting", "sail fire"),
        ("paying", "attention respect visit"),
        ("doing", "homework laundry dish yoga chore"),
    )
}
"""Objects of a verb with which it is an idiom: who takes a bow holds none."""


def is_figurative(verb: str, target: str) -> bool:
    """Return whether the object of a verb is part of an idiom, or only spoken or thought of."""
    head = singular(target).split()[-1]
    is_role = verb == "playing" and (head in ANIMATE or head in SCENES)  # `playing the witch`, `playing restaurant`
    return verb in _SAID or is_role or head in _FIGURES.get(verb, ())


def may_be_worn_too(target: str) -> bool:
    """Return whether a further member of a list may be worn: `a witch in a hat and a broom` wears no broom."""
    head = singular(target.partition(" of ")[0]).split()[-1]
    return head in CLOTHES | _ACCESSORIES or not (head in _NOT_WORN or is_known_noun(head))


def makes_sense(word: str, target: str) -> bool:
    """Return whether a thing can be the object of a relation: nobody holds a kitchen."""
    head = singular(target.partition(" of ")[0]).split()[-1]
    return word not in _TAKING or head not in _NOT_TAKEN
