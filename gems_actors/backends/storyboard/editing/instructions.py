"""Reads an instruction about a picture: what is to be there afterwards, what is to go, and what takes whose place.

Plain verbs of editing in English; a clause with none of them describes what is to be there. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from gems_actors.backends.storyboard.grammar import DIRECTION_OPENING, STRESS_OPENING, add_claims, parse_scene
from gems_actors.backends.storyboard.scene import Relation, Scene, Thing, is_negative
from gems_actors.backends.storyboard.words import number_of, plural, singular

_MAX_CLAUSES: Final = 40
_POLITE: Final = re.compile(
    r"^(?:(?:please|now|then|also|and|next|just|but|instead|in addition|can you|could you)[\s,]+)+", re.IGNORECASE
)
_VERBS: Final = (
    r"add|insert|put|place|draw|include|show|give|remove|delete|erase|take|get rid|drop|replace|swap|exchange|"
    r"substitute|move|shift|make|turn|paint|colou?r|recolou?r|change|dye|write|keep|leave|do not|don't|there should|"
    r"ensure"
)
_CLAUSES: Final = re.compile(
    rf"(?:[.;\n]+|,?\s+(?:and|then|but)\s+(?=(?:then\s+|also\s+|please\s+)*(?:{_VERBS})\b)|,\s*(?=(?:{_VERBS})\b))"
    r'(?=(?:[^"]*"[^"]*")*[^"]*$)',
    re.IGNORECASE,
)
_AT_END: Final = re.compile(r"\s+(?:from|in|into|to|of) (?:the|this) (?:picture|image|photo|scene)$", re.IGNORECASE)
_KEPT: Final = re.compile(
    r"^(?:keep|leave|preserve|do not|don't|(?:everything|anything|all|nothing) else|the rest|apart from|otherwise)\b",
    re.IGNORECASE,
)
_GONE: Final = re.compile(r"^(?:remove|delete|erase|drop|get rid of|take (?:out|away|off))\s+(.+)$", re.IGNORECASE)
_EXCHANGED: Final = re.compile(
    r"^(?:(?:replace|swap|exchange|substitute)\s+(.+?)\s+(?:with|by|for)"
    r"|(?:turn|change)\s+(.+?)\s+(?:in)?to(?=\s+(?:an?|the)\s))\s+(.+)$",
    re.IGNORECASE,
)
_COUNTED: Final = re.compile(
    r"^(?:make|change|set|increase|reduce)\s+(?:the\s+)?number of\s+(.+?)\s+(?:(?:in)?to\s+)?(?:exactly\s+)?(\S+)$"
    r"|^make\s+(?:it|them)\s+(?:exactly\s+)?(?P<counted>\S+)\s+(?P<things>[a-z -]+)$",
    re.IGNORECASE,
)
_COLOURED: Final = re.compile(
    r"^(?:change|make|turn|set)\s+the\s+(?:colou?r|material|pattern|surface)\s+of\s+(.+?)\s+(?:(?:in)?to\s+)?(\S+)$",
    re.IGNORECASE,
)
_LOOKS: Final = re.compile(
    r"^(?:make|turn|paint|colou?r|recolou?r|change|dye)\s+(.+?)\s+(?:(?:in)?to\s+(?:be\s+)?)?(\S+)$", re.IGNORECASE
)
_STATED: Final = re.compile(
    r"^(?:(?:change|make|edit|draw)\s+.*?\bso that\s+|make sure(?:\s+that|:)?\s+|ensure(?:\s+that)?\s+)(.+)$",
    re.IGNORECASE,
)
_THERE: Final = re.compile(r"^there should be\s+(.+)$", re.IGNORECASE)
_ADDED: Final = re.compile(
    r"^(?:add|insert|put|place|draw|include|show|move|shift|make it|turn it into|change (?:it|the style) to)\s+(.+)$",
    re.IGNORECASE,
)
_GIVEN: Final = re.compile(r"^give\s+(the .+?)\s+((?:an?|the|\w+)\s+.+)$", re.IGNORECASE)
_WRITTEN: Final = re.compile(r'^(?:write|change (?:the )?(?:text|sign|words?)[^"]*)\s*"([^"]+)"', re.IGNORECASE)
_QUOTED: Final = re.compile(
    r'^(?:replace|change)\s+(?:the \w+ )?"([^"]+)"\s+(?:with|by|to|into)\s+"([^"]+)"$', re.IGNORECASE
)
_MORE: Final = re.compile(r"^(?:an?other|(\S+) more)\s+", re.IGNORECASE)


_SIGNS: Final = ("sign", "poster", "banner", "billboard", "plaque", "board", "label", "slogan")
_WORDS: Final = re.compile(r"(?:the |all |any |all the )?(?:texts?|words?|writing|letters|lettering)", re.IGNORECASE)
_ANY_TEXT: Final = "text"
"""Stands for all texts, which go with the sign that they are on."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """What an instruction asks for."""

    scene: Scene = field(default_factory=Scene)
    """What the picture must show afterwards, as far as the instruction says, and in `absent` what it must not."""
    exchanged: tuple[tuple[str, str], ...] = ()
    """Names of things, each with the name of the one that takes its place and its relations."""
    gone_texts: tuple[str, ...] = ()
    """Texts that go or that others replace; `text` is any of them."""
    added: frozenset[str] = frozenset()
    """Names of things that come in addition to any of their name."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all things that it is about, in order."""
        return tuple(dict.fromkeys([*(thing.name for thing in self.scene.things), *self.scene.absent]))


