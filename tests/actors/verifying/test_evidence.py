"""Claims are decided from what was found in a picture, and stay open where that does not tell."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from actors.verifying.evidence import (
    Evidence,
    Pair,
    Thing,
    decide,
    name_of,
    names_in,
    number_of,
    pairs_in,
    relation_of,
    word_of,
)
from actors.verifying.evidence_listing import evidence_request, parse_evidence
from gems_actors.backends import ImagePart
from gems_actors.errors import ModelOutputError
from protocol.messages import Claim
from tests.actors.fakes import requirement, text_of

SEEN = Evidence(
    things=(
        Thing("cats", 3, ("dark red", "furry", "running")),
        Thing("dog", 1, ("made of stone", "black and white")),
        Thing("bird", 0),
        Thing("crowd"),
        Thing("boxes", 2, ("wooden", "open")),
    ),
    pairs=(Pair("cat", "dog", ("to the left of", "is chasing")), Pair("box", "cat", ("under",))),
    texts=("Open", "LATE"),
)


def claim(text: str) -> Claim:
    """Return the claim in a text such as `count cat 3`, `relation cat/dog left of`; `not` in front denies it."""
    negated, text = text.startswith("not "), text.removeprefix("not ")
    type_, _, rest = text.partition(" ")
    if type_ == "text":
        return Claim(type="text", value=rest, negated=negated)
    names, _, value = rest.partition(" ")
    subject, _, other = names.partition("/")
    return Claim(type=type_, subject=subject, object=other, value=value, negated=negated)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("exists cat", "met"),
        ("exists bird", "unmet"),
        ("not exists bird", "met"),
        ("not exists cat", "unmet"),
        ("exists horse", "unsure"),
        ("exists crowd", "unsure"),
        ("not exists text", "unmet"),
        ("count cat 3", "met"),
        ("count Cats three", "met"),
        ("count cat 2", "unmet"),
        ("not count cat 2", "met"),
        ("count bird 2", "unmet"),
        ("count crowd 20", "unsure"),
        ("count cat several", "unsure"),
        ("attribute cat red", "met"),
        ("attribute cat crimson", "met"),
        ("attribute cat fluffy", "met"),
        ("attribute cat running", "met"),
        ("attribute cat blue", "unmet"),
        ("not attribute cat blue", "met"),
        ("not attribute cat red", "unmet"),
        ("attribute cat pink", "unsure"),
        ("attribute cat happy", "unsure"),
        ("attribute dog black", "met"),
        ("attribute dog white", "met"),
        ("attribute dog granite", "met"),
        ("attribute dog wooden", "unmet"),
        ("attribute box closed", "unmet"),
        ("attribute bird red", "unmet"),
        ("not attribute bird red", "unmet"),
        ("attribute horse red", "unsure"),
        ("relation cat/dog left of", "met"),
        ("relation cat/dog right of", "unmet"),
        ("not relation cat/dog right of", "met"),
        ("relation cat/dog chases", "met"),
        ("relation cat/dog holding", "unsure"),
        ("relation cat/dog above", "unsure"),
        ("relation dog/cat right of", "met"),
        ("relation dog/cat chasing", "unsure"),
        ("relation box/cat beneath", "met"),
        ("relation cat/box over", "met"),
        ("relation cat/bird left of", "unmet"),
        ("not relation cat/bird holding", "met"),
        ("relation horse/cat left of", "unsure"),
        ("text open late", "met"),
        ("text OPEN", "met"),
        ("text Opne", "unmet"),
    ],
)
def test_a_claim_is_decided_where_the_evidence_tells(text: str, answer: str) -> None:
    assert decide(claim(text), SEEN).answer == answer


def test_without_evidence_everything_is_open() -> None:
    for text in ("exists cat", "count cat 0", "attribute cat red", "relation cat/dog on", "text OPEN"):
        assert decide(claim(text), Evidence()).answer == "unsure", text


def test_a_reason_says_what_was_found() -> None:
    assert decide(claim("count cat 2"), SEEN).reason == "cat: 3 found"
    assert decide(claim("relation cat/dog right of"), SEEN).reason == "cat to dog: chas, left of"
    assert decide(claim("attribute bird red"), SEEN).reason == "there is no bird"


def test_several_entries_of_one_name_count_together_and_share_what_they_all_have() -> None:
    seen = Evidence(things=(Thing("cat", 1, ("red", "small")), Thing("Cats", 2, ("red",))))
    assert decide(claim("count cat 3"), seen).answer == "met"
    assert decide(claim("attribute cat red"), seen).answer == "met"
    assert decide(claim("attribute cat small"), seen).answer == "unsure"


def test_words_are_compared_as_people_mean_them() -> None:
    assert name_of("The Grey Mice") == name_of("gray mouse")
    assert name_of("cups of tea") == name_of("a cup of tea")
    assert name_of("berries") == name_of("berry")
    assert name_of("boxes") == name_of("box")
    assert [number_of(text) for text in ("3", "three", "Exactly Three", "a dozen", "many", "³")] == [
        3,
        3,
        3,
        12,
        None,
        3,
    ]
    assert word_of("made of wood") == word_of("Wooden") == "wood"
    assert word_of("grey-coloured") == word_of("grey color") == word_of("gray")
    assert relation_of("is running over") == relation_of("runs above")
    assert relation_of("beside the") == "next to"


def test_the_request_names_what_to_look_for_and_not_what_is_wanted() -> None:
    wanted = [
        structs.replace(requirement("a"), claim=claim("count cat 3")),
        structs.replace(requirement("b"), claim=claim("attribute cats crimson")),
        structs.replace(requirement("c"), claim=claim("relation cat/sofa under")),
        structs.replace(requirement("d"), claim=claim("text OPEN")),
        requirement("e"),
    ]
    claims = [item.claim for item in wanted if item.claim is not None]
    assert names_in(claims) == ("cat", "sofa")
    assert pairs_in(claims) == (("cat", "sofa"),)
    request = evidence_request(ImagePart(b"x", "image/png"), wanted)
    asked = text_of(request).rpartition("<things>")[2]
    assert "- cat\n- sofa\n" in asked
    assert "- cat and sofa" in asked
    assert not any(word in asked for word in ("crimson", "3", "under", "OPEN"))


def test_the_example_in_the_rules_has_the_form_that_is_read() -> None:
    example = '{"things": [{"name": "cat", "count": 2, "attributes": ["red"]}], "pairs": [], "texts": ["OPEN"]}'
    assert parse_evidence(f"```json\n{example}\n```") == Evidence((Thing("cat", 2, ("red",)),), (), ("OPEN",))


@pytest.mark.parametrize(
    ("count", "read"), [(3, 3), ("three", 3), ("3", 3), (3.0, 3), (None, None), ("many", None), (0, 0)]
)
def test_a_count_is_read_in_digits_and_in_words(count: object, read: int | None) -> None:
    text = json.dumps({"things": [{"name": "cat", "count": count, "attributes": "red"}]})
    assert parse_evidence(text) == Evidence((Thing("cat", read, ("red",)),))


@pytest.mark.parametrize("count", [-1, 2.5, True, "a few dozen", [3], {"n": 3}, 10**30])
def test_a_thing_with_any_other_count_is_left_to_the_verifier_and_the_others_are_kept(count: object) -> None:
    things = [
        {"name": "cats", "count": 2},
        {"name": "cat", "count": count, "attributes": ["red"]},
        {"name": "dog", "count": 1},
    ]
    seen = parse_evidence(json.dumps({"things": things, "texts": ["OPEN"]}))
    assert [thing.name for thing in seen.things] == ["dog"]
    for text in ("exists cat", "count cat 2", "attribute cat red"):
        assert decide(claim(text), seen).answer == "unsure"
    assert decide(claim("count dog 1"), seen).answer == decide(claim("text OPEN"), seen).answer == "met"


anything = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.integers()


@given(st.fixed_dictionaries({"things": st.lists(st.fixed_dictionaries({"name": st.text(), "count": anything}))}))
@pytest.mark.slow
def test_any_answer_is_evidence_or_an_error(answer: dict[str, Any]) -> None:
    with suppress(ModelOutputError):
        decide(claim("count cat 3"), parse_evidence(json.dumps(answer)))


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_any_words_are_decided_without_an_error(subject: str, value: str, listed: str) -> None:
    seen = Evidence((Thing(subject, 1, (listed,)),), (Pair(subject, value, (listed,)),), (listed,))
    for type_ in ("exists", "count", "attribute", "relation", "text"):
        decide(Claim(type=type_, subject=subject, object=value, value=value), seen)
