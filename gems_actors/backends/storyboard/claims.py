"""Conversion of claims to questions and clauses, and back.

One parser reads both forms, so that the questions about a picture and the stressed clauses of a prompt cannot diverge:
`Are there exactly three pigs in the image?` and `there are exactly three pigs` are the same claim.
"""

from __future__ import annotations

import re
from typing import Final

from gems_actors.backends.storyboard.scene import Claim, Scene
from gems_actors.backends.storyboard.words import (
    PLACES,
    colour_of,
    is_participle,
    number_of,
    plural,
    singular,
    spell,
    surface_of,
)

_POSITION_PHRASES: Final = {"left of": "to the left of", "right of": "to the right of"}
_ARTICLES: Final = frozenset({"a", "an", "any", "some", "the"})


def ask(claim: Claim, scene: Scene) -> str:
    """Return a claim as a yes/no question, with plurals as in the scene."""
    name = _named(claim.subject, scene)
    verb = "Are" if scene.is_plural(claim.subject) else "Is"
    match claim.kind:
        case "object":
            article = "any" if verb == "Are" else _article(name)
            return f"{verb} there {article} {name} in the image?"
        case "count":
            return f"{_be(claim.value).capitalize()} there exactly {_counted(claim)} in the image?"
        case "text":
            return f'Does the image show the text "{claim.value}"?'
        case "style":
            return f"Is the style of the image {claim.value}?"
        case "other":
            label, _, number = claim.value.partition("=")
            return f"Does the {claim.subject} show {label} as {number}?"
        case _:
            return f"{verb} the {name} {_predicate(claim, scene)}?"


def state(claim: Claim, scene: Scene) -> str:
    """Return a claim as a clause that states it."""
    name = _named(claim.subject, scene)
    verb = "are" if scene.is_plural(claim.subject) else "is"
    match claim.kind:
        case "object":
            return f"there {verb} {'some' if verb == 'are' else _article(name)} {name}"
        case "count":
            return f"there {_be(claim.value)} exactly {_counted(claim)}"
        case "text":
            return f'the image shows the text "{claim.value}"'
        case "style":
            return f"the style of the image is {claim.value}"
        case "other":
            label, _, number = claim.value.partition("=")
            return f"the {claim.subject} shows {label} as {number}"
        case _:
            return f"the {name} {verb} {_predicate(claim, scene)}"


def parse_claim(sentence: str) -> Claim | None:
    """Return the claim of a question or a clause; None if its form is not known."""
    if quoted := re.search(r'\btext\b[^"]*"(.*)"', sentence, re.DOTALL):
        return Claim("text", value=quoted[1])
    text = re.sub(r"\s+", " ", sentence.strip().rstrip("?.! ")).lower()
    text = re.sub(r" (?:visible )?in (?:the|this) (?:image|picture|photo)$", "", text)
    if style := re.fullmatch(r"(?:is )?the style of the image (?:is )?(.+)", text):
        return Claim("style", value=style[1])
    if value := re.fullmatch(r"(?:does )?the (.+?) shows? (.+) as (\S+)", text):
        return Claim("other", value[1], f"{value[2]}={value[3]}")
    if existence := re.fullmatch(r"(?:(?:is|are) there|there (?:is|are)) (.+)", text):
        return _parse_existence(existence[1])
    if predicate := re.fullmatch(r"(?:(?:is|are) the (.+)|the (.+? (?:is|are) .+))", text):
        return _parse_predicate(predicate[1] or re.sub(r" (?:is|are) ", " ", predicate[2], count=1))
    return None


def _parse_existence(noun_phrase: str) -> Claim | None:
    words = [word for word in noun_phrase.split() if word != "exactly"]
    if len(words) > 1 and (number := number_of(words[0])) is not None:
        return Claim("count", singular(" ".join(words[1:])), str(number))
    while words and words[0] in _ARTICLES:
        words.pop(0)
    return Claim("object", singular(" ".join(words))) if words else None


def _parse_predicate(text: str) -> Claim | None:
    """Read `cats to the left of the dog`, `cats chasing the dog` or `cats red`."""
    if between := re.fullmatch(r"(.+?) (?:in )?between the (.+) and the (.+)", text):
        return Claim("position", singular(between[1]), "between", (singular(between[2]), singular(between[3])))
    action = re.fullmatch(r"(.+?) (\S+ing(?: \S+)?) the (.+)", text)
    if action and is_participle(action[2].split()[0]) and action[2] not in PLACES:
        return Claim("action", singular(action[1]), action[2], (singular(action[3]),))
    for phrase in sorted(PLACES, key=len, reverse=True):
        if place := re.fullmatch(rf"(.+?) {phrase} the (.+)", text):
            return Claim("position", singular(place[1]), PLACES[phrase], (singular(place[2]),))
    name, space, word = text.rpartition(" ")
    if not space:
        return None
    if is_participle(word) and surface_of(word) is None:
        return Claim("action", singular(name), word)
    return Claim("attribute", singular(name), colour_of(word) or surface_of(word) or word)


def _predicate(claim: Claim, scene: Scene) -> str:
    if not claim.objects:
        return claim.value
    objects = " and ".join(f"the {_named(name, scene)}" for name in claim.objects)
    return f"{_POSITION_PHRASES.get(claim.value, claim.value)} {objects}"


def _named(name: str, scene: Scene) -> str:
    return plural(name) if scene.is_plural(name) else name


def _counted(claim: Claim) -> str:
    return f"{spell(int(claim.value))} {claim.subject if claim.value == '1' else plural(claim.subject)}"


def _be(count: str) -> str:
    return "is" if count == "1" else "are"


def _article(name: str) -> str:
    return "an" if name[:1] in "aeiou" else "a"
