"""Prompts are parsed into scenes, and claims survive conversion to questions and clauses."""

from __future__ import annotations

import pytest

from gems_actors.backends.storyboard.claims import ask, parse_claim, state
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import claims_of
from gems_actors.backends.storyboard.words import plural, singular
from tests.gems_actors.backends.storyboard.pictures import PROMPTS


def things_of(prompt: str) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(thing.name, thing.count, thing.attributes) for thing in parse_scene(prompt).things]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_claim_survives_as_question_and_as_clause(prompt: str) -> None:
    scene = parse_scene(prompt)
    for claim in claims_of(scene):
        assert parse_claim(ask(claim, scene)) == claim
        assert parse_claim(state(claim, scene)) == claim


@pytest.mark.parametrize("prompt", PROMPTS)
def test_stressing_every_claim_adds_nothing_to_the_scene(prompt: str) -> None:
    scene = parse_scene(prompt)
    clauses = "; ".join(state(claim, scene) + "!" * (index % 3) for index, claim in enumerate(claims_of(scene)))
    stressed = parse_scene(f"{prompt}\n\nMake sure: {clauses}")
    assert (stressed.things, stressed.relations, stressed.texts, stressed.styles) == (
        scene.things,
        scene.relations,
        scene.texts,
        scene.styles,
    )
    assert len(stressed.stress) == len(claims_of(scene))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a brown and white dog", [("dog", 1, ("brown", "white"))]),
        ("an orange and a banana", [("orange", 1, ()), ("banana", 1, ())]),
        ("two mice, three sheep, a box and boxes", [("mouse", 2, ()), ("sheep", 3, ()), ("box", 1, ())]),
        ("a photo of a grey metallic traffic light", [("traffic light", 1, ("gray", "metal"))]),
        ("the cat is black. The cat sits on a mat.", [("cat", 1, ("black",)), ("mat", 1, ())]),
        ("a pair of shoes and a glass", [("shoe", 2, ()), ("glass", 1, ())]),
        ("two red dogs and three blue dogs", [("red dog", 2, ("red",)), ("blue dog", 3, ("blue",))]),
        (
            "A photorealistic image of exactly three red candles arranged in a row on a wooden table, soft lighting, "
            "35mm lens, high detail.",
            [("candle", 3, ("red",)), ("table", 1, ("wooden",))],
        ),
    ],
)
def test_noun_phrases_become_things(prompt: str, expected: list[tuple[str, int, tuple[str, ...]]]) -> None:
    assert things_of(prompt) == expected


def test_a_chain_of_positions_relates_neighbours() -> None:
    relations = parse_scene("a red cat behind two chairs to the left of three turtles chasing a mouse").relations
    assert [(relation.subject, relation.word, *relation.objects) for relation in relations] == [
        ("cat", "behind", "chair"),
        ("chair", "left of", "turtle"),
        ("turtle", "chasing", "mouse"),
    ]


def test_a_direction_adds_nothing_to_draw() -> None:
    assert parse_scene("a cat\n\nDirection: a golden frame with two spotlights") == parse_scene("a cat")


@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        ("a red cat" + 30_000 * "\n" + "and a dog", {"cat", "dog"}),
        ("a red cat" + 30_000 * " " + "and a dog", {"cat", "dog"}),
        ("a red cat" + 15_000 * " \n" + "and a dog", {"cat", "dog"}),
        ("a cup " + 4_000 * "of cup ", set()),
        ("a cat beside a cup " + 4_000 * "of a cup ", set()),
    ],
    ids=["lines", "spaces", "both", "nested", "nested after more"],
)
def test_a_prompt_of_many_empty_lines_or_nested_phrases_is_read_in_seconds_and_without_an_error(
    prompt: str, things: set[str]
) -> None:
    """The patterns took minutes for it, and the phrases more depth than Python has."""
    assert things <= {name for name, _, _ in things_of(prompt)}


@pytest.mark.parametrize("noun", ["bus", "sheep", "mouse", "box", "knife", "berry", "glass", "person", "violin", "tv"])
def test_singular_inverts_plural(noun: str) -> None:
    assert singular(plural(noun)) == noun
