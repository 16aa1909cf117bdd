"""Verdicts on claims, from what was read from a picture."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

from gems_actors.backends.storyboard.english.vocabulary import attribute_of, is_compound
from gems_actors.backends.storyboard.patterns import Box
from gems_actors.backends.storyboard.reading import Seen, SeenCard
from gems_actors.backends.storyboard.scene import Claim, is_negative
from gems_actors.backends.storyboard.words import COLOURS, SURFACES, plural, spell

_TOUCH_PX: Final = 4
_LOOKALIKES: Final = str.maketrans({"I": "l", "|": "l", "“": '"', "”": '"', "‘": "'", "’": "'", '"': "'"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim is true of a picture, and why."""

    answer: Literal["yes", "no", "unsure"]
    reason: str


def judge(claim: Claim, seen: Seen) -> Verdict:
    """Return the verdict on one claim."""
    match claim.kind:
        case "text":
            return _judge_text(claim.value, seen)
        case "style":
            found = any(_is_same(note, f"style: {claim.value}") for note in seen.notes)
            return _verdict(found, "a note names the style" if found else "no note names the style")
        case "other" if not claim.subject:
            found = any(_is_same(note, f"scene: {claim.value}") for note in seen.notes)
            return _verdict(found, "a note names the scene" if found else "no note names the scene")
        case "position" | "action" if claim.objects and is_negative(claim.value):
            return _judge_absence(claim, seen)
        case "position" | "action" if claim.objects:
            return _judge_relation(claim, seen)
    cards = _cards_named(claim.subject, seen)
    if claim.kind in ("object", "count"):
        cards += [card for card in _individuals(claim.subject, seen) if card not in cards]
    if not cards and claim.kind == "object":
        cards = [card for card in seen.cards if card.name.endswith(f" {claim.subject}")]
    if claim.kind == "count" and claim.value == "0" and claim.subject == "text" and seen.texts:
        return Verdict("no", f"a sign reads {seen.texts[0][:80]!r}")
    if claim.kind == "count" and claim.value == "0":
        return _verdict(not cards, f"there is {'a' if cards else 'no'} card named {claim.subject}")
    if not cards:
        return Verdict("no", f"there is no card named {claim.subject}")
    card = cards[0]
    match claim.kind:
        case "object":
            return Verdict("yes", f"there is a card named {card.name}")
        case "count":
            count = sum(card.count for card in cards)
            noun = claim.subject if count == 1 else plural(claim.subject)
            return _verdict(count == int(claim.value), f"there are tiles for {spell(count) if count else 'no'} {noun}")
        case "other":
            wanted = claim.value.replace("=", " ")
            is_shown = any(_is_same(word, wanted) for word in card.written)
            return _verdict(is_shown, f"the chart says {', '.join(card.written) or 'nothing'}")
        case _:
            return _judge_attribute(claim.value, card)


def tiles_of(name: str, seen: Seen) -> tuple[int | None, SeenCard | None]:
    """Return how many tiles a name has, and the card that shows how they look; 0 and None if nothing has that name.

    The number is None where things are there and cannot be counted: a chart has no tiles, and a name may only be the
    end of other names.
    """
    named = _cards_named(name, seen)
    cards = named + [card for card in _individuals(name, seen) if card not in named]
    is_there = bool(cards) or any(card.name.endswith(f" {name}") for card in seen.cards)
    count = sum(card.count for card in cards)
    return None if is_there and not count else count, next(iter(named), None)


def relations_between(subject: str, target: str, seen: Seen) -> list[str] | None:
    """Return the places and actions of one thing with respect to another; None if one of them is missing."""
    first, second = _find(subject, seen), _find(target, seen)
    if first is None or second is None:
        return None
    words = [word for word in _PLACES if _relates(first, word, second, seen)]
    words += [link.word for link in seen.links if (link.subject, link.target) == (first.name, second.name)]
    opening, ending = f"{first.name} ", f" {second.name}"
    noted = [note for note in seen.notes if note.startswith(opening) and note.endswith(ending)]
    return list(dict.fromkeys([*words, *(note[len(opening) : -len(ending)] for note in noted)]))


def _cards_named(name: str, seen: Seen) -> list[SeenCard]:
    """Return the cards of a name; one that begins with a colour or material, as in `red ball`, must also look so."""
    cards = [card for card in seen.cards if _is_named(card.name, name)]
    first, _, rest = name.partition(" ")
    is_named_by_look = rest and not rest.startswith("of ") and (first in COLOURS or first in SURFACES)
    looks = [first] if is_named_by_look else []
    if not cards and rest and attribute_of(first) is not None:
        cards = [card for card in seen.cards if _is_named(card.name, rest) and _looks(first, card)]
    return [card for card in cards if all(_looks(word, card) for word in looks)]


def _individuals(name: str, seen: Seen) -> list[SeenCard]:
    """Return the cards of individuals of a kind, such as `black dog` and `white dog` for `dog`."""
    found = []
    for card in seen.cards:
        first, _, rest = card.name.partition(" ")
        if rest and _is_named(rest, name) and attribute_of(first) is not None and not is_compound(first, rest):
            found.append(card)
    return found


def _looks(word: str, card: SeenCard) -> bool:
    return _judge_attribute(word, card).answer == "yes"


