"""Of a short prompt that is only partly understood, what is clear is asked, and nothing that hangs on the rest."""

from __future__ import annotations

import pytest

from gems_actors.backends.storyboard.grammar import parse_scene
from tests.gems_actors.backends.storyboard.everyday import asks


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a tiger cub playing with a ball of yarn that belongs to the kitten", "Is there a ball of yarn in the image?"),
        ("two old men playing dominoes, watched by a third who is smoking", "Are the men playing the dominoes?"),
        ("a suitcase out of which spill silk scarves", "Is there a suitcase in the image?"),
        ("sad clown sitting alone at a bus stop", "Is the clown sad?"),
        ("dad asleep on sofa with baby on his chest", "Is the dad on the sofa?"),
        ("teacher writing math equations on a green chalkboard", "Is there a teacher in the image?"),
        ("teacher writing math equations on a green chalkboard", "Is the chalkboard green?"),
        ("a dragon, its wings folded, guarding a nest in which four eggs are glowing", "Are the wings folded?"),
    ],
)
def test_the_clear_beginning_and_what_is_certain_after_a_gap_are_asked(prompt: str, asked: str) -> None:
    assert asks(prompt, asked)


@pytest.mark.parametrize(
    ("prompt", "not_asked"),
    [
        ("a pond with two swans and a willow behind them", "Does the pond have a willow?"),
        ("an elderly couple sharing one cone, he licking it, she waving", "Is the couple waving?"),
        ("two knights on horseback charge at each other", "Is there a horseback charge in the image?"),
        ("three sisters: one reading, one painting and one sleeping", "Is there a painting in the image?"),
        ("the prince who was turned into a frog sits on a pad, still wearing a crown", "Is there a frog in the image?"),
        ("a zorbing red velvet snark on a table", "Is there a red velvet in the image?"),
    ],
)
def test_nothing_is_asked_that_hangs_on_what_is_not_understood(prompt: str, not_asked: str) -> None:
    assert not asks(prompt, not_asked)


def test_what_follows_an_unclear_reference_is_listed_in_the_words_of_the_prompt() -> None:
    listed = parse_scene("a farmer and his wife, he holding a pitchfork that glows").not_understood
    assert "he holding a pitchfork that glows" in listed
