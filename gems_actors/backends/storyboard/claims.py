"""Conversion of claims to questions and clauses, and back.

One parser reads both forms, so that the questions about a picture and the stressed clauses of a prompt cannot diverge:
`Are there exactly three pigs in the image?` and `there are exactly three pigs` are the same claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.english.vocabulary import COMPARATIVES, PARTICLES
from gems_actors.backends.storyboard.scene import Claim, RelationKind, Scene, is_negative
from gems_actors.backends.storyboard.words import (
    LONGEST_PLACE,
    NOUNS_IN_ING,
    PLACES,
    PLURAL_ONLY,
    colour_of,
    is_participle,
    number_of,
    place_name,
    plural,
    singular,
    spell,
    surface_of,
)
from protocol.limits import MAX_CLAIM_CHARS, MAX_NAME_CHARS

_POSITION_PHRASES: Final = {"left of": "to the left of", "right of": "to the right of"}
_ARTICLES: Final = frozenset({"a", "an", "any", "some", "the"})
_SHOWN: Final = "shown"
"""Stands before a predicate of several words, such as `shown cut in half`, so that its subject is told from it."""


def ask(claim: Claim, scene: Scene) -> str:
    """Return a claim as a yes/no question, with plurals as in the scene."""
    name = _named(claim.subject, scene)
    verb = "Are" if _is_plural(claim.subject, scene) else "Is"
    match claim:
        case Claim(kind="object"):
            article = "any" if verb == "Are" else _article(name)
            return f"{verb} there {article} {name} in the image?"
        case Claim(kind="count", value="0"):
            return f"Is the image free of {plural(claim.subject)}?"
        case Claim(kind="count"):
            return f"{_be(claim.value).capitalize()} there exactly {_counted(claim)} in the image?"
        case Claim(kind="text"):
            return f'Does the image show the text "{claim.value}"?'
        case Claim(kind="style"):
            return f"Is the style of the image {claim.value}?"
        case Claim(kind="other", subject=""):
            return f"Is the scene set {claim.value}?"
        case Claim(kind="other"):
            label, _, number = claim.value.partition("=")
            return f"Does the {claim.subject} show {label} as {number}?"
        case _:
            return f"{verb} the {name} {_predicate(claim, scene)}?"


def state(claim: Claim, scene: Scene) -> str:
    """Return a claim as a clause that states it."""
    name = _named(claim.subject, scene)
    verb = "are" if _is_plural(claim.subject, scene) else "is"
    match claim:
        case Claim(kind="object"):
            return f"there {verb} {'some' if verb == 'are' else _article(name)} {name}"
        case Claim(kind="count", value="0"):
            return f"the image is free of {plural(claim.subject)}"
        case Claim(kind="count"):
            return f"there {_be(claim.value)} exactly {_counted(claim)}"
        case Claim(kind="text"):
            return f'the image shows the text "{claim.value}"'
        case Claim(kind="style"):
            return f"the style of the image is {claim.value}"
        case Claim(kind="other", subject=""):
            return f"the scene is set {claim.value}"
        case Claim(kind="other"):
            label, _, number = claim.value.partition("=")
            return f"the {claim.subject} shows {label} as {number}"
        case _:
            return f"the {name} {verb} {_predicate(claim, scene)}"


def ask_about(words: str) -> str:
    """Return the question of a requirement that nobody can check, because its words were not understood."""
    return f'Does the image agree with "{words.replace(chr(34), chr(39))}"?'


def claim_fields(claim: Claim) -> dict[str, object] | None:
    """Return a claim in the form of the wire; None for one that has none, such as a style or `between`."""
    value, is_denied = claim.value.removeprefix("not "), claim.value.startswith("not ")
    match claim:
        case Claim(kind="object"):
            return _fields("exists", claim.subject)
        case Claim(kind="count", value="0"):
            return _fields("exists", claim.subject, negated=True)
        case Claim(kind="count"):
            return _fields("count", claim.subject, value)
        case Claim(kind="text"):
            return _fields("text", value=claim.value)
        case Claim(kind="attribute" | "action", objects=()):
            return _fields("attribute", claim.subject, value, negated=is_denied)
        case Claim(kind="position" | "action", objects=(target,)) if value != "without":
            return _fields("relation", claim.subject, value, target, negated=is_denied)
    return None


def _fields(
    type_: str, subject: str = "", value: str = "", target: str = "", *, negated: bool = False
) -> dict[str, object] | None:
    if len(subject) > MAX_NAME_CHARS or len(target) > MAX_NAME_CHARS or len(value) > MAX_CLAIM_CHARS:
        return None
    return {"type": type_, "subject": subject, "object": target, "value": value, "negated": negated}


def parse_claim(sentence: str) -> Claim | None:
    """Return the claim of a question or a clause; None if its form is not known."""
    if quoted := re.search(r'\btext\b[^"]*"(.*)"', sentence, re.DOTALL):
        return Claim("text", value=quoted[1])
    text = re.sub(r"\s+", " ", sentence.strip().rstrip("?.! ")).lower()
    text = re.sub(r" (?:visible )?in (?:the|this) (?:image|picture|photo)$", "", text)
    if style := re.fullmatch(r"(?:is )?the style of the image (?:is )?(.+)", text):
        return Claim("style", value=style[1])
    if setting := re.fullmatch(r"(?:is )?the scene (?:is )?set (.+)", text):
        return Claim("other", value=setting[1])
    if absence := re.fullmatch(r"(?:is )?the (?:image|picture) (?:is )?free of (.+)", text):
        return Claim("count", singular(absence[1]), "0")
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
    """Read `cats to the left of the dog`, `cats chasing the dog`, `cats red` or `cat not black`."""
    if between := re.fullmatch(r"(.+?) (?:in )?between the (.+) and the (.+)", text):
        return Claim("position", singular(between[1]), "between", (singular(between[2]), singular(between[3])))
    words = text.split()
    for at, end, value, kind in _relations_in(words):
        target = " ".join(words[end:])
        if target.startswith(("the ", "a ", "an ", "any ")):
            name = target.partition(" ")[2]
            return Claim(kind, singular(" ".join(words[:at])), value, (singular(name),))
    return _parse_property(words)


def _relations_in(words: list[str]) -> Iterator[tuple[int, int, str, RelationKind]]:
    """Yield start, end, value and kind of each relation that the words may contain, the first and longest first."""
    for at in range(1, len(words)):
        start = at + (words[at] == "not")
        negative = "not " if start > at else ""
        if words[at] == "without":
            yield at, at + 1, "without", "position"
        for length in range(LONGEST_PLACE, 0, -1):
            spelled = " ".join(words[start : start + length])
            if spelled in PLACES and start + length < len(words):
                place = place_name(spelled, " ".join(words[start + length :]))
                yield at, start + length, negative + place, "position"
        if start < len(words) and _is_verb(words, start):
            for length in range(LONGEST_PLACE, -1, -1):
                after = " ".join(words[start + 1 : start + 1 + length])
                if not after or after in PLACES or after in PARTICLES:
                    yield at, start + 1 + length, f"{negative}{words[start]} {after}".rstrip(), "action"
        if words[start : start + 2][1:] == ["than"] and words[start] in COMPARATIVES:
            yield at, start + 2, f"{negative}{words[start]} than", "action"


def _is_verb(words: list[str], at: int) -> bool:
    word = words[at]
    is_verbal = is_participle(word) or is_past(word) or word == "full"
    return is_verbal or (word in NOUNS_IN_ING and words[at + 1 : at + 2] == ["the"])


def _parse_property(words: list[str]) -> Claim | None:
    for mark in ("not", _SHOWN):
        if mark in words[1:-1]:
            at = words.index(mark, 1)
            value = " ".join(words[at + (mark == _SHOWN) :])
            return _property(" ".join(words[:at]), value)
    return _property(" ".join(words[:-1]), words[-1]) if len(words) > 1 else None


def _property(name: str, value: str) -> Claim:
    first = value.removeprefix("not ").split()[0]
    if is_participle(first) and surface_of(first) is None:
        return Claim("action", singular(name), value)
    return Claim("attribute", singular(name), colour_of(value) or surface_of(value) or value)


def _predicate(claim: Claim, scene: Scene) -> str:
    if not claim.objects:
        is_plain = " " not in claim.value or claim.value.startswith("not ")
        return claim.value if is_plain else f"{_SHOWN} {claim.value}"
    if is_negative(claim.value):
        objects = " and ".join(f"{_article(name)} {name}" if name == singular(name) else name for name in claim.objects)
    else:
        objects = " and ".join(f"the {_named(name, scene)}" for name in claim.objects)
    return f"{_POSITION_PHRASES.get(claim.value, claim.value)} {objects}"


def _is_plural(name: str, scene: Scene) -> bool:
    return scene.is_plural(name) or name.rpartition(" ")[2] in PLURAL_ONLY


def _named(name: str, scene: Scene) -> str:
    return plural(name) if scene.is_plural(name) else name


def _counted(claim: Claim) -> str:
    return f"{spell(int(claim.value))} {claim.subject if claim.value == '1' else plural(claim.subject)}"


def _be(count: str) -> str:
    return "is" if count == "1" else "are"


def _article(name: str) -> str:
    if name.rpartition(" ")[2] in PLURAL_ONLY:
        return "any"
    return "an" if name[:1] in "aeiou" else "a"
