"""Collects the things and relations of a prompt, and tells individuals of one kind apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.english.kinds import ANIMATE, HUMANS
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.scene import Relation, RelationKind, Scene, Thing
from gems_actors.backends.storyboard.words import COLOURS

MAX_THINGS: Final = 14
_MAX_ABSENT: Final = 6


class Collector:
    """The things and relations found so far."""

    def __init__(self, max_things: int) -> None:
        """Collect up to `max_things` things."""
        self.things: dict[str, Thing] = {}
        self._max_things = max_things
        self._relations: list[Relation] = []
        self._absent: list[str] = []
        self._kinds: set[str] = set()
        """Kinds of which there are several things with names of their own."""
        self._parts: dict[str, list[Thing]] = {}
        """Individuals by the name of their group."""

    def add(self, phrase: Phrase) -> str | None:
        """Add a thing, or find the one that a phrase refers to; return its name, or None if there is no room."""
        thing = phrase.thing
        referred = self._referred(phrase)
        if referred is None:
            other = self.things.get(thing.name)
            if other is not None:
                thing = self._told_apart(other, phrase)
            elif thing.name in self._kinds and thing.attributes:
                thing = replace(thing, name=f"{thing.attributes[0]} {thing.name}")
            if thing.name not in self.things and len(self.things) >= self._max_things:
                return None
            self.things[thing.name] = thing
            return thing.name
        new = tuple(word for word in thing.attributes if word not in referred.attributes)
        self.things[referred.name] = replace(referred, attributes=referred.attributes + new)
        return referred.name

    def describe(self, name: str, *, attribute: str = "", action: str = "") -> bool:
        """Add an attribute or an action to a thing; return whether there is such a thing."""
        thing = self.things.get(name)
        if thing is None:
            return False
        if attribute and attribute not in thing.attributes:
            thing = replace(thing, attributes=(*thing.attributes, attribute))
        if action and action not in thing.actions:
            thing = replace(thing, actions=(*thing.actions, action))
        self.things[name] = thing
        return True

    def uncount(self, name: str) -> None:
        """Note that there are more things of a name, so that its number is no requirement."""
        self.things[name] = replace(self.things[name], is_counted=False)

    def relate(self, subject: str, word: str, objects: tuple[str, ...], kind: RelationKind) -> None:
        """Add a relation between different things."""
        relation = Relation(subject, word, objects, kind)
        if subject not in objects and relation not in self._relations:
            self._relations.append(relation)

    def has_rival(self, group: str) -> bool:
        """Return whether `them` after a group may mean others, too: things that are no objects of a relation."""
        objects = {name for relation in self._relations for name in relation.objects}
        is_alive = group.split()[-1] in ANIMATE
        rivals = (name for name in self.things if name != group and name not in objects)
        return any((name.split()[-1] in ANIMATE) == is_alive for name in rivals)

    def exclude(self, name: str) -> bool:
        """Note that the picture must not show something; return whether that is new and agrees with what it shows."""
        if name in self.things or (name == "person" and any(is_human(known) for known in self.things)):
            return False
        if name not in self._absent:
            self._absent.append(name)
        return len(self._absent) <= _MAX_ABSENT

    def split(self, group: str, count: int, attributes: tuple[str, ...]) -> str | None:
        """Tell individuals of a group apart, as in `two dogs, one black`; return the name of these."""
        whole = self.things.get(group)
        if whole is None or len(self.things) + len(self._parts.get(group, ())) >= self._max_things:
            return None
        name = f"{attributes[0]} {group}"
        self._parts.setdefault(group, []).append(Thing(name, count, True, (*whole.attributes, *attributes)))
        return name

    def scene(self) -> Scene:
        """Return everything found."""
        totals = tuple((name, self.things[name].count) for name in self._parts if self.things[name].is_counted)
        gone: dict[str, tuple[str, ...]] = {}
        things: list[Thing] = []
        for thing in self.things.values():
            parts = self._parts.get(thing.name, [])
            rest = thing.count - sum(part.count for part in parts)
            if not parts or (rest > 0 and thing.is_counted):
                things.append(replace(thing, count=rest, is_counted=False) if parts else thing)
            else:
                gone[thing.name] = tuple(part.name for part in parts)
            things.extend(parts)
        names = {thing.name for thing in things}
        whole = (relation for relation in self._relations if not self._is_between_parts(relation))
        relations = (expanded for relation in whole for expanded in _expand(relation, gone))
        kept = dict.fromkeys(
            relation
            for relation in relations
            if relation.subject in names and (relation.is_negative or names.issuperset(relation.objects))
        )
        is_peopled = any(map(is_human, names))
        absent = tuple(name for name in self._absent if name not in names and not (is_peopled and name == "person"))
        return Scene(tuple(things), tuple(kept), totals=totals, absent=absent[:_MAX_ABSENT])

    def _is_between_parts(self, relation: Relation) -> bool:
        """Return whether it is `between two pumpkins`, one of which is a thing of its own."""
        return relation.word.endswith("between") and len(relation.objects) == 1 and relation.objects[0] in self._parts

    def _referred(self, phrase: Phrase) -> Thing | None:
        """Return the earlier thing that a phrase refers to, or None if it is another one."""
        thing = phrase.thing
        if phrase.is_definite or thing.name in self._kinds:
            for name, other in self.things.items():
                if name.endswith(f" {thing.name}") and thing.attributes and {*thing.attributes} <= {*other.attributes}:
                    return other
        known = self.things.get(thing.name)
        if known is None and phrase.is_definite and not thing.attributes:
            longer = [other for name, other in self.things.items() if name.endswith(f" {thing.name}")]
            return longer[0] if len(longer) == 1 else None  # `the boat` is the fishing boat
        if known is None or phrase.is_definite:
            return known
        is_among = phrase.is_plural and known.count == 1 and bool(thing.attributes)  # `a rubber duck among real ducks`
        if is_among or _differ(known, thing):
            return None
        new = [word for word in thing.attributes if word not in known.attributes]
        if phrase.stated == 1 and new and known.attributes and known.count == 1:
            return None  # `a young man facing an older man`
        is_same = not thing.is_counted or (not new and thing.count == known.count)
        return known if is_same else None

    def _told_apart(self, known: Thing, phrase: Phrase) -> Thing:
        """Return a further individual under a name of its own, and give the known one a name of its own, too."""
        thing = phrase.thing
        new = [word for word in thing.attributes if word not in known.attributes]
        old = [word for word in known.attributes if word not in thing.attributes]
        self._kinds.add(known.name)
        if new and old and f"{old[0]} {known.name}" not in self.things:
            self._rename(known, f"{old[0]} {known.name}")
        return replace(thing, name=f"{new[0] if new else 'other'} {thing.name}")

    def _rename(self, known: Thing, name: str) -> None:
        self.things = {
            name if other == known.name else other: replace(thing, name=name) if other == known.name else thing
            for other, thing in self.things.items()
        }
        self._relations = [
            replace(
                relation,
                subject=name if relation.subject == known.name else relation.subject,
                objects=tuple(name if item == known.name else item for item in relation.objects),
            )
            for relation in self._relations
        ]


def is_human(name: str) -> bool:
    """Return whether the name of a thing says that it is a person."""
    return " of " not in name and name.rpartition(" ")[2] in HUMANS


def _differ(known: Thing, thing: Thing) -> bool:
    """Return whether two phrases name things of one kind that cannot be the same, as `a red ball` and `a blue ball`."""
    new, old = ({word for word in each.attributes if word in COLOURS} for each in (thing, known))
    return bool(new and old and new.isdisjoint(old))


def _expand(relation: Relation, gone: dict[str, tuple[str, ...]]) -> Iterator[Relation]:
    """Yield a relation of a group for each of its individuals."""
    if (
        relation.word.endswith("between")
        and not gone.keys().isdisjoint(relation.objects)
        and len(relation.objects) == 1
    ):
        return  # `between two pumpkins, one of which is carved`
    for subject in gone.get(relation.subject, (relation.subject,)):
        if len(relation.objects) == 1:
            for item in gone.get(relation.objects[0], relation.objects):
                yield replace(relation, subject=subject, objects=(item,))
        else:
            yield replace(relation, subject=subject)
