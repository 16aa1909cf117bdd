"""What a prompt asks for, as plain records, and the single yes/no claims it comes apart into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from gems_actors.backends.storyboard.words import COLOURS, SURFACES

Kind = Literal["object", "count", "attribute", "position", "action", "text", "style", "other"]
MAX_CLAIMS = 40


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a picture does or does not show."""

    kind: Kind
    subject: str = ""
    """The thing it is about, in the singular; empty for a text or a style."""
    value: str = ""
    """A count in digits, a colour or other word, a place, a verb, the text itself, or `apples=30` of a chart."""
    objects: tuple[str, ...] = ()
    """What the subject stands beside or acts on, in the singular."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A group of like things, or one thing."""

    name: str
    """In the singular."""
    count: int = 1
    """How many are drawn."""
    is_counted: bool = False
    """The prompt states the count, so it is a requirement."""
    attributes: tuple[str, ...] = ()
    """Colours, surfaces and any other words, in the order given."""
    actions: tuple[str, ...] = ()
    """What it does to nothing in particular: `running`."""
    values: tuple[tuple[str, str], ...] = ()
    """Of a chart: each name and its number."""

    @property
    def colours(self) -> tuple[str, ...]:
        """The colours shown as fill; a tile has two halves, so at most two."""
        return tuple(word for word in self.attributes if word in COLOURS)[:2]

    @property
    def surface(self) -> str:
        """The material or pattern shown as texture; a tile has one."""
        return next((word for word in self.attributes if word in SURFACES), "")

    @property
    def written(self) -> tuple[str, ...]:
        """What no tile can show, to be written under the name."""
        shown = {*self.colours, self.surface}
        values = tuple(f"{name} {number}" for name, number in self.values)
        return tuple(word for word in self.attributes if word not in shown) + self.actions + values


@dataclass(frozen=True, slots=True)
class Relation:
    """One thing's place or deed with respect to others."""

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
    """How strongly the prompt insists on a claim: 1 for a clause of its own, one more for each exclamation mark."""

    def find_thing(self, name: str) -> Thing | None:
        """Return the thing of this name, if the scene has it."""
        return next((thing for thing in self.things if thing.name == name), None)

    def is_plural(self, name: str) -> bool:
        """Tell whether the thing of this name is more than one."""
        thing = self.find_thing(name)
        return thing is not None and thing.count > 1

    def with_thing(self, thing: Thing) -> Scene:
        """Return the scene with the thing of that name replaced, or added at the end."""
        if self.find_thing(thing.name) is None:
            return replace(self, things=(*self.things, thing))
        return replace(self, things=tuple(thing if old.name == thing.name else old for old in self.things))


def claims_of(scene: Scene) -> list[Claim]:
    """Take a scene apart into at most `MAX_CLAIMS` claims, a thing's existence before what depends on it."""
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
