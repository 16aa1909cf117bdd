"""What a prompt asks for, as plain records, and its decomposition into yes/no claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from gems_actors.backends.storyboard.words import COLOURS, SURFACES, is_participle

Kind = Literal["object", "count", "attribute", "position", "action", "text", "style", "other"]
RelationKind = Literal["position", "action"]
MAX_CLAIMS = 40


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement that is true or false of a picture."""

    kind: Kind
    subject: str = ""
    """Name of the thing it is about, in the singular; empty for a text or a style."""
    value: str = ""
    """Count in digits, colour or other attribute, position, verb, text, or a chart's value such as `apples=30`.

    A count of 0 says that the picture must not show the thing. A value that begins with `not`, and the position
    `without`, say so of its subject. The subject of time and weather, such as `at night`, is empty.
    """
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
        """Attributes, actions and values that a tile cannot show and that are written below the name, each once."""
        shown = {*self.colours, self.surface}
        values = tuple(f"{name} {number}" for name, number in self.values)
        attributes = (word for word in self.attributes if word not in shown)
        return tuple(dict.fromkeys((*attributes, *self.actions, *values)))


@dataclass(frozen=True, slots=True)
class Relation:
    """Position or action of one thing with respect to others."""

    subject: str
    word: str
    objects: tuple[str, ...]
    kind: RelationKind

    @property
    def is_negative(self) -> bool:
        """Whether it says what is not so; its objects need not be in the scene."""
        return is_negative(self.word)

    @property
    def claim(self) -> Claim:
        """This relation as a claim."""
        return Claim(self.kind, self.subject, self.word, self.objects)


@dataclass(frozen=True, slots=True)
class Wording:
    """How a prompt says what its claims name, so that questions say it in the same way."""

    names: tuple[tuple[str, str, str], ...] = ()
    """Names with capital letters: the name, its article (`a` for any common noun), and how it is written, such as
    `golden gate bridge`, `the` and `Golden Gate Bridge`."""
    plurals: frozenset[str] = frozenset()
    """Names that the prompt has only in the plural."""
    places: tuple[tuple[str, str], ...] = ()
    """Places and actions as they are written: `on` for `on top of`, `being washed by` for `washed by`."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Colours and materials as they are written: `lavender` for `purple`."""

    def joined(self, other: Wording) -> Wording:
        """Return the wording of two prompts."""
        return Wording(
            self.names + other.names,
            self.plurals | other.plurals,
            self.places + other.places,
            self.attributes + other.attributes,
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a prompt asks for."""

    things: tuple[Thing, ...] = ()
    relations: tuple[Relation, ...] = ()
    texts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    totals: tuple[tuple[str, int], ...] = ()
    """Kinds whose individuals are things of their own, such as a black and a white dog, and the number of all."""
    absent: tuple[str, ...] = ()
    """Names of what the picture must not show."""
    settings: tuple[str, ...] = ()
    """Time and weather, such as `at night`."""
    not_understood: tuple[str, ...] = ()
    """Words of the prompt from which no claim follows."""
    stress: tuple[tuple[Claim, int], ...] = ()
    """Emphasis on claims: 1 for a clause that states it, one more for each exclamation mark."""
    wording: Wording = field(default=Wording(), compare=False)
    """How the prompt says it; scenes that ask for the same are equal, however they say it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is written at the edge: styles, time and weather, and why a picture is empty."""
        notes = (*(f"style: {style}" for style in self.styles), *(f"scene: {setting}" for setting in self.settings))
        is_empty = not (self.things or self.texts or notes)
        return (*notes, *(f"not understood: {words}" for words in self.not_understood[:1] if is_empty))

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


def is_negative(value: str) -> bool:
    """Return whether the value of a claim says what is not so."""
    return value == "without" or value.startswith("not ")


def claims_of(scene: Scene) -> list[Claim]:
    """Return up to `MAX_CLAIMS` claims of a scene, the existence of a thing before what depends on it."""
    claims: list[Claim] = []
    for thing in scene.things:
        claims.extend(_claims_of_thing(thing))
    claims.extend(Claim("count", name, str(count)) for name, count in scene.totals)
    claims.extend(Claim("count", name, "0") for name in scene.absent)
    claims.extend(relation.claim for relation in scene.relations)
    claims.extend(Claim("text", value=text) for text in scene.texts)
    claims.extend(Claim("style", value=style) for style in scene.styles)
    claims.extend(Claim("other", value=setting) for setting in scene.settings)
    existence = [claim for claim in claims if claim.kind == "object"]
    rest = [claim for claim in claims if claim.kind != "object"]
    kept = {*existence[:MAX_CLAIMS], *rest[: MAX_CLAIMS - len(existence)]}
    return list(dict.fromkeys(claim for claim in claims if claim in kept))


def attribute_claim(name: str, word: str) -> Claim:
    """Return the claim that a thing has an attribute; a participle such as `smiling` is an action."""
    is_action = is_participle(word.removeprefix("not ").split()[0]) and word not in SURFACES
    return Claim("action" if is_action else "attribute", name, word)


def _claims_of_thing(thing: Thing) -> Iterator[Claim]:
    yield Claim("object", thing.name)
    if thing.is_counted:
        yield Claim("count", thing.name, str(thing.count))
    for word in thing.attributes:
        if f"{word} " not in f"{thing.name.rpartition(' ')[0]} ":  # an individual has its colour in its name
            yield attribute_claim(thing.name, word)
    for word in thing.actions:
        yield Claim("action", thing.name, word)
    for name, number in thing.values:
        yield Claim("other", thing.name, f"{name}={number}")
