"""No word of a prompt that says something is lost: a requirement carries it, or it is listed as not understood."""

from __future__ import annotations

import re
from typing import Final

import pytest

from gems_actors.backends.storyboard.claims import ask
from gems_actors.backends.storyboard.english.vocabulary import FUNCTION_WORDS
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import claims_of
from gems_actors.backends.storyboard.words import PLACES, colour_of, plural, singular, surface_of, word_set
from tests.gems_actors.backends.storyboard.everyday import rows_of

_NOT_IN_QUESTIONS: Final = word_set(
    "says saying reads reading titled labeled displaying announces word words letters message name number painting "
    "pair couple dozen few several some made glasses nobody none except instead"
)
"""Words that questions say in another way: by the text that a sign shows, a number, a style, or what is absent."""
_SAYING_NOTHING: Final = (
    FUNCTION_WORDS - {word for place in PLACES for word in place.split()} | _NOT_IN_QUESTIONS | {"with", "of", "on"}
)


def lost_words(prompt: str) -> list[str]:
    """Return the words of a prompt of which neither a question nor what is listed has any form."""
    scene = parse_scene(prompt)
    texts = (*(ask(claim, scene) for claim in claims_of(scene)), *scene.not_understood)
    said = {word for text in texts for word in re.findall(r"[\w'-]+", text.lower())}
    beginnings = {word[:3] for word in said}  # `sits` is asked as `sitting`

    def is_said(word: str) -> bool:
        place = PLACES.get(word, word).split()[0]
        forms = {word, singular(word), plural(word), colour_of(word), surface_of(word), place}
        return not forms.isdisjoint(said) or word[:3] in beginnings

    words = re.findall(r"\b[^\W\d_][\w'-]+", prompt.lower())
    return [word for word in words if word not in _SAYING_NOTHING and not is_said(word)]


@pytest.mark.parametrize("table", ["everyday", "held_back"])
def test_each_word_of_a_prompt_is_asked_or_listed(table: str) -> None:
    assert {prompt: lost for prompt, _ in rows_of(table) if (lost := lost_words(prompt))} == {}


@pytest.mark.parametrize(
    ("prompt", "listed"),
    [
        ("a heap of pumpkins beside a barn door", "a heap of …"),
        ("two rows of chairs facing a stage", "two rows of …"),
        ("a small group of hikers on a ridge", "a small group of …"),
        ("lots of candles on an altar", "lots of …"),
        ("lots of smoke above a town", "lots of …"),
        ("a lot of birds on a wire", "a lot of …"),
        ("many kites above a beach", "many …"),
        ("the interior of a submarine with a periscope", "the interior of …"),
        ("both of the cups are empty", "both of …"),
        ("a garden with only tulips", "only …"),
        ("a pond with two swans and a willow behind them", "behind them"),
        ("a snail on a mushroom, with a beetle next to it", "beetle next to it"),
        ("a tent with a campfire outside", "campfire outside"),
        ("below, a winding river", "below"),
        ("a cloud shaped like a rabbit above a farm", "rabbit above …"),
        ("a fox seen through a fence", "fox seen through …"),
        ("a cat looking at itself in a puddle", "in …"),
        ("a diver swimming up towards the light", "up towards the light"),
        ("a frog peering out from behind a boot", "peering out from behind …"),
        ("a teacher showing a map to a pupil", "teacher showing …"),
        ("a teacher showing a map to a pupil", "map to …"),
        ("a kite floating barely above the trees", "barely"),
        ("an emblem featured on a coat of arms", "featured on …"),
        ("a chef sniffing a row of jars", "a row of …"),
        ("a shelf where three dolls sit", "shelf where …"),
        ("a lighthouse on a cliff, photograph", "photograph"),
        ("a sepia photograph of a train", "photograph"),
    ],
)
def test_words_that_the_grammar_goes_past_are_listed(prompt: str, listed: str) -> None:
    assert listed in parse_scene(prompt).not_understood


@pytest.mark.parametrize(
    "prompt",
    [
        "a pair of oars in a rowboat",
        "a pair of binoculars on a map",
        "half a dozen eggs in a carton",
        "several boats near a pier",
        "a photo of a cat",
        "a cat on a rug, macro photography",
        "an owl wearing glasses",
        "a crimson scarf on a marble bench",
        "a woman who sits on a suitcase and reads",
        "a fountain featuring two dolphins",
        "a lantern with a moth beside it",
        "a spaceship landing in a field with cows watching",
        "a foggy river, nobody around",
        "a keyboard without any letters on the keys",
        "a statue made of glass",
        'a banner with the word "OPEN"',
        "both a cat and a dog on a rug",
        "a cup of tea in the picture",
    ],
)
def test_words_that_a_requirement_carries_in_another_form_are_not_listed(prompt: str) -> None:
    assert parse_scene(prompt).not_understood == ()


def test_a_text_within_words_that_are_listed_is_three_dots() -> None:
    assert "an odd … zorbs … under …" in parse_scene('an odd "OPEN" zorbs "NOW" under a lamp').not_understood
