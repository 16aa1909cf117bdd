"""Tells whether a picture that a prompt names is itself a thing in a room, or what the prompt wants to be drawn as."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from gems_actors.backends.storyboard.english.kinds import ANIMATE, HUMANS, ROOMS, SCENES, SEATS, SUPPORTS, VEHICLES
from gems_actors.backends.storyboard.words import singular, word_set

_WITHIN: Final = r"(?:(?!\b(?:that|which|who|where|and|as|while|whose|with)\b)[^,.;:\n])*?"
"""Words of one clause."""
_FURNITURE: Final = word_set(
    "desk nightstand mantel mantelpiece shelf bookshelf dresser sideboard fridge refrigerator easel wall board "
    "corkboard door piano"
)
"""What pictures are put on."""
_BELOW_PICTURES: Final = word_set(
    "fireplace mantel mantelpiece sofa couch bed headboard desk dresser sideboard piano bar stairs staircase"
)
PICTURES: Final = word_set(
    "painting drawing sketch poster portrait illustration print engraving watercolor watercolour"
)
HANGING: Final = word_set("hung mounted propped pinned taped tacked nailed glued")
"""Participles of pictures rather than of what they show."""
_STATED = re.compile(
    _WITHIN + r"\b(?P<place>(?:hangs|hung|hang|leans|rests"
    r"|(?:is|are|was|were) (?:hanging|hung|mounted|displayed|leaning|propped"
    r"|framed|pinned|taped|placed|lying|sold)"
    r"|(?:hung|mounted|propped|pinned|taped|tacked|nailed|glued) (?:to|on|above|over|against|up|in)"
    r"|in(?:side)? an? (?:\w+ )?frame)\b[^,.;:\n]*)",
    re.IGNORECASE,
)
"""What only a picture as a thing is said to do: `a painting of a storm hangs above the fireplace`."""
_PLACED = re.compile(
    rf"(?P<shown>{_WITHIN}(?P<head>[\w-]+)) "
    r"(?P<place>(?:(?P<verb>hanging|leaning|standing|lying|sitting|resting) )?"
    r"(?P<word>on|above|over|in|behind|against|inside|next to|near) "
    r"(?:the|an?|his|her|their|my) (?:\w+ ){0,2}?(?P<target>[\w-]+))(?=[,.;:\n]|$| (?:of|in|with|and|next|beside) )",
    re.IGNORECASE,
)

_OWNER = re.compile(r" of [^,.;:\n]+")


AROUND_PICTURES: Final = SEATS | SUPPORTS | _FURNITURE | _BELOW_PICTURES | ROOMS | {"frame", "hook", "nail"}
"""Where pictures are, rather than what they show."""


class Picture(Enum):
    """What a picture is that a prompt names."""

    WHOLE = 1
    """All that is drawn."""
    THING = 2
    """A thing in what is drawn."""
    OPEN = 3
    """Either of these: where it says that something is, that is the picture or what it shows."""


def shows_something(name: str) -> bool:
    """Return whether a thing is a picture of something, whose place may be that of what it shows."""
    head, of, _ = name.partition(" of ")
    return bool(of) and head.split()[-1] in PICTURES


def what_picture(text: str, at: int) -> tuple[Picture, tuple[int, int]]:
    """Return what a picture is whose content the text names from `at` on, and the span of its place."""
    if stated := _STATED.match(text, at):
        return Picture.THING, stated.span("place")
    placed = _PLACED.match(text, at)
    if placed is None:
        return Picture.WHOLE, (at, at)
    owner = _OWNER.match(text, placed.end())
    is_put = placed["word"].lower() == "on" and singular(placed["target"].lower()) in _FURNITURE
    if owner is not None and is_put:  # `a picture of a bride on the wall of a bar`
        return Picture.OPEN, (placed.start("place"), owner.end())
    head, target = singular(placed["head"].lower()), singular(placed["target"].lower())
    return _placed(head, (placed["verb"] or "").lower(), placed["word"].lower(), target), placed.span("place")


def _placed(head: str, verb: str, word: str, target: str) -> Picture:
    is_large = head in HUMANS | SCENES | VEHICLES
    if verb == "leaning":
        return Picture.WHOLE if head in HUMANS else Picture.THING
    is_below = target in _BELOW_PICTURES or (is_large and target in SEATS | SUPPORTS)
    is_over = word in {"above", "over"} and is_below
    if verb == "hanging" or is_over:
        is_indoors = is_over or target in ROOMS | {"wall"} or head in SCENES | VEHICLES
        return Picture.THING if is_indoors else Picture.WHOLE
    if word == "on" and target in _FURNITURE:
        return Picture.THING if is_large else Picture.OPEN if head in ANIMATE else Picture.WHOLE
    return Picture.WHOLE