def _judge_absence(claim: Claim, seen: Seen) -> Verdict:
    """Return whether the subject is there and has no such relation, of which `without` denies every one."""
    subject = _find(claim.subject, seen)
    if subject is None:
        return Verdict("no", f"there is no card named {claim.subject}")
    word = claim.value.removeprefix("not ")
    for target in (card for name in claim.objects for card in _cards_named(name, seen)):
        words = [word] if word != "without" else ["with", "wearing", "holding", "inside"]
        is_linked = word == "without" and any(
            {link.subject, link.target} == {subject.name, target.name} for link in seen.links
        )
        if is_linked or any(_relates(subject, each, target, seen) for each in words):
            return Verdict("no", f"the picture shows the {subject.name} with the {target.name}")
    return Verdict("yes", f"the picture shows the {subject.name} {claim.value} {' and '.join(claim.objects)}")


def _judge_attribute(word: str, card: SeenCard) -> Verdict:
    if word.startswith("not "):
        denied = _judge_attribute(word.removeprefix("not "), card)
        return _verdict(denied.answer == "no", denied.reason)
    seen = [*sorted(card.colours), *sorted(surface for surface in card.surfaces if surface), *card.written]
    reason = f"the {card.name} looks {' and '.join(seen) or 'plain'}"
    is_written = any(_is_same(written, word) for written in card.written)
    if word in COLOURS:
        return _verdict(word in card.colours or is_written, reason)
    if word in SURFACES:
        return _verdict(card.surfaces == {word} or is_written, reason)
    return _verdict(is_written, reason)


def _judge_text(text: str, seen: Seen) -> Verdict:
    wanted = _folded(text)
    if any(wanted in _folded(sign) for sign in seen.texts) or wanted in _folded("".join(seen.texts)):
        return Verdict("yes", "a sign reads just that")
    if not seen.texts:
        return Verdict("no", "there is no sign")
    return Verdict("no", f"the nearest sign reads {seen.texts[0][:80]!r}")


def _judge_relation(claim: Claim, seen: Seen) -> Verdict:
    subject = _find(claim.subject, seen)
    targets = [_find(name, seen) for name in claim.objects]
    missing = [
        name for name, card in zip((claim.subject, *claim.objects), (subject, *targets), strict=True) if card is None
    ]
    if subject is None or missing:
        return Verdict("no", f"there is no card named {missing[0]}")
    words = ["right of", "left of"] if claim.value == "between" and len(targets) == 2 else [claim.value] * len(targets)
    holds = all(
        _relates(subject, word, target, seen) for word, target in zip(words, targets, strict=True) if target is not None
    )
    relation = f"the {claim.subject} {claim.value} the {' and the '.join(claim.objects)}"
    return _verdict(holds, f"the picture {'shows' if holds else 'does not show'} {relation}")


def _relates(subject: SeenCard, word: str, target: SeenCard, seen: Seen) -> bool:
    if any(_is_same(note, f"{subject.name} {word} {target.name}") for note in seen.notes):
        return True
    holds = _PLACES.get(word)
    if holds is not None and holds(subject.box, target.box):
        return True
    return any(
        link.subject == subject.name and link.target == target.name and _is_same(link.word, word) for link in seen.links
    )


def _is_left(first: Box, second: Box) -> bool:
    return first[2] <= second[0] + _TOUCH_PX


def _is_above(first: Box, second: Box) -> bool:
    return first[3] <= second[1] + _TOUCH_PX


def _is_on(first: Box, second: Box) -> bool:
    return abs(first[3] - second[1]) <= _TOUCH_PX and _shares_columns(first, second)


def _is_in_front(first: Box, second: Box) -> bool:
    """Return whether the first card begins on the second and reaches below it, and so hides its bottom."""
    begins = second[1] + _TOUCH_PX < first[1] < second[3] - _TOUCH_PX
    return begins and first[3] > second[3] + _TOUCH_PX and _shares_columns(first, second)


def _is_inside(first: Box, second: Box) -> bool:
    return first[0] > second[0] and first[1] > second[1] and first[2] < second[2] and first[3] < second[3]


def _shares_columns(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2]


_PLACES: Final = {
    "left of": _is_left,
    "right of": lambda first, second: _is_left(second, first),
    "above": _is_above,
    "below": lambda first, second: _is_above(second, first),
    "under": lambda first, second: _is_above(second, first),
    "on top of": _is_on,
    "in front of": _is_in_front,
    "behind": lambda first, second: _is_in_front(second, first),
    "inside": _is_inside,
}


def _find(name: str, seen: Seen) -> SeenCard | None:
    return next(iter([*_cards_named(name, seen), *_individuals(name, seen)]), None)


def _is_named(label: str, name: str) -> bool:
    """Return whether a label is this name; a shortened label ends in three dots."""
    label = label.replace("…", "...")
    if label.endswith("..."):
        return _folded(name).startswith(_folded(label[:-3]))
    return _is_same(label, name)


def _is_same(read: str, wanted: str) -> bool:
    read = read.replace("…", "...")
    if read.endswith("...") and len(read) > 6:
        return _folded(wanted).startswith(_folded(read[:-3]))
    return _folded(read) == _folded(wanted)


def _folded(text: str) -> str:
    """Return a text without white space, which depends on line breaks, and with lookalike characters unified."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).translate(_LOOKALIKES)


def _verdict(holds: bool, reason: str) -> Verdict:
    return Verdict("yes" if holds else "no", reason)
