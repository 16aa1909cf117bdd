"""Withdraws numbers that a perfect picture need not show, and has them listed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import is_comparative
from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    BODY_PARTS,
    CLOTHES,
    DETAILS,
    HUMANS,
    PART_OWNERS,
    PARTS,
    SCENES,
    SEATS,
    SUPPORTS,
)
from gems_actors.backends.storyboard.english.naming import is_owner
from gems_actors.backends.storyboard.english.tokens import MAX_PLAIN_SENTENCE, Tokens
from gems_actors.backends.storyboard.english.vocabulary import attribute_of
from gems_actors.backends.storyboard.scene import Scene, Thing
from gems_actors.backends.storyboard.words import LONGEST_PLACE, PLACES, number_of, singular, word_set

_FURTHER: Final = frozenset(("another", "other", "more", "further", "fellow"))
_DISTRIBUTING: Final = frozenset(("each", "every"))
_REST: Final = ("others", "other", "rest", "remaining")
_SCENERY: Final = word_set(
    "leaf rock stone boulder branch twig tree palm log bush window hill mountain cliff dune wave cloud building "
    "skyscraper lamppost reed stem stalk vine"
)
"""Of what somebody is on, under or by there are mostly more."""
_MEN: Final = word_set("man gentleman guy")
_WOMEN: Final = word_set("woman lady")
_MALE: Final = _MEN | word_set(
    "boy grandfather father brother uncle husband groom king prince duke monk grandpa dad son nephew grandson"
)
_FEMALE: Final = _WOMEN | word_set(
    "girl grandmother mother sister aunt wife bride queen princess duchess nun grandma mom mum daughter niece waitress "
    "actress ballerina empress witch granddaughter"
)
_OF_ANY_AGE: Final = word_set(
    "child kid person people friend stranger twin sibling cousin student teenager teen youth crowd audience family "
    "passenger customer guest player fan visitor"
)
_PLAYERS: Final = word_set(
    "opponent rival teammate jogger runner swimmer dancer gymnast skater skateboarder cyclist rider athlete climber"
)
"""Who may be a boy or a girl, too."""
_CHILDREN: Final = word_set("boy girl child kid baby toddler infant")
_FRACTIONS: Final = word_set("half quarter third")
_SINGLE: Final = word_set("nose mouth face beak head tail trunk neck beard moustache mustache mane hair skin smile")
"""Parts of which a body has one."""
_ANOTHER_ONE: Final = re.compile(
    r"\b(?:to|from|near|behind|beside|above|below|under|of|on|by|over|with|at|than) one "
    r"(?:that|which|who|with|without|in)\b"
)
"""`one` for a further thing, as in `a zebra next to one that has no stripes`."""
_PAIRED: Final = word_set("arm leg hand foot paw eye ear wing knee elbow shoulder horn claw hoof cheek")
"""Parts of which a body has two or more."""
_LIMBS: Final = word_set("leg arm foot head wing back seat")
"""Parts of a body that furniture and vehicles have, too."""


def without_uncertain_counts(scene: Scene, tokens: Tokens) -> Scene:
    """Return the scene without numbers of parts, and of what may be shown again under another name or elsewhere."""
    shown_again = {*_shared_out(tokens), *_parts_of_one(tokens), *_contents(scene)}
    heads = Counter(_head(thing) for thing in scene.things)
    is_in_panels = not {"panel", "panels", "storyboard"}.isdisjoint(tokens.words)
    has_more = any(word == "ones" and not is_used for word, is_used in zip(tokens.words, tokens.is_used, strict=True))
    has_more = has_more or any(map(_ANOTHER_ONE.search, (" ".join(tokens.words), *tokens.doubts)))
    is_another_named = any(_names_another(at, tokens) for at in range(len(tokens.words)))
    for thing in scene.things:
        head = _head(thing)
        is_repeated = has_more or (is_in_panels and head != "panel")
        is_one_of_more = heads[head] > 1 and thing.name == head  # `an elephant and a baby elephant`
        is_compared = "than" in tokens.words and any(map(is_comparative, thing.attributes))  # `a bigger cone than hers`
        is_single = thing.count == 1 and (head in shown_again or is_another_named or is_compared)
        is_article = thing.count == 1 and len(tokens.words) > MAX_PLAIN_SENTENCE and not _is_said_single(head, tokens)
        is_article = is_article or (thing.count == 1 and _is_one_of_many(head, scene, tokens))
        is_one_of_more = is_one_of_more or head in _told_apart(tokens)
        is_uncertain = is_repeated or is_one_of_more or is_single or is_article or _is_counted_again(head, tokens)
        is_uncertain = is_uncertain or any(_may_be(_head(other), head) for other in scene.things if other != thing)
        if thing.is_counted and (is_uncertain or _is_part_of_more(thing, scene, tokens)):
            scene = scene.with_thing(replace(thing, is_counted=False))
    return scene


def list_uncounted(scene: Scene, tokens: Tokens) -> None:
    """Have numbers listed of which no requirement is made, such as the one of `two of the puppies`."""
    asked = {thing.count for thing in scene.things if thing.is_counted} | {count for _, count in scene.totals}
    for at, word in enumerate(tokens.words):
        number = number_of(word)
        if tokens.phrase(at - 2, at + 1) == "half a dozen" and 6 in asked:
            tokens.use(at - 2, at + 1)
        elif number is not None and number > 1 and number not in asked and scene.things:
            tokens.is_used[at] = False


def _names_another(at: int, tokens: Tokens) -> bool:
    """Return whether words speak of another one: `a smaller, blue one`, `its mate`, `the one book that is bound`."""
    before, word, after = (tokens.at(index) for index in (at - 1, at, at + 1))
    if word == "one":
        is_pronoun = not tokens.is_used[at] and attribute_of(before) is not None
        return is_pronoun or (before == "the" and after.isalpha() and "that" in tokens.words[at + 2 : at + 4])
    return word in {"mate", "twin", "counterpart"} and before in {"its", "their"}


def _head(thing: Thing) -> str:
    return thing.name.partition(" of ")[0].split()[-1]


def _is_counted_again(noun: str, tokens: Tokens) -> bool:
    """Return whether other words speak of more of a thing: `as many as the 2 books`, `a field of other tulips`."""
    for at, word in enumerate(tokens.words):
        if singular(word) == noun:
            before = tokens.words[max(at - 3, 0) : at]
            is_numbered = any(number_of(token) is not None for token in before[-2:]) and not tokens.is_used[at]
            if is_numbered or not _FURTHER.isdisjoint(before):
                return True
    return False


def _is_said_single(noun: str, tokens: Tokens) -> bool:
    """Return whether a long prompt, in which `a` counts nothing, says that there is one of a thing."""
    pairs = zip(tokens.words, tokens.words[1:], strict=False)
    return "exactly" in tokens.words or any(
        word in {"one", "single"} and following == noun for word, following in pairs
    )


def _is_one_of_many(noun: str, scene: Scene, tokens: Tokens) -> bool:
    """Return whether one thing stands for one of more: `one apple is green, the others`, `on a leaf`."""
    has_rest = any(f"the {word}" in doubt.lower() for doubt in tokens.doubts for word in _REST)
    if has_rest and not scene.totals:
        return True
    if noun not in _SCENERY or _is_said_single(noun, tokens):
        return False
    return any(singular(word) == noun and _follows_place(at, tokens) for at, word in enumerate(tokens.words))


def _follows_place(at: int, tokens: Tokens) -> bool:
    """Return whether a place and an article stand before the noun at a token: `on a mossy rock`."""
    start = next((index for index in range(at - 1, max(at - 5, -1), -1) if tokens.at(index) in {"a", "an"}), 0)
    if tokens.at(start - 1) == "from":
        return True  # `rescuing a kitten from a tree`
    return any(tokens.phrase(start - length, start) in PLACES for length in range(1, LONGEST_PLACE + 1))


def _may_be(head: str, noun: str) -> bool:
    """Return whether somebody may be counted as somebody else, too: the stranger beside a man may be a man."""
    if head not in HUMANS or head == noun:
        return False
    if noun == "person":
        return True
    if noun in {"child", "kid"}:
        return head in _OF_ANY_AGE | {"boy", "girl"}
    if noun in {"boy", "girl"}:
        return head in _OF_ANY_AGE | _PLAYERS
    others = _MALE if noun in _WOMEN else _FEMALE
    return noun in _WOMEN | _MEN and head not in others | _CHILDREN


def _contents(scene: Scene) -> Iterator[str]:
    """Yield what other things consist of: the sheep of `a flock of sheep`."""
    for thing in scene.things:
        _, _, content = thing.name.partition(" of ")
        if content:
            yield singular(content.split()[-1])


def _told_apart(tokens: Tokens) -> Iterator[str]:
    """Yield what a comparative tells from more of the kind: the children of `the two older children`."""
    for at, word in enumerate(tokens.words):
        if number_of(word) is not None and tokens.at(at - 1) == "the" and is_comparative(tokens.at(at + 1)):
            yield singular(tokens.at(at + 2))


def _shared_out(tokens: Tokens) -> Iterator[str]:
    """Yield the nouns of a stretch with `each` or `every`: `a vase on each table` may be many vases."""
    start = 0
    for end, word in enumerate([*tokens.words, "."]):
        if word in {",", ".", ";"}:
            stretch = tokens.words[start:end]
            if not _DISTRIBUTING.isdisjoint(stretch):
                yield from map(singular, stretch)
            start = end + 1


def _parts_of_one(tokens: Tokens) -> Iterator[str]:
    """Yield what there is only a part of: the melon of `half a melon`."""
    for at, word in enumerate(tokens.words):
        if word in _FRACTIONS:
            start = at + 1 + (tokens.at(at + 1) == "of")
            if tokens.at(start) in {"a", "an", "the"}:
                yield from map(singular, tokens.words[start + 1 : start + 4])


def _is_part_of_more(thing: Thing, scene: Scene, tokens: Tokens) -> bool:
    """Return whether a thing is a part of another one, which may have more of it, or of which others have some, too."""
    part = _head(thing)
    if part not in PARTS:
        return False
    if any(map(is_owner, thing.name.split())):
        return part not in _SINGLE
    owners = {
        relation.subject for relation in scene.relations if relation.word == "with" and thing.name in relation.objects
    }
    if not owners:  # `a windmill with four sails` beside a boat, where the mill was not understood
        is_one_of_two = thing.count == 1 and part in _PAIRED  # `balancing three plates on one arm`
        return (thing.count > 1 or is_one_of_two) and any(
            _may_have(other, part) for other in scene.things if other != thing
        )
    if thing.count == 1 and part not in _SINGLE:
        return True
    owning = (other for other in scene.things if other.name in owners)
    is_of_many = any(owner.count > 1 or _is_counted_again(_head(owner), tokens) for owner in owning)
    others = (other for other in scene.things if other.name not in owners and other != thing)
    return is_of_many or any(_may_have(other, part) for other in others)


def _may_have(other: Thing, part: str) -> bool:
    """Return whether a thing may have such a part."""
    head = _head(other)
    owners = next((owners for parts, owners in PART_OWNERS if part in parts), None)
    if owners is not None:
        return head in owners
    if head in ANIMATE:
        return part in BODY_PARTS
    if head in PARTS | CLOTHES | SCENES:
        return False
    return part in DETAILS or (part in _LIMBS and head in SUPPORTS | SEATS)
