"""Simulated errors of an image model, which depend on the seed and on how the prompt stresses a claim.

Each claim fails independently, by a hash of seed and claim, so a seed always fails the same way and no other request
changes that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from gems_actors.backends.storyboard.scene import (
    Claim,
    Kind,
    Relation,
    Scene,
    Thing,
    attribute_claim,
    claims_of,
    is_negative,
)
from gems_actors.backends.storyboard.words import COLOURS, OPPOSITES, SURFACES

_Option = TypeVar("_Option")

_WEIGHTS: Final[dict[Kind, float]] = {
    "object": 0.25,
    "count": 1.2,
    "attribute": 0.8,
    "position": 1.3,
    "action": 1.2,
    "text": 1.6,
    "style": 0.6,
    "other": 1.0,
}
"""Difficulty of each kind of claim for image models: existence is easy, relations are hard.

Estimates, tuned with the numbers below until a loop of five rounds over GenEval 2 took 2.7 pictures per prompt.
"""
_PLAIN_COLOURS: Final = tuple(COLOURS)[:10]
_EASIEST: Final = 0.12
_PER_CLAIM: Final = 0.012
_HARDEST: Final = 0.34
_RELIEF: Final = 0.3
"""Factor on the probability for each level of stress."""


def error_probability(claim: Claim, scene: Scene, claim_count: int) -> float:
    """Return the probability that a drawing of a scene with `claim_count` claims gets this one wrong."""
    stress = max((level for stressed, level in scene.stress if stressed == claim), default=0)
    crowding = min(_HARDEST, _EASIEST + _PER_CLAIM * claim_count)
    return min(0.9, _WEIGHTS[claim.kind] * crowding) * _RELIEF**stress


def choose_errors(scene: Scene, seed: int, factor_of: Callable[[Claim], float] = lambda claim: 1.0) -> frozenset[Claim]:
    """Return the claims that a drawing with this seed gets wrong; at least one thing is kept.

    `factor_of` returns a factor on the probability of each claim's error, for the laboratory.
    """
    claims = [claim for claim in claims_of(scene) if not _is_total(claim, scene)]
    lost = {
        claim
        for claim in claims
        if _uniform(seed, claim) < factor_of(claim) * error_probability(claim, scene, len(claims))
    }
    things = [claim for claim in claims if claim.kind == "object"]
    if things and lost.issuperset(things):
        lost.discard(max(things, key=lambda claim: _uniform(seed, claim)))
    return frozenset(lost)


def apply_errors(scene: Scene, lost: frozenset[Claim], seed: int) -> Scene:
    """Return the scene without the lost things, and with the other lost claims made false."""
    kept = (thing for thing in scene.things if Claim("object", thing.name) not in lost)
    things = tuple(_corrupt_thing(thing, lost, seed) for thing in kept)
    things = (*things, *(Thing(name) for name in _drawn_after_all(scene, lost) if scene.find_thing(name) is None))
    names = {thing.name for thing in things}
    relations = [
        _corrupt_relation(relation) if relation.claim in lost else relation
        for relation in scene.relations
        if names.issuperset((relation.subject, *relation.objects))
        and (relation.claim in lost or not relation.is_negative)
    ]
    return Scene(
        things,
        tuple(relation for relation in relations if relation is not None),
        tuple(_garble(text, seed) if Claim("text", value=text) in lost else text for text in scene.texts),
        tuple(style for style in scene.styles if Claim("style", value=style) not in lost),
        settings=tuple(setting for setting in scene.settings if Claim("other", value=setting) not in lost),
        not_understood=scene.not_understood,
    )


def _is_total(claim: Claim, scene: Scene) -> bool:
    """Return whether a claim counts individuals, which fail with their own claims."""
    return claim.kind == "count" and any(name == claim.subject for name, _ in scene.totals)


def _drawn_after_all(scene: Scene, lost: frozenset[Claim]) -> Iterator[str]:
    """Yield what the prompt excludes and the picture shows, as image models draw what a prompt mentions."""
    yield from (name for name in scene.absent if Claim("count", name, "0") in lost)
    for relation in scene.relations:
        if relation.is_negative and relation.claim in lost:
            yield from relation.objects


def _corrupt_thing(thing: Thing, lost: frozenset[Claim], seed: int) -> Thing:
    if Claim("count", thing.name, str(thing.count)) in lost:
        thing = replace(thing, count=_wrong_count(thing, seed))
    spoilt = (_corrupt_attribute(word, thing, lost, seed) for word in thing.attributes)
    return replace(
        thing,
        attributes=tuple(word for word in spoilt if word),
        actions=tuple(
            word.removeprefix("not ") if is_lost else word
            for word in thing.actions
            for is_lost in (Claim("action", thing.name, word) in lost,)
            if not is_lost or is_negative(word)
        ),
        values=tuple(
            (name, _wrong_number(number) if Claim("other", thing.name, f"{name}={number}") in lost else number)
            for name, number in thing.values
        ),
    )


def _wrong_count(thing: Thing, seed: int) -> int:
    if thing.count == 1:
        return 2
    return thing.count + _choose((-1, 1) if thing.count < 5 else (-2, -1, 1), f"count {thing.name}", seed)


def _corrupt_attribute(word: str, thing: Thing, lost: frozenset[Claim], seed: int) -> str:
    """Return a wrong colour or surface, or an empty string for any other attribute."""
    if attribute_claim(thing.name, word) not in lost:
        return word
    if is_negative(word):
        return word.removeprefix("not ")
    family = _PLAIN_COLOURS if word in COLOURS else SURFACES if word in SURFACES else ()
    others = tuple(other for other in family if other not in thing.attributes)
    return _choose(others, f"attribute {thing.name} {word}", seed) if others else ""


def _corrupt_relation(relation: Relation) -> Relation | None:
    """Return the opposite relation; an action, or a position without an opposite, is dropped."""
    if relation.is_negative:
        word = "with" if relation.word == "without" else relation.word.removeprefix("not ")
        return replace(relation, word=word)
    if relation.word == "between":
        return replace(relation, word="left of")
    opposite = OPPOSITES.get(relation.word)
    return None if opposite is None else replace(relation, word=opposite)


def _wrong_number(number: str) -> str:
    """Return the number with its last digit off by three: `30` -> `33`."""
    for at in range(len(number) - 1, -1, -1):
        if number[at].isdigit():
            return f"{number[:at]}{(int(number[at]) + 3) % 10}{number[at + 1 :]}"
    return number


def _garble(text: str, seed: int) -> str:
    """Return a text with one word missing or two letters swapped, as image models misspell."""
    words = text.split()
    if len(words) > 2 and _choose((True, False), f"word {text}", seed):
        del words[_choose(tuple(range(len(words))), f"which {text}", seed)]
        return " ".join(words)
    places = [at for at in range(len(text) - 1) if text[at] != text[at + 1] and not text[at : at + 2].count(" ")]
    if not places:
        return text + text[-1:]
    at = _choose(tuple(places), f"swap {text}", seed)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _uniform(seed: int, claim: Claim) -> float:
    """Return a number in [0, 1) that depends on the seed and the claim only."""
    return _hash("\0".join((claim.kind, claim.subject, claim.value, *claim.objects)), seed) / 2**64


def _choose(options: tuple[_Option, ...], purpose: str, seed: int) -> _Option:
    return options[_hash(purpose, seed) % len(options)]


def _hash(purpose: str, seed: int) -> int:
    data = f"{seed}\0{purpose}".encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
