"""What a prompt asks for, as plain records, and its decomposition into yes/no claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from gems_actors.backends.storyboard.words import COLOURS, SURFACES

Kind = Literal["object", "count", "attribute", "position", "action", "text", "style", "other"]
MAX_CLAIMS = 40


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement that is true or false of a picture."""

    kind: Kind
    subject: str = ""
    """Name of the thing it is about, in the singular; empty for a text or a style."""
    value: str = ""
    """Count in digits, colour or other attribute, position, verb, text, or a chart's value such as `apples=30`."""
    objects: tuple[str, ...] = ()
    """Names of the things that the position or action relates to, in the singular."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing, or a group of equal things."""

    name: str
    """Name in the singular."""
    count: int = 1
    """Number drawn."""
    is_counted: bool = False
    """Whether the prompt states the count, which makes it a requirement."""
    attributes: tuple[str, ...] = ()
    """Colours, surfaces and other adjectives, in the order given."""
    actions: tuple[str, ...] = ()
    """Actions without an object, such as `running`."""
    values: tuple[tuple[str, str], ...] = ()
    """Labels and numbers of a chart."""

    @property
    def colours(self) -> tuple[str, ...]:
        """Colours that are shown as fill, at most two because a tile has two halves."""
        return tuple(word for word in self.attributes if word in COLOURS)[:2]

    @property
    def surface(self) -> str:
        """Material or pattern that is shown as texture, at most one; empty without any."""
        return next((word for word in self.attributes if word in SURFACES), "")

    @property
    def written(self) -> tuple[str, ...]:
        """Attributes, actions and values that a tile cannot show and that are written below the name."""
        shown = {*self.colours, self.surface}
        values = tuple(f"{name} {number}" for name, number in self.values)
        return tuple(word for word in self.attributes if word not in shown) + self.actions + values


@dataclass(frozen=True, slots=True)
class Relation:
    """Position or action of one thing with respect to others."""

    subject: str
    word: str
    objects: tuple[str, ...]
    kind: Literal["position", "action"]

    @property
    def claim(self) -> Claim:
        """This relation as a claim."""
        return Claim(self.kind, self.subject, self.word, self.objects)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a prompt asks for."""

    things: tuple[Thing, ...] = ()
    relations: tuple[Relation, ...] = ()
    texts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    stress: tuple[tuple[Claim, int], ...] = ()
    """Emphasis on claims: 1 for a clause that states it, one more for each exclamation mark."""

    def find_thing(self, name: str) -> Thing | None:
        """Return the thing with this name, or None."""
        return next((thing for thing in self.things if thing.name == name), None)

    def is_plural(self, name: str) -> bool:
        """Return whether the thing with this name is a group."""
        thing = self.find_thing(name)
        return thing is not None and thing.count > 1

    def with_thing(self, thing: Thing) -> Scene:
        """Return the scene with the thing added, or replacing one with the same name."""
        if self.find_thing(thing.name) is None:
            return replace(self, things=(*self.things, thing))
        return replace(self, things=tuple(thing if old.name == thing.name else old for old in self.things))


def claims_of(scene: Scene) -> list[Claim]:
    """Return up to `MAX_CLAIMS` claims of a scene, the existence of a thing before what depends on it."""
    claims: list[Claim] = []
    for thing in scene.things:
        claims.extend(_claims_of_thing(thing))
    claims.extend(relation.claim for relation in scene.relations)
    claims.extend(Claim("text", value=text) for text in scene.texts)
    claims.extend(Claim("style", value=style) for style in scene.styles)
    existence = [claim for claim in claims if claim.kind == "object"]
    rest = [claim for claim in claims if claim.kind != "object"]
    kept = {*existence[:MAX_CLAIMS], *rest[: MAX_CLAIMS - len(existence)]}
    return list(dict.fromkeys(claim for claim in claims if claim in kept))


def _claims_of_thing(thing: Thing) -> Iterator[Claim]:
    yield Claim("object", thing.name)
    if thing.is_counted:
        yield Claim("count", thing.name, str(thing.count))
    for word in thing.attributes:
        yield Claim("attribute", thing.name, word)
    for word in thing.actions:
        yield Claim("action", thing.name, word)
    for name, number in thing.values:
        yield Claim("other", thing.name, f"{name}={number}")
