"""The scene that a storyboard shows, from what the reader finds in its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.grid_layout import place_on_grid
from gems_actors.backends.storyboard.judging import relations_between
from gems_actors.backends.storyboard.reading import Seen, SeenCard
from gems_actors.backends.storyboard.scene import Relation, Scene, Thing
from gems_actors.backends.storyboard.words import PLACES

_TIGHT: Final = ("on top of", "in front of", "inside")
_LOOSE: Final = ("left of", "above")
"""Of each pair of opposite places one is enough."""
_STYLE: Final = "style: "
_SETTING: Final = "scene: "


def scene_of(seen: Seen) -> Scene:
    """Return the scene of a storyboard: things, looks, numbers, places and texts as they are seen."""
    scene = Scene(
        things=tuple(_thing_of(card) for card in seen.cards),
        texts=seen.texts,
        styles=tuple(note.removeprefix(_STYLE) for note in seen.notes if note.startswith(_STYLE)),
        settings=tuple(note.removeprefix(_SETTING) for note in seen.notes if note.startswith(_SETTING)),
    )
    written = len(place_on_grid(scene).notes)
    for relation in _relations_in(seen):
        more = replace(scene, relations=(*scene.relations, relation))
        notes = len(place_on_grid(more).notes)
        if notes == written or relation.word not in (*_TIGHT, *_LOOSE):  # what cannot be placed again is no loss
            scene, written = more, notes
    return scene


def _thing_of(card: SeenCard) -> Thing:
    surfaces = tuple(sorted(filter(None, card.surfaces)))
    values = tuple(_value_of(text) for text in card.written) if not card.count else ()
    is_chart = bool(values) and all(values)
    return Thing(
        card.name,
        count=max(1, card.count),
        attributes=(*sorted(card.colours), *surfaces[: len(surfaces) == 1], *(() if is_chart else card.written)),
        values=tuple(value for value in values if value) if is_chart else (),
    )


def _value_of(text: str) -> tuple[str, str] | None:
    """Return the label and the number of one value of a chart."""
    label, _, number = text.rpartition(" ")
    return (label, number) if label and any(map(str.isdigit, number)) else None


def _relations_in(seen: Seen) -> Iterator[Relation]:
    """Yield relations of a storyboard: those drawn as arrows or written, then tight places, then neighbours."""
    cards = seen.cards
    pairs = [(first, second) for first in cards for second in cards if first is not second]
    names = [(first.name, second.name) for first, second in pairs]
    words = {pair: relations_between(*pair, seen) or [] for pair in names}
    known = (*_TIGHT, *_LOOSE, "right of", "below", "under", "behind")
    for (subject, target), found in words.items():
        yield from (_relation(subject, word, target) for word in found if word not in known)
    for (subject, target), found in words.items():
        yield from (_relation(subject, word, target) for word in found if word in _TIGHT)
    for first, second in sorted(pairs, key=lambda pair: _distance(*pair)):
        yield from (
            _relation(first.name, word, second.name)
            for word in words[first.name, second.name]
            if word in _LOOSE and _is_level(word, first, second)
        )


def _relation(subject: str, word: str, target: str) -> Relation:
    return Relation(subject, word, (target,), "position" if word in PLACES else "action")


def _distance(first: SeenCard, second: SeenCard) -> int:
    return sum(abs(a - b) for a, b in zip(first.box, second.box, strict=True))


def _is_level(word: str, first: SeenCard, second: SeenCard) -> bool:
    """Return whether two cards share rows, for a place next to the other, or columns, for one above it."""
    start = 1 if word == "left of" else 0
    return first.box[start] < second.box[start + 2] and second.box[start] < first.box[start + 2]
