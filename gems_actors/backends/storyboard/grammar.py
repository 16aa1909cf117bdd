"""Parses a prompt into a scene: patterns first, then the grammar of plain English.

It accepts any text: what it does not understand is listed as such, and the number of words is bounded.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.english.asides.stretches import set_aside
from gems_actors.backends.storyboard.english.collecting import MAX_THINGS
from gems_actors.backends.storyboard.english.extraction import MAX_TEXTS, Found, extract
from gems_actors.backends.storyboard.english.gates.colours import without_shared_colours
from gems_actors.backends.storyboard.english.gates.counts import list_uncounted, without_uncertain_counts
from gems_actors.backends.storyboard.english.listing.coverage import list_uncarried
from gems_actors.backends.storyboard.english.partly import read_short
from gems_actors.backends.storyboard.english.prose.reader import ProseReader, is_prose
from gems_actors.backends.storyboard.english.tokens import not_understood, tokenize
from gems_actors.backends.storyboard.english.wording import wording_of
from gems_actors.backends.storyboard.scene import Claim, Relation, Scene, Thing, claims_of

STRESS_OPENING: Final = "Make sure:"
DIRECTION_OPENING: Final = "Direction:"
"""Opening of the line that a skill appends: advice on style, in which no noun is a thing to draw."""
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")
"""Long runs of spaces and empty lines, which patterns would go through again from each of their characters."""
_MAX_STRESS: Final = 4
_MAX_TOKENS: Final = 1200
_MAX_CLAUSES: Final = 60
_STRESSED_CLAUSE = re.compile(r'((?:"[^"]*"|[^;"!])+)(!*)')


def parse_scene(prompt: str) -> Scene:
    """Return the scene of any prompt; stressed clauses add emphasis to what the prompt already asks for."""
    description, _, stressed = prompt.partition(STRESS_OPENING)
    return add_claims(_parse_description(description.partition(DIRECTION_OPENING)[0]), stressed)


def add_claims(scene: Scene, clauses: str) -> Scene:
    """Return the scene with the claims of clauses, each of them stressed."""
    for clause in _STRESSED_CLAUSE.finditer(clauses):
        if (claim := parse_claim(clause[1])) is not None and len(scene.stress) < _MAX_CLAUSES:
            scene = _stress(scene, claim, min(1 + len(clause[2]), _MAX_STRESS))
    return scene


def _parse_description(text: str) -> Scene:
    rest, found = extract(_LINES.sub("\n", _SPACES.sub(" ", text)))
    words = tokenize(rest, _MAX_TOKENS)
    is_long = is_prose(words)
    tokens = set_aside(words, alternatives=not is_long)
    if is_long:
        scene = ProseReader(tokens).read().scene()
    else:
        tokens, scene = read_short(tokens)
    scene = without_shared_colours(without_uncertain_counts(scene, tokens))
    scene = _with_charts_and_times(scene, found)
    list_uncounted(scene, tokens)
    list_uncarried(tokens, claims_of(replace(scene, texts=tuple(found.texts), styles=tuple(found.styles))))
    texts = tuple(found.texts)
    if not scene.things and not texts and text.strip() and not any(map(str.isalnum, text)):
        texts = (" ".join(text.split())[:40].replace('"', "'"),)
    mentioned = [word for thing in scene.things for word in (thing.name, *thing.attributes)]
    mentioned += [name for relation in scene.relations for name in relation.objects]
    return replace(
        scene,
        texts=texts,
        styles=tuple(found.styles),
        settings=tuple(found.settings),
        not_understood=not_understood(tokens, found.unread),
        wording=wording_of(words, mentioned),
    )


def _with_charts_and_times(scene: Scene, found: Found) -> Scene:
    """Return the scene with its charts, and with the time of the clock that it names."""
    for chart in found.charts:
        if len(scene.things) < MAX_THINGS:
            scene = scene.with_thing(chart)
    for time in found.times:
        clocks = [thing for thing in scene.things if thing.name.split()[-1] == time.clock and thing.count == 1]
        if len(clocks) == 1 and not any(action.startswith("showing ") for action in clocks[0].actions):
            scene = scene.with_thing(replace(clocks[0], actions=(*clocks[0].actions, f"showing {time.value}")))
        else:
            found.unread.append(time.words)
    return scene


def _stress(scene: Scene, claim: Claim, level: int) -> Scene:
    """Return the scene with a claim stressed; it is added if the scene does not contain it."""
    is_group = any(name == claim.subject for name, _ in scene.totals)
    is_positive = claim.value != "0" and not is_group
    if len(scene.things) < MAX_THINGS and claim.subject and is_positive and scene.find_thing(claim.subject) is None:
        scene = scene.with_thing(Thing(claim.subject))
    thing = scene.find_thing(claim.subject)
    match claim.kind:
        case "count" if thing and is_positive:
            scene = scene.with_thing(replace(thing, count=int(claim.value), is_counted=True))
        case "attribute" if thing and claim.value not in thing.attributes:
            scene = scene.with_thing(replace(thing, attributes=(*thing.attributes, claim.value)))
        case "position" | "action" if thing and claim.objects:
            relation = Relation(claim.subject, claim.value, claim.objects, claim.kind)
            is_known = relation.is_negative or all(scene.find_thing(name) for name in claim.objects)
            if relation not in scene.relations and is_known:
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