def parse_instruction(prompt: str) -> Instruction:
    """Return what an instruction asks for; any text is accepted, and what is not understood is listed in its scene."""
    words, _, stressed = prompt.partition(STRESS_OPENING)
    found = Instruction()
    for clause in _clauses_of(words.partition(DIRECTION_OPENING)[0]):
        found = _read(found, clause)
    return replace(found, scene=_claiming(found.scene, stressed))


def _clauses_of(text: str) -> Iterator[str]:
    for part in [part for part in _CLAUSES.split(text) if part.strip()][:_MAX_CLAUSES]:
        if clause := _POLITE.sub("", " ".join(part.split())).rstrip(" ,:?"):
            yield clause


def _read(found: Instruction, clause: str) -> Instruction:
    """Return the instruction with one more clause."""
    if match := _STATED.match(clause):
        return replace(found, scene=_claiming(found.scene, match[1]))
    clause = _AT_END.sub("", clause.rstrip("!"))
    if _KEPT.match(clause):
        return found
    if match := _QUOTED.match(clause):
        scene = replace(found.scene, texts=(*found.scene.texts, match[2]))
        return replace(found, scene=scene, gone_texts=(*found.gone_texts, match[1]))
    if match := _WRITTEN.match(clause):
        return replace(found, scene=replace(found.scene, texts=(*found.scene.texts, match[1])))
    if match := _GONE.match(clause):
        if _WORDS.fullmatch(match[1]):
            return replace(found, gone_texts=(*found.gone_texts, _ANY_TEXT))
        return _without(found, parse_scene(match[1]), match[1])
    if match := _COUNTED.match(clause):
        name, number = (match["things"], match["counted"]) if match["things"] else (match[1], match[2])
        if (count := number_of(number)) is not None:
            return _with(found, parse_scene(f"{number} {plural(singular(_bare(name))) if count > 1 else _bare(name)}"))
    if match := _EXCHANGED.match(clause):
        old, new = parse_scene(match[1] or match[2]), parse_scene(match[3])
        if old.things and new.things:
            pair = (old.things[0].name, new.things[0].name)
            changed = _with(replace(found, exchanged=(*found.exchanged, pair)), new)
            return _without(changed, old) if pair[0] != pair[1] else changed
    match = _COLOURED.match(clause) or _LOOKS.match(clause)
    if match and (looking := _looking(found, match[1], match[2])) is not None:
        return looking
    if match := _GIVEN.match(clause):
        return _with(found, parse_scene(f"{match[1]} with {match[2]}"))
    if match := _THERE.match(clause) or _ADDED.match(clause):
        return _with(found, parse_scene(_MORE.sub(lambda more: f"{more[1] or 'a'} ", match[1])), _MORE.match(match[1]))
    return _with(found, parse_scene(clause))


