"""Lists what a storyboard shows, in the form in which a chat model is asked for evidence. Pure.

The list follows from what was read from the pixels. The claims of the requirements are only used to simulate errors: an
eye that errs about one lists what it believes to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.judging import judge, relations_between, tiles_of
from gems_actors.backends.storyboard.reading import Seen
from gems_actors.backends.storyboard.verifier_error import Eye, Word
from gems_actors.backends.storyboard.words import singular

_Entry = dict[str, Any]
_Belief = tuple[Mapping[str, Any], Word, Word]
"""A claim, whether it is true, and what the eye believes."""


def list_evidence(fields: Mapping[str, Any], seen: Seen | None, eye: Eye) -> dict[str, list[Any]]:
    """Return the evidence about the things and pairs in a request's fields; nothing for any other picture."""
    if seen is None:
        return {"things": [], "pairs": [], "texts": []}
    things = {name: _thing(name, seen) for name in fields["names"]}
    pairs = {(subject, other): _pair(subject, other, seen) for subject, other in fields["pairs"]}
    texts = list(seen.texts)
    for claim, truth, said in sorted(_beliefs(fields["requirements"], seen, eye), key=_order):
        if said != truth or claim["type"] in ("exists", "count"):  # one of these may have changed the other
            _believe(claim, said, things, pairs, texts)
    return {
        "things": list(things.values()),
        "pairs": [entry for entry in pairs.values() if entry],
        "texts": texts,
    }


def _beliefs(requirements: Sequence[Mapping[str, Any]], seen: Seen, eye: Eye) -> Iterator[_Belief]:
    """Yield each claim with the truth and with what the eye believes, if it errs about any of them."""
    found: list[_Belief] = []
    for item in requirements:
        if (claim := parse_claim(item["question"])) is not None:
            truth = judge(claim, seen).answer
            found.append((item["claim"], truth, eye.sees(truth, item["question"], claim.kind)))
    if any(truth != said for _, truth, said in found):
        yield from found


def _order(belief: _Belief) -> int:
    """Return the place of a belief: that something is there, then how many, then all others, then that it is not."""
    claim, _, said = belief
    is_there = claim["type"] == "exists" and said == ("no" if claim["negated"] else "yes")
    return 0 if is_there else 3 if claim["type"] == "exists" else 1 if claim["type"] == "count" else 2


def _thing(name: str, seen: Seen) -> _Entry:
    """Return the entry of a name, with what can be seen of it."""
    count, card = tiles_of(singular(name), seen)
    looks = [] if card is None else [*sorted(card.colours), *card.written]
    if card is not None and len(card.surfaces) == 1:
        looks += sorted(surface for surface in card.surfaces if surface)
    return {"name": name, "count": count, "attributes": looks}


def _pair(subject: str, other: str, seen: Seen) -> _Entry:
    relations = relations_between(singular(subject), singular(other), seen)
    return {} if relations is None else {"subject": subject, "object": other, "relations": relations}


def _believe(
    claim: Mapping[str, Any], said: Word, things: dict[str, _Entry], pairs: dict[Any, _Entry], texts: list[str]
) -> None:
    """Change the evidence so that it tells what the eye believes; what cannot be told so is left out."""
    holds = said == ("no" if claim["negated"] else "yes")
    thing, value = things.get(claim["subject"], {}), claim["value"]
    match claim["type"]:
        case "exists" | "count" if thing and (said == "unsure" or thing["count"] is None):
            thing["count"] = None
        case "exists" if thing:
            thing["count"] = max(1, thing["count"]) if holds else 0
        case "count" if thing and holds != (thing["count"] == int(value)):
            thing["count"] = int(value) if holds else int(value) + 1
        case "attribute" if thing:
            thing["attributes"] = [*thing["attributes"], value] if holds else []
        case "relation" if pair := pairs.get((claim["subject"], claim["object"])):
            pair["relations"] = [*pair["relations"], value] if holds else []
        case "text":
            others = [text for text in texts if value not in text]
            texts[:] = [*others, value] if holds else others
