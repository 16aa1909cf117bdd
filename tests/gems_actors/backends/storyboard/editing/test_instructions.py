"""An instruction is read as what must be there afterwards, what must go, and what takes whose place."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gems_actors.backends.storyboard.editing.instructions import Instruction, parse_instruction
from gems_actors.backends.storyboard.scene import claims_of


def told(found: Instruction) -> list[str]:
    """Return what an instruction asks for, as short texts."""
    scene = found.scene
    things = [
        " ".join(filter(None, [f"{thing.count}x" if thing.is_counted else "", *thing.attributes, thing.name]))
        for thing in scene.things
    ]
    relations = [f"{item.subject} {item.word} {' '.join(item.objects)}" for item in scene.relations]
    absent = [f"no {name}" for name in scene.absent]
    exchanged = [f"{old}>{new}" for old, new in found.exchanged]
    return [*things, *relations, *absent, *exchanged, *scene.texts, *scene.styles, *scene.settings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Make the dog black and add a tree.", ["black dog", "1x tree"]),
        ("Please paint the house green, then remove the bird", ["green house", "no bird"]),
        ("Change the red car to blue; keep everything else as it is.", ["blue car"]),
        ("Change the colour of the dog to white", ["white dog"]),
        ("make the two cats striped", ["striped cat"]),
        ("Remove all the trees and the car from the picture.", ["no tree", "no car"]),
        ("Replace the cat with a white dog", ["1x white dog", "no cat", "cat>dog"]),
        ("Turn the cat into a dog", ["1x dog", "no cat", "cat>dog"]),
        ("Move the cat to the left of the dog", ["cat", "dog", "cat left of dog"]),
        ("Put two birds on top of the house", ["2x bird", "house", "bird on top of house"]),
        ("Give the cat a hat", ["cat", "1x hat", "cat with hat"]),
        ("Change the number of cats to five", ["5x cat"]),
        ("Make it three cats", ["3x cat"]),
        ("Add another dog", ["dog"]),
        ("Add two more dogs", ["dog"]),
        ('Change the text to "SALE"', ["SALE"]),
        ('Replace "OPEN" with "CLOSED"', ["CLOSED"]),
        ('Write "stop; and go." on the sign', ["stop; and go."]),
        ("make it a watercolor painting", ["watercolor painting"]),
        ("Set the scene at night", ["at night"]),
        ("Change the picture so that there are exactly three cats. Keep everything else as it is.", ["3x cat"]),
        ("Make sure that the image is free of cars", ["no car"]),
        ("two red cats to the left of a dog", ["2x red cat", "1x dog", "cat left of dog"]),
        ("Remove the text", []),
        ("Do not change anything", []),
    ],
)
def test_plain_instructions_are_understood(text: str, expected: list[str]) -> None:
    found = parse_instruction(text)
    assert told(found) == expected
    assert found.scene.not_understood == ()


def test_an_addition_says_no_number_where_there_may_be_some_already() -> None:
    assert parse_instruction("Add another dog").added == {"dog"}
    assert not any(claim.kind == "count" for claim in claims_of(parse_instruction("Add two more dogs").scene))
    assert parse_instruction("Add two dogs").added == frozenset()


def test_a_text_goes_by_itself_or_with_its_sign() -> None:
    for text, gone in (("Remove the text", "text"), ("Remove the sign", "text"), ('Delete "OPEN".', "OPEN")):
        assert parse_instruction(text).gone_texts == (gone,)


def test_stress_and_direction_are_those_of_prompts() -> None:
    found = parse_instruction("Make the dog black.\n\nDirection: seen from above.\n\nMake sure: the dog is black!!")
    assert told(found) == ["black dog"]
    assert [level for _, level in found.scene.stress] == [3]


def test_what_is_not_understood_is_listed() -> None:
    assert parse_instruction("Remove it!").scene.not_understood == ("it",)
    assert parse_instruction("Make it three").scene.not_understood == ("three",)


@given(st.text(max_size=300))
@example("Replace the with the")
@example("turn to a cat")
@example('change "a" to "b"; ;; and and remove')
@example("Make sure:" + " there are exactly three pigs!;" * 100)
def test_any_text_is_read(text: str) -> None:
    found = parse_instruction(text)
    assert all(found.names)
