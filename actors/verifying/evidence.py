"""Decides claims from a list of what a picture shows. Pure: no model is asked here.

A claim that the list neither confirms nor contradicts stays open, and the verifier asks about it. Words are compared as
people mean them: plurals, articles, number words, shades of a colour, and the ways to say a place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from actors.verifying.text_matching import shows_text
from protocol.messages import Answer, Claim


@dataclass(frozen=True, slots=True)
class Thing:
    """What was found of one name that was looked for."""

    name: str
    count: int | None = None
    """How many there are, 0 for none; None where that cannot be told."""
    attributes: tuple[str, ...] = ()
    """Colours, materials, states and actions that all of them have."""


@dataclass(frozen=True, slots=True)
class Pair:
    """How one thing stands to another."""

    subject: str
    object: str
    relations: tuple[str, ...] = ()
    """Places and actions of the first with respect to the second."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found in a picture."""

    things: tuple[Thing, ...] = ()
    pairs: tuple[Pair, ...] = ()
    texts: tuple[str, ...] = ()
    """Readable texts, letter by letter."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the evidence says about a claim."""

    answer: Answer
    """`unsure` where the evidence does not tell."""
    reason: str = ""


_OPEN: Final = Finding("unsure")


def _table(*rows: str) -> dict[str, str]:
    """Return each phrase of rows such as `grey: gray|charcoal` with the name that stands for it."""
    parted = (row.partition(": ") for row in rows)
    return {phrase: name for name, _, phrases in parted for phrase in (name, *phrases.split("|"))}


_NUMBER_WORDS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBERS: Final = {word: number for number, word in enumerate(_NUMBER_WORDS.split())} | {
    "no": 0, "none": 0, "a": 1, "an": 1, "single": 1, "pair": 2, "a pair of": 2, "dozen": 12, "a dozen": 12,
}  # fmt: skip
_WORDS: Final = _table(
    "gray: grey|charcoal", "purple: violet|lavender|lilac", "red: crimson|scarlet", "gold: golden", "blue: azure",
    "turquoise: aqua|aquamarine", "beige: cream|ivory|tan", "green: emerald", "metal: metallic|steel|iron",
    "wood: wooden|timber", "stone: rock|granite|marble", "fabric: cloth|textile", "ceramic: porcelain|clay",
    "paper: cardboard", "striped: stripy|stripes", "spotted: dotted|polka-dot|polka-dotted|spots",
    "checkered: checked|checkerboard|chequered|plaid", "sparkling: sparkly|glittering|glittery", "furry: fluffy|fuzzy",
    "big: large|huge|giant", "small: little|tiny|miniature", "closed: shut", "sitting: seated", "smiling: grinning",
    "broken: shattered", "sofa: couch", "bicycle: bike", "car: automobile", "airplane: aeroplane|plane",
)  # fmt: skip
"""Words that mean the same, and the one that stands for them here."""
_PLACES: Final = _table(
    "left of: to the left of|on the left of|on the left side of|left",
    "right of: to the right of|on the right of|on the right side of|right",
    "above: over",
    "below: beneath|underneath|under",
    "on top of: on|atop|upon|onto|on the top of|resting on|sitting on|standing on",
    "in front of: in front",
    "behind: at the back of",
    "inside: inside of|in|within|into",
    "next to: beside|adjacent to|alongside",
    "near: close to",
)
_CONTRARIES: Final = {
    "left of": {"right of"}, "right of": {"left of"}, "above": {"below"}, "below": {"above", "on top of"},
    "on top of": {"below"}, "in front of": {"behind"}, "behind": {"in front of"},
}  # fmt: skip
_MIRRORED: Final = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above", "in front of": "behind",
    "behind": "in front of", "next to": "next to", "near": "near",
}  # fmt: skip
"""How the second of two things stands to the first."""
_FAMILIES: Final = (
    "red orange yellow green blue purple pink brown black white gray gold silver beige navy teal turquoise cyan maroon "
    "olive lime magenta",
    "plastic stone glass metal wood paper brick fabric leather ceramic",
    "striped spotted checkered plain",
    "big small",
    "open closed",
    "full empty",
    "wet dry",
    "old young",
    "standing sitting lying",
)
"""Words that exclude one another: a thing that has only others of a family does not have this one."""
_FAMILY_OF: Final = {word: number for number, words in enumerate(_FAMILIES) for word in words.split()}
_SHADES: Final = (
    {"red", "maroon", "pink", "magenta"}, {"orange", "gold", "yellow", "brown", "beige"}, {"gray", "silver", "white"},
    {"blue", "navy", "cyan", "teal", "turquoise"}, {"green", "lime", "olive", "teal"}, {"purple", "magenta"},
    {"navy", "black"},
)  # fmt: skip
"""Colours that people take for one another, so that one does not exclude the other."""
_IRREGULAR: Final = {
    "mice": "mouse", "geese": "goose", "men": "man", "women": "woman", "children": "child", "people": "person",
    "feet": "foot", "teeth": "tooth", "knives": "knife", "wolves": "wolf", "leaves": "leaf", "shelves": "shelf",
    "loaves": "loaf", "scarves": "scarf", "potatoes": "potato", "tomatoes": "tomato", "glasses": "glass",
    "buses": "bus", "movies": "movie", "cookies": "cookie", "pies": "pie", "ties": "tie", "houses": "house",
    "horses": "horse", "roses": "rose", "vases": "vase",
}  # fmt: skip
_ARTICLES: Final = frozenset({"a", "an", "any", "some", "the"})
_WRITING: Final = frozenset({"text", "word", "letter", "lettering", "writing", "caption"})


