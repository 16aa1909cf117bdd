"""Everyday prompts with the requirements that a careful person would write, and how well the grammar finds these.

A line of a table is `prompt => requirement | requirement`. A requirement is `a dog` (there is a dog, exactly one),
`3 dog` (there are dogs, exactly three), `dog`, `=2 dog` (exactly two in all), `no dog`, `dog: black`,
`dog > chasing > cat`, `cat > between > dog + bird`, `clock = time=3:15`, `"OPEN"`, `style anime` or `scene at night`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import Claim, claims_of
from gems_actors.backends.storyboard.words import colour_of, number_of, place_name, surface_of

TABLES: Final = Path(__file__).with_name("prompts")


@dataclass(frozen=True, slots=True)
class Score:
    """How well requirements were found in the prompts of a table."""

    wanted: int
    found: int
    right: int

    @property
    def recall(self) -> float:
        """Share of the wanted requirements that were found."""
        return self.right / self.wanted

    @property
    def precision(self) -> float:
        """Share of the requirements found that were wanted."""
        return self.right / self.found


def rows_of(table: str) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the prompts of a table with the wanted requirements."""
    for line in (TABLES / f"{table}.txt").read_text().splitlines():
        prompt, _, wanted = line.partition(" => ")
        yield prompt, [key for item in wanted.split(" | ") if item.strip() for key in _keys_of(item.strip())]


def found_in(prompt: str) -> list[tuple[str, ...]]:
    """Return the requirements that the grammar finds, in the form of the tables."""
    return [_key_of(claim) for claim in claims_of(parse_scene(prompt))]


def asks(prompt: str, question: str) -> bool:
    """Return whether a prompt leads to the claim of a question, however it is worded."""
    claim = parse_claim(question)
    assert claim is not None, question
    return claim in claims_of(parse_scene(prompt))


def score(table: str) -> Score:
    """Return how well the requirements of a table are found."""
    wanted = found = right = 0
    for prompt, keys in rows_of(table):
        claims = found_in(prompt)
        wanted, found, right = wanted + len(keys), found + len(claims), right + len({*keys} & {*claims})
    return Score(wanted, found, right)


def _keys_of(item: str) -> Iterator[tuple[str, ...]]:
    item = item if item.startswith('"') else re.sub(r"\bglasses\b", "eyeglasses", item.lower())
    first, _, rest = item.partition(" ")
    if item.startswith('"'):
        yield "text", item.strip('"')
    elif first in ("style", "scene"):
        yield first, rest
    elif first == "no":
        yield "count", rest, "0"
    elif " > " in item:
        subject, word, objects = item.split(" > ")
        yield "relation", subject, place_name(word, objects), *objects.split(" + ")
    elif ": " in item:
        subject, word = item.split(": ")
        yield "property", subject, colour_of(word) or surface_of(word) or word
    elif " = " in item:
        subject, value = item.split(" = ")
        yield "value", subject, value
    elif first.startswith("="):
        yield "count", rest, first[1:]
    elif first in ("a", "an") or number_of(first):
        yield "object", rest
        yield "count", rest, str(number_of(first) or 1)
    else:
        yield "object", item


def _key_of(claim: Claim) -> tuple[str, ...]:
    match claim:
        case Claim(kind="object"):
            return "object", claim.subject
        case Claim(kind="count"):
            return "count", claim.subject, claim.value
        case Claim(kind="text" | "style" as kind):
            return kind, claim.value
        case Claim(kind="other", subject=""):
            return "scene", claim.value
        case Claim(kind="other"):
            return "value", claim.subject, claim.value
        case Claim(objects=()):
            return "property", claim.subject, claim.value
    return "relation", claim.subject, claim.value, *claim.objects
