"""Parses a prompt into a scene with a small grammar of noun phrases, positions and actions.

It accepts any text: what it does not understand is left out, and the number of words is bounded.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, Literal

from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.phrases import PhraseReader, tokens_of
from gems_actors.backends.storyboard.scene import Claim, Relation, Scene, Thing
from gems_actors.backends.storyboard.words import (
    BREAKERS,
    DETERMINERS,
    LONGEST_PLACE,
    PLACES,
    STYLE_PHRASES,
    STYLES,
    is_participle,
)

STRESS_OPENING: Final = "Make sure:"
DIRECTION_OPENING: Final = "Direction:"
"""Opening of the line that a skill appends: advice on style, in which no noun is a thing to draw."""
MAX_TEXT_CHARACTERS: Final = 600
MAX_TEXTS: Final = 6
MAX_THINGS: Final = 14
MAX_PROSE_THINGS: Final = 8
MAX_CHART_VALUES: Final = 12
_RelationKind = Literal["position", "action"]
_MAX_STRESS: Final = 4
_MAX_TOKENS: Final = 1200
_MAX_CLAUSES: Final = 60

_QUOTED = re.compile(
    r"“([^”]{1,4000})”|\"([^\"]{1,4000})\"|「([^」]{1,4000})」|『([^』]{1,4000})』|«([^»]{1,4000})»"
    r"|(?<!\w)'([^'\n]{2,4000})'(?!\w)|(?<!\w)‘([^’\n]{2,4000})’(?!\w)"
)
_CHART = re.compile(
    r"\b(?:an? |the )?((?:bar|line|pie) (?:chart|graph)|histogram)\b([^:.\n]{0,80}):"
    r"((?:[^\S\n]*(?:and )?[^\W\d][^\d,;:\n]{0,40}[ =:]\d[\d.]*%?[^\S\n]*[,;]?)+)",
    re.IGNORECASE,
)
_CHART_VALUE = re.compile(r"(?:and )?([^\W\d][^\d,;:\n]*?)[ =:]+(\d[\d.]*%?)")
_STRESSED_CLAUSE = re.compile(r'((?:"[^"]*"|[^;"!])+)(!*)')
_STYLE = re.compile(
    r"\b(?:in (?:the )?style of |an? )?("
    + "|".join((*STYLE_PHRASES, *sorted(STYLES)))
    + r")(?: style| painting| photo)?\b",
    re.IGNORECASE,
)


def parse_scene(prompt: str) -> Scene:
    """Return the scene of any prompt; stressed clauses add emphasis to what the prompt already asks for."""
    description, _, stressed = prompt.partition(STRESS_OPENING)
    scene = _SceneBuilder().build(description.partition(DIRECTION_OPENING)[0])
    for clause in _STRESSED_CLAUSE.finditer(stressed):
        if (claim := parse_claim(clause[1])) is not None and len(scene.stress) < _MAX_CLAUSES:
            scene = _stress(scene, claim, min(1 + len(clause[2]), _MAX_STRESS))
    return scene


def _stress(scene: Scene, claim: Claim, level: int) -> Scene:
    """Return the scene with a claim stressed; it is added if the scene does not contain it."""
    if len(scene.things) < MAX_THINGS and claim.subject and scene.find_thing(claim.subject) is None:
        scene = scene.with_thing(Thing(claim.subject))
    thing = scene.find_thing(claim.subject)
    match claim.kind:
        case "count" if thing:
            scene = scene.with_thing(replace(thing, count=int(claim.value), is_counted=True))
        case "attribute" if thing and claim.value not in thing.attributes:
            scene = scene.with_thing(replace(thing, attributes=(*thing.attributes, claim.value)))
        case "position" | "action" if thing and claim.objects:
            relation = Relation(claim.subject, claim.value, claim.objects, claim.kind)
            if relation not in scene.relations and all(scene.find_thing(name) for name in claim.objects):
                scene = replace(scene, relations=(*scene.relations, relation))
        case "action" if thing and claim.value not in thing.actions:
            scene = scene.with_thing(replace(thing, actions=(*thing.actions, claim.value)))
        case "text" if claim.value not in scene.texts and len(scene.texts) < MAX_TEXTS:
            scene = replace(scene, texts=(*scene.texts, claim.value))
        case "style" if claim.value not in scene.styles:
            scene = replace(scene, styles=(*scene.styles, claim.value))
        case _:
            pass
    return replace(scene, stress=(*scene.stress, (claim, level)))


class _SceneBuilder:
    """Builds a scene while reading the tokens of one prompt."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.last: str | None = None
        """Subject of the next position or action."""
        self.pending: tuple[str, str, _RelationKind] | None = None
        """Subject, word and kind of a relation whose object is still to come."""
        self.max_things = MAX_THINGS
        self.renamed: dict[str, str] = {}

    def build(self, text: str) -> Scene:
        text = self._take_styles(self._take_charts(self._take_texts(text)))
        tokens = tokens_of(text)[:_MAX_TOKENS]
        reader = PhraseReader(tokens)
        at = 0
        self.max_things = MAX_PROSE_THINGS if reader.is_prose else MAX_THINGS
        while at < len(tokens):
            at = self._take(tokens, reader, at)
        if not self.scene.things and not self.scene.texts:
            self._take_fallback(text, tokens)
        return self.scene

    def _take_fallback(self, text: str, tokens: list[str]) -> None:
        """Turn a prompt that names nothing into one thing, or into a sign if it has no words."""
        words = [
            token for token in tokens if token[0].isalpha() and token not in DETERMINERS | BREAKERS | PLACES.keys()
        ]
        if words:
            self.scene = self.scene.with_thing(Thing(" ".join(words[:3])))
        elif text.strip():
            self.scene = replace(self.scene, texts=(" ".join(text.split())[:40].replace('"', "'"),))

    def _take(self, tokens: list[str], reader: PhraseReader, at: int) -> int:
        """Consume what begins at one token, and return the index after it."""
        token = tokens[at]
        if token in ".;\n":
            self.last = self.pending = None
            return at + 1
        if token in {",", "and", "or"}:
            if not (token == "and" and self.pending and self.pending[1].startswith("between")):
                self.pending = None
            return at + 1
        if token in {"is", "are"} and (after := self._take_copula(reader, at + 1)) is not None:
            return after
        if token in {"no", "without"}:
            return reader.read(at + 1)[1]
        for length in range(min(LONGEST_PLACE, len(tokens) - at), 0, -1):
            place = PLACES.get(" ".join(tokens[at : at + length]))
            if place is not None:
                self._await_object(place, "position")
                return at + length
        if is_participle(token) and self.last is not None and self.pending is None:
            return self._take_action(tokens, reader, at)
        phrase, after = reader.read(at)
        if phrase is not None:
            self._add(phrase.thing, is_definite=phrase.is_definite, is_sure=phrase.is_sure)
        return max(after, at + 1)

    def _take_copula(self, reader: PhraseReader, at: int) -> int | None:
        """Consume attributes after a copula, such as `red and shiny` after `the car is`."""
        words, after = reader.read_attributes(at)
        thing = self.scene.find_thing(self.last) if self.last else None
        if not words or thing is None:
            return None
        added = tuple(word for word in words if word not in thing.attributes)
        self.scene = self.scene.with_thing(replace(thing, attributes=thing.attributes + added))
        return after

    def _take_action(self, tokens: list[str], reader: PhraseReader, at: int) -> int:
        verb, after = tokens[at], at + 1
        if after < len(tokens) and tokens[after] in PLACES | {"to": "", "for": "", "off": "", "up": "", "from": ""}:
            verb, after = f"{verb} {tokens[after]}", after + 1
        if reader.read(after)[0] is not None:
            self._await_object(verb, "action")
            return after
        thing = self.scene.find_thing(self.last or "")
        if thing is not None and tokens[at] not in thing.actions:
            self.scene = self.scene.with_thing(replace(thing, actions=(*thing.actions, tokens[at])))
        return after

    def _await_object(self, word: str, kind: _RelationKind) -> None:
        self.pending = (self.last, word, kind) if self.last is not None else None

    def _add(self, thing: Thing, *, is_definite: bool, is_sure: bool) -> None:
        """Add a thing or extend a known one, then complete the pending relation."""
        if not is_sure and self.pending is None:
            return
        thing = self._merge(thing, is_definite=is_definite)
        if self.scene.find_thing(thing.name) is None and len(self.scene.things) >= self.max_things:
            self.pending = None
            return
        self.scene = self.scene.with_thing(thing)
        self._relate(thing.name)
        self.last = thing.name

    def _merge(self, thing: Thing, *, is_definite: bool) -> Thing:
        known = self.scene.find_thing(self.renamed.get(thing.name, thing.name))
        if known is None:
            return thing
        new = tuple(word for word in thing.attributes if word not in known.attributes)
        if is_definite or not thing.is_counted or (not new and thing.count == known.count):
            return replace(known, attributes=known.attributes + new)
        qualified = f"{new[0] if new else 'other'} {thing.name}"
        self.renamed[qualified] = qualified
        return replace(thing, name=qualified)

    def _relate(self, name: str) -> None:
        if self.pending is None:
            return
        subject, word, kind = self.pending
        self.pending = None
        if word.startswith("between") and " " not in word:
            self.pending = (subject, f"between {name}", kind)
            return
        first = word.removeprefix("between ") if word.startswith("between ") else None
        objects = (name,) if first is None else (first, name)
        relation = Relation(subject, word if first is None else "between", objects, kind)
        if subject not in objects and relation not in self.scene.relations:
            self.scene = replace(self.scene, relations=(*self.scene.relations, relation))

    def _take_texts(self, text: str) -> str:
        """Remove quoted texts, which become signs."""
        for match in _QUOTED.finditer(text):
            words = re.sub(r"\s+", " ", next(group for group in match.groups() if group)).strip()[:MAX_TEXT_CHARACTERS]
            if words and words not in self.scene.texts and len(self.scene.texts) < MAX_TEXTS:
                self.scene = replace(self.scene, texts=(*self.scene.texts, words.replace('"', "'")))
        return _QUOTED.sub(" , ", text)

    def _take_charts(self, text: str) -> str:
        for match in _CHART.finditer(text):
            values = tuple(
                (name.strip().lower(), number.rstrip(".")) for name, number in _CHART_VALUE.findall(match[3])
            )[:MAX_CHART_VALUES]
            if len(self.scene.things) < MAX_THINGS:
                name = match[1].lower().replace("graph", "chart")
                self.scene = self.scene.with_thing(Thing(name, values=values))
        return _CHART.sub(" . ", text)

    def _take_styles(self, text: str) -> str:
        for match in _STYLE.finditer(text):
            style = match[1].lower().replace("watercolour", "watercolor")
            if style not in self.scene.styles and len(self.scene.styles) < 3:
                self.scene = replace(self.scene, styles=(*self.scene.styles, style))
        return _STYLE.sub(" ", text)