def names_in(claims: Iterable[Claim]) -> tuple[str, ...]:
    """Return the names of the things that claims are about, each once."""
    names: dict[str, str] = {}
    for claim in claims:
        for name in (claim.subject, claim.object) if claim.type != "text" else ():
            if name:
                names.setdefault(name_of(name), name)
    return tuple(names.values())


def pairs_in(claims: Iterable[Claim]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of things that claims relate, each once."""
    pairs: dict[tuple[str, str], tuple[str, str]] = {}
    for claim in claims:
        if claim.type == "relation":
            pairs.setdefault((name_of(claim.subject), name_of(claim.object)), (claim.subject, claim.object))
    return tuple(pairs.values())


def decide(claim: Claim, evidence: Evidence) -> Finding:
    """Return what the evidence says about a claim; unsure if it neither confirms nor contradicts it."""
    match claim.type:
        case "text":
            found = _decide_text(claim.value, evidence)
        case "exists" if evidence.texts and name_of(claim.subject) in _WRITING:
            found = Finding("met", f'"{evidence.texts[0][:80]}" is written')
        case "exists" | "count":
            found = _decide_count(claim, evidence)
        case "attribute" | "relation":
            absent = [name for name in (claim.subject, claim.object) if name and _count_of(name, evidence) == 0]
            if absent and not (claim.negated and absent == [claim.object]):
                return Finding("unmet", f"there is no {absent[0]}")
            if absent:
                return Finding("met", f"there is no {absent[0]}")
            found = _decide_attribute(claim, evidence) if claim.type == "attribute" else _decide_pair(claim, evidence)
    if claim.negated and found.answer != "unsure":
        return Finding("unmet" if found.answer == "met" else "met", found.reason)
    return found


def _decide_count(claim: Claim, evidence: Evidence) -> Finding:
    count = _count_of(claim.subject, evidence)
    wanted = 1 if claim.type == "exists" else number_of(claim.value)
    if count is None or wanted is None:
        return _OPEN
    holds = count >= 1 if claim.type == "exists" else count == wanted
    return Finding("met" if holds else "unmet", f"{claim.subject}: {count or 'none'} found")


def _decide_attribute(claim: Claim, evidence: Evidence) -> Finding:
    name, wanted = name_of(claim.subject), word_of(claim.value)
    groups = [set(_words_in(thing.attributes)) for thing in evidence.things if name_of(thing.name) == name]
    if not groups or not wanted:
        return _OPEN
    listed = set.intersection(*groups)
    reason = f"{claim.subject}: {', '.join(sorted(listed)) or 'nothing told'}"
    if wanted in listed or any(shade.endswith(f" {wanted}") and wanted in _FAMILY_OF for shade in listed):
        return Finding("met", reason)
    family = _FAMILY_OF.get(wanted)
    others = {word for word in listed if family is not None and _FAMILY_OF.get(word.rpartition(" ")[2]) == family}
    if not others or any({wanted, word.rpartition(" ")[2]} <= shades for word in others for shades in _SHADES):
        return _OPEN
    return Finding("unmet", reason)


def _decide_pair(claim: Claim, evidence: Evidence) -> Finding:
    wanted = relation_of(claim.value)
    listed = set(_relations_of(name_of(claim.subject), name_of(claim.object), evidence))
    reason = f"{claim.subject} to {claim.object}: {', '.join(sorted(listed)) or 'nothing told'}"
    if wanted in listed:
        return Finding("met", reason)
    return Finding("unmet", reason) if listed & _CONTRARIES.get(wanted, set()) else _OPEN


def _decide_text(wanted: str, evidence: Evidence) -> Finding:
    if shows_text(wanted, evidence.texts):
        return Finding("met", "it is written so")
    return Finding("unmet", f'"{evidence.texts[0][:80]}" is written') if evidence.texts else _OPEN


def _count_of(name: str, evidence: Evidence) -> int | None:
    """Return how many things of a name there are; None if the evidence does not tell."""
    counts = [thing.count for thing in evidence.things if name_of(thing.name) == name_of(name)]
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def _relations_of(subject: str, other: str, evidence: Evidence) -> Iterator[str]:
    for pair in evidence.pairs:
        relations = [relation_of(text) for text in pair.relations]
        match name_of(pair.subject), name_of(pair.object):
            case (first, second) if (first, second) == (subject, other):
                yield from relations
            case (first, second) if (first, second) == (other, subject):
                yield from (_MIRRORED[relation] for relation in relations if relation in _MIRRORED)


def name_of(text: str) -> str:
    """Return the name of a thing in the singular, without an article: `The Grey Mice` -> `gray mouse`."""
    words = _plain(text).split()
    while len(words) > 1 and words[0] in _ARTICLES:
        words.pop(0)
    head = words.index("of") if "of" in words[1:] else len(words)
    if words:
        words[head - 1] = _singular(words[head - 1])
    return " ".join(_WORDS.get(word, word) for word in words)


def number_of(text: str) -> int | None:
    """Return the number that digits or a word stand for; None for anything else."""
    text = _plain(text).removeprefix("exactly ")
    if text.isascii() and text.isdigit():
        return int(text[:9])
    return _NUMBERS.get(text)


def word_of(text: str) -> str:
    """Return the one word that stands for an attribute and its synonyms: `made of wood` and `wooden` are `wood`."""
    text = re.sub(r"^(?:made (?:out )?of|in|is|are) ", "", _plain(text))
    text = re.sub(r"[- ]?colou?r(?:ed)?$", "", text)
    first, _, last = text.rpartition(" ")
    return f"{first} {_WORDS.get(last, last)}".strip() if first else _WORDS.get(text, text)


def relation_of(text: str) -> str:
    """Return the one name of a place, or an action in its base form: `Chases` and `is chasing` are `chas`."""
    text = re.sub(r"^(?:is|are) ", "", _plain(text))
    text = re.sub(r" (?:the|a|an)$", "", text)
    if text in _PLACES:
        return _PLACES[text]
    verb, space, rest = text.partition(" ")
    return f"{_stem(verb)}{space}{_PLACES.get(rest, rest)}"


def _words_in(attributes: Iterable[str]) -> Iterator[str]:
    for attribute in attributes:
        for part in re.split(r"\s*(?:,|/|;|\band\b)\s*", _plain(attribute)):
            if part:
                yield word_of(part)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().strip(" .!?\"'“”").split())


def _singular(word: str) -> str:
    if word in _IRREGULAR or len(word) < 4:
        return _IRREGULAR.get(word, word)
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if re.search(r"(ch|sh|x|ss|zz)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not re.search(r"(ss|us|is)$", word) else word


def _stem(verb: str) -> str:
    """Return the part that the forms of a regular verb share: `chasing`, `chases` and `chased` -> `chas`."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if verb.endswith(ending) and len(verb) - len(ending) >= 3:
            stem = verb.removesuffix(ending)
            is_doubled = ending in ("ing", "ed") and stem[-1] == stem[-2] and stem[-1] not in "sl"
            return stem[:-1] if is_doubled else stem
    return verb