def _claiming(scene: Scene, clauses: str) -> Scene:
    """Return the scene with the claims of clauses; what one denies is absent, and what one relates to is there."""
    scene = add_claims(scene, clauses)
    for claim, _ in scene.stress:
        if claim.kind in ("position", "action") and claim.objects and not is_negative(claim.value):
            for name in claim.objects:
                scene = scene if scene.find_thing(name) else scene.with_thing(Thing(name))
            relation = Relation(claim.subject, claim.value, claim.objects, claim.kind)
            if relation not in scene.relations:
                scene = replace(scene, relations=(*scene.relations, relation))
    denied = [claim.subject for claim, _ in scene.stress if claim.kind == "count" and claim.value == "0"]
    return replace(scene, absent=tuple(dict.fromkeys([*scene.absent, *denied])))


def _bare(words: str) -> str:
    return re.sub(r"^(?:the|all|these|those|its|his|her)\s+", "", words, flags=re.IGNORECASE)


def _looking(found: Instruction, subject: str, look: str) -> Instruction | None:
    """Return the instruction with a new look of a thing, or None if the words are not about the look of one."""
    named = parse_scene(subject).things
    if len(named) != 1 or number_of(look) is not None:
        return None
    thing = Thing(named[0].name, named[0].count)
    looks = parse_scene(f"the {look} {plural(thing.name) if thing.count > 1 else thing.name}").things
    attributes = next((item.attributes for item in looks if item.name == thing.name), ())
    if not attributes:
        return None
    return _with(found, Scene(things=(replace(thing, attributes=attributes),)))


def _with(found: Instruction, more: Scene, is_addition: object = None) -> Instruction:
    """Return the instruction with what another scene shows; what is said later counts."""
    scene = found.scene
    for thing in more.things:
        known = scene.find_thing(thing.name)
        added = replace(thing, is_counted=thing.is_counted and not is_addition)
        scene = scene.with_thing(added if known is None else _join(known, added))
    relations = [item for item in scene.relations if not any(_is_of_pair(item, other) for other in more.relations)]
    scene = replace(
        scene,
        relations=(*relations, *more.relations),
        texts=tuple(dict.fromkeys([*scene.texts, *more.texts])),
        styles=more.styles or scene.styles,
        settings=more.settings or scene.settings,
        totals=(*scene.totals, *more.totals),
        absent=tuple(dict.fromkeys([*scene.absent, *more.absent])),
        not_understood=(*scene.not_understood, *more.not_understood),
        wording=scene.wording.joined(more.wording),
    )
    names = frozenset(thing.name for thing in more.things) if is_addition else frozenset()
    return replace(found, scene=scene, added=found.added | names)


def _join(known: Thing, more: Thing) -> Thing:
    attributes = tuple(dict.fromkeys([*known.attributes, *more.attributes]))
    counted = more if more.is_counted else known
    return replace(
        counted,
        attributes=attributes,
        actions=tuple(dict.fromkeys([*known.actions, *more.actions])),
        values=more.values or known.values,
    )


def _is_of_pair(first: Relation, second: Relation) -> bool:
    """Return whether two relations say where the same things are, so that only one can be so."""
    same = {first.subject, *first.objects} == {second.subject, *second.objects}
    return same and first.kind == second.kind == "position"


def _without(found: Instruction, gone: Scene, words: str = "") -> Instruction:
    names = [thing.name for thing in gone.things]
    has_text = any(name.rpartition(" ")[2] in _SIGNS for name in names)
    texts = gone.texts or ((words,) if not names else (_ANY_TEXT,) * has_text)
    if not names and not gone.texts:
        return replace(found, scene=replace(found.scene, not_understood=(*found.scene.not_understood, words)))
    scene = replace(found.scene, absent=tuple(dict.fromkeys([*found.scene.absent, *names])))
    return replace(found, scene=scene, gone_texts=(*found.gone_texts, *texts))
