"""Carries out an instruction on the scene of a picture. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.editing.instructions import Instruction
from gems_actors.backends.storyboard.scene import Claim, Relation, Scene, Thing, is_negative
from gems_actors.backends.storyboard.words import COLOURS, OPPOSITES, SURFACES

_AXES: Final = ("left of", "right of", "above", "below", "under", "on top of", "in front of", "behind", "inside")


def apply(base: Scene, instruction: Instruction, carried: Scene, lost: frozenset[Claim]) -> Scene:
    """Return a scene with an instruction carried out; the rest of the scene stays as it is.

    Args:
        base: the scene.
        instruction: the instruction.
        carried: what the instruction asks for, as it is carried out: with errors, and without what is lost.
        lost: the claims of the instruction that are not carried out.
    """
    names = {thing.name for thing in carried.things}
    absent = {name for name in instruction.scene.absent if Claim("count", name, "0") not in lost}
    exchanged = {old: new for old, new in instruction.exchanged if new in names and (old in absent or old == new)}
    gone = absent - exchanged.keys()
    found = {item.name: _name_in(base, item) for item in (*carried.things, *map(Thing, (*exchanged, *gone)))}
    places = {found[old]: new for old, new in exchanged.items()}
    kept = [thing for thing in base.things if thing.name not in {found[name] for name in gone}]
    scene = replace(
        base,
        things=tuple(replace(thing, name=places.get(thing.name, thing.name)) for thing in kept),
        relations=tuple(_renamed(item, places) for item in base.relations),
        texts=_texts(base, instruction, carried),
        styles=carried.styles or base.styles,
        settings=carried.settings or base.settings,
    )
    for thing in carried.things:
        name = thing.name if thing.name in places.values() else found[thing.name]
        scene = _with_thing(scene, replace(thing, name=name), thing.name in instruction.added)
    names_now = {thing.name for thing in scene.things}
    new = [_renamed(item, found) for item in carried.relations]
    old = [item for item in scene.relations if not any(_is_replaced(item, other) for other in new)]
    relations = [item for item in (*new, *old) if names_now.issuperset((item.subject, *item.objects))]
    return replace(scene, relations=tuple(dict.fromkeys(relations)))


def _name_in(base: Scene, thing: Thing) -> str:
    """Return the name that a thing has in a scene: its own, or that of the only individual of its kind."""
    if base.find_thing(thing.name) is None:
        alike = [known.name for known in base.things if known.name.endswith(f" {thing.name}")]
        if len(alike) == 1:
            return alike[0]
    return thing.name


def _renamed(relation: Relation, names: dict[str, str]) -> Relation:
    objects = tuple(names.get(name, name) for name in relation.objects)
    return replace(relation, subject=names.get(relation.subject, relation.subject), objects=objects)


def _texts(base: Scene, instruction: Instruction, carried: Scene) -> tuple[str, ...]:
    """Return the texts afterwards: a new one takes the place of the one it is to replace, or of the only one."""
    gone = {text.casefold() for text in instruction.gone_texts}
    if "text" in gone or (carried.texts and not gone and len(base.texts) == 1):
        return carried.texts
    return tuple(dict.fromkeys([*(text for text in base.texts if text.casefold() not in gone), *carried.texts]))


def _with_thing(scene: Scene, thing: Thing, is_addition: bool) -> Scene:
    """Return the scene with a thing; what is said of one that is there replaces the same about it."""
    known = scene.find_thing(thing.name)
    if known is None:
        return scene.with_thing(thing)
    count = known.count + thing.count if is_addition else thing.count if thing.is_counted else known.count
    replaced = [family for family in (COLOURS, SURFACES) if any(word in family for word in thing.attributes)]
    denied = {word.removeprefix("not ") for word in (*thing.attributes, *thing.actions) if is_negative(word)}
    stays = [word for word in known.attributes if word not in denied and not any(word in family for family in replaced)]
    attributes = [word for word in (*stays, *thing.attributes) if not is_negative(word)]
    return scene.with_thing(
        replace(
            known,
            count=count,
            attributes=tuple(dict.fromkeys(attributes)),
            actions=tuple(word for word in dict.fromkeys([*known.actions, *thing.actions]) if not is_negative(word)),
            values=thing.values or known.values,
        )
    )


def _is_replaced(old: Relation, new: Relation) -> bool:
    """Return whether a new relation contradicts an old one: another place of the same pair, or what it denies."""
    if {old.subject, *old.objects} != {new.subject, *new.objects}:
        return old.subject == new.subject and new.kind == "position" and new.word in _AXES and old.word in _AXES
    if new.word.removeprefix("not ") == old.word or OPPOSITES.get(new.word) == old.word:
        return True
    return new.kind == "position" and old.kind == "position" and old.word in _AXES
