"""Of prose, only what is wholly understood becomes a requirement."""

from __future__ import annotations

import pytest

from gems_actors.backends.storyboard.claims import ask, parse_claim, state
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import claims_of
from tests.gems_actors.backends.storyboard.everyday import asks

OPENING = (
    "In a quiet harbor, a wooden boat lies on the sand, and the light of the morning falls softly over everything that "
    "has gathered there through the long years. "
)
"""Enough words to make prose of any sentence after them."""


def questions_of(prompt: str) -> set[str]:
    scene = parse_scene(prompt)
    return {ask(claim, scene) for claim in claims_of(scene)}


PARAGRAPH = (
    "An old lighthouse with a red door stands on a rocky cliff. Two gray gulls perch on a wooden fence, and a "
    "small boat is tied to a rusty iron ring far below, as if somebody might return for it. The door is closed. "
    "There are no people. The keeper wears a blue coat and holds a brass lantern, a memory of storms "
    "or of better times."
)


def test_a_paragraph_asks_for_what_it_plainly_names_and_for_nothing_else() -> None:
    assert questions_of(PARAGRAPH) == {
        "Is there a lighthouse in the image?",
        "Is the lighthouse old?",
        "Is there a door in the image?",
        "Is the door red?",
        "Does the lighthouse have a door?",
        "Is there a cliff in the image?",
        "Is the cliff rocky?",
        "Is the lighthouse standing on the cliff?",
        "Are there any gulls in the image?",
        "Are there exactly two gulls in the image?",
        "Are the gulls gray?",
        "Is there a fence in the image?",
        "Is the fence wooden?",
        "Are the gulls perching on the fence?",
        "Is there a boat in the image?",
        "Is the boat small?",
        "Is the door closed?",
        "Is there a keeper in the image?",
        "Is there a coat in the image?",
        "Is the coat blue?",
        "Is the keeper wearing the coat?",
        "Is there a brass lantern in the image?",
    }


def test_claims_of_prose_survive_as_questions_and_as_clauses() -> None:
    scene = parse_scene(PARAGRAPH)
    for claim in claims_of(scene):
        assert (parse_claim(ask(claim, scene)), parse_claim(state(claim, scene))) == (claim, claim)


@pytest.mark.parametrize(
    ("sentence", "asked"),
    [
        ("A man in a gray suit sits on a bench.", "Is the man wearing the suit?"),
        ("A man in a gray suit sits on a bench.", "Is the man sitting on the bench?"),
        ("Behind the boat stands a tall crane.", "Is there a crane in the image?"),
        ("There is a blue bucket beside a rope.", "Is the bucket next to the rope?"),
        ("A basket is filled with oranges.", "Is the basket filled with the oranges?"),
        ("A shelf holds a clock, a vase and a globe.", "Is there a globe in the image?"),
        ("The gate is rusty.", "Is the gate rusty?"),
        ("A dog is sleeping.", "Is the dog sleeping?"),
        ("Three kites float in the sky.", "Are there exactly three kites in the image?"),
        ("Nearby, a woman in a coat and a red hat waves.", "Is there a woman in the image?"),
        ("A rusted Ferris wheel turns.", "Is there a Ferris wheel in the image?"),
        ("The flag bears no symbols or text.", "Is there a flag in the image?"),
        ("A shield bears three stars.", "Is the shield bearing the stars?"),
        ("A penguin wearing a bow tie and a monocle sits at a desk.", "Is the penguin wearing the monocle?"),
        ("A penguin wearing a bow tie and a monocle sits at a desk.", "Is the penguin sitting at the desk?"),
        ("A woman carrying a basket and an umbrella walks along a wall.", "Is the woman walking along the wall?"),
        ("A farmer in blue overalls leads a horse.", "Is the farmer wearing the overalls?"),
        ("A florist in an apron arranges tulips.", "Is the florist arranging the tulips?"),
        ("A whimsical treehouse stands in an oak.", "Is there a treehouse in the image?"),
        ("An elderly watchmaker with round spectacles hunches over a desk.", "Are the spectacles round?"),
        ("A black sports car is parked next to a curb.", "Is the sports car parked next to the curb?"),
        ("An arcade full of teenagers glows.", "Is there an arcade in the image?"),
        ("The image shows a red barn beside a silo.", "Is the barn next to the silo?"),
        ("Four orange goldfish swim around a castle.", "Are the goldfish swimming around the castle?"),
        ("A barber in a striped apron trims a beard.", "Is the barber wearing the apron?"),
        ("A couple dances in a kitchen.", "Is the couple dancing in the kitchen?"),
        ("Pots stand on the steps, and a cat sleeps on a windowsill.", "Is the cat sleeping on the windowsill?"),
        (
            "A bicycle leans against a wall in the late afternoon sun.",
            "Is the scene set in the late afternoon sunlight?",
        ),
    ],
)
def test_a_plain_sentence_of_prose_is_understood(sentence: str, asked: str) -> None:
    assert asks(OPENING + sentence, asked)


@pytest.mark.parametrize(
    ("sentence", "noun"),
    [
        ("Clouds drift by like sheep.", "sheep"),
        ("The rope curls as if a snake had slept there.", "snake"),
        ("A gull or a raven watches.", "raven"),
        ("A gull or a raven watches.", "gull"),
        ("A girl dreams of a castle.", "castle"),
        ("No dogs are allowed near a fountain.", "fountain"),
        ("A boy runs to catch a train.", "train"),
        ("The smell of a bakery fills the street.", "bakery"),
        ("A woman waits for a taxi.", "taxi"),
        ("A knight, a tall woman, kneels.", "woman"),
        ("A wall reflects a tower.", "tower"),
        ("The sail would need a mast.", "mast"),
        ("A crate is hidden behind a barrel.", "barrel"),
        ("The roof of a hotel gleams.", "hotel"),
        ("Stones are arranged in a circle.", "circle"),
        ("A girl returns after a storm with its owner.", "owner"),
        ("A horse stands before a bridge.", "bridge"),
        ("The poster shows a crane.", "poster"),
        ("A woman leans her nose against the glass.", "glass"),
        ("A girl kneels on one knee.", "knee"),
        ("A house of cards stands on a desk, and the house trembles.", "house"),
        ("A cat and a horse rest, the smallest animal in front.", "animal"),
        ("Some eagerly wave.", "wave"),
        ("Stones are stacked in a pyramid.", "pyramid"),
        ("The shore is a symphony of a thousand lanterns.", "lantern"),
    ],
)
def test_what_prose_does_not_plainly_say_is_no_thing(sentence: str, noun: str) -> None:
    prompt = OPENING + sentence
    assert noun not in {name for thing in parse_scene(prompt).things for name in thing.name.split()}
    assert any(noun in words for words in parse_scene(prompt).not_understood)


@pytest.mark.parametrize(
    ("sentence", "not_asked"),
    [
        ("A dog sits on a crate near a barrel.", "Is the crate near the barrel?"),
        ("A man and his son sit on a bench.", "Is the son sitting on the bench?"),
        ("A woman, seated on a crate, peels an orange.", "Is the woman peeling the orange?"),
        ("A jar is half empty.", "Is the jar empty?"),
        ("A crane nearly touches a roof.", "Is the crane touching the roof?"),
        ("A table holds six sticky notes next to a two-note pile.", "Are there exactly six notes in the image?"),
        ("Two cats sleep. A third cat yawns.", "Are there exactly two cats in the image?"),
        ("Red and blue flags hang from a pole.", "Are the flags red?"),
        ("A dimly lit lamp hangs over a desk.", "Is the lamp lit?"),
        ("Two lavender plants frame the entrance.", "Are the plants purple?"),
        ("A rabbit with pink ear flaps sits on a crate.", "Is there an ear in the image?"),
        ("The tower is twice as long as the keeper is tall.", "Is the keeper tall?"),
        ("A stand offers a bowl of dipping sauces.", "Are the sauces dipping?"),
        ("A ship is on the right side of the ocean.", "Is the ship to the right of the ocean?"),
        ("Two people sit on a deck, and a third dives.", "Are there exactly two people in the image?"),
        ("A red wine glass stands on a fresh fruit stand.", "Is the wine glass red?"),
        ("A red wine glass stands on a fresh fruit stand.", "Is the fruit stand fresh?"),
        ("A stained glass window glows.", "Is the window stained?"),
        ("A queen holds a carved ivory staff.", "Is the staff ivory?"),
        ("Beyond the glass, flying ambulances wait.", "Are the ambulances glass?"),
        ("Fluffy clouds drift over a barn.", "Are the clouds furry?"),
        ("An antique shop stands beside a church.", "Is the shop antique?"),
        ("It must be early in the morning or late in the afternoon.", "Is the scene set in the morning?"),
        ("It must be early in the morning or late in the afternoon.", "Is the scene set in the afternoon?"),
        ("An artist is painting at an easel.", "Is the artist painting at the easel?"),
        ("The church bell has just struck noon.", "Is there a church bell in the image?"),
        ("The singer has stepped out of the frame.", "Is there a singer in the image?"),
        ("The sink below is not in the picture.", "Is there a sink in the image?"),
        ("The far end of a pier disappears in the mist.", "Is the scene set in the mist?"),
        (
            "A poster in the style of the 1920s. A dancer leans against a wall.",
            "Is the poster leaning against the wall?",
        ),
        ("A cart with one wheel missing leans against a wall.", "Is there a wheel in the image?"),
        ("A coat is draped over a chair, but the teacher is nowhere to be seen.", "Is there a teacher in the image?"),
        ("The road is otherwise empty.", "Is the road empty?"),
        ("A patch shows a blue wave.", "Is there a wave in the image?"),
        ("A girl counts coins in her palm.", "Is there a palm in the image?"),
        ("Sunlight falls through a window that is not itself in the picture.", "Is there a window in the image?"),
        ("Stones are stacked into a tower.", "Are the stones stacked into the tower?"),
        ("The flag bears no symbols or text.", "Are there any flag bears in the image?"),
        ("A penguin wearing a strange thing and a monocle sits at a desk.", "Is the monocle sitting at the desk?"),
        ("A man in a hat and a horse wait.", "Is the horse waiting?"),
        ("A penguin wearing a hat, a scarf, and a monocle sits at a desk.", "Is the monocle sitting at the desk?"),
        ("A cat sleeps between two vases.", "Are there exactly two vases in the image?"),
        ("A woman waves from a window on the third floor.", "Is there a floor in the image?"),
        ("A radio plays on a shelf.", "Is the radio playing on the shelf?"),
        ("A river crosses an imaginary city.", "Is there an imaginary city in the image?"),
        ("A tower, a mill with four sails, and a blue sailboat.", "Are there exactly four sails in the image?"),
        ("A house with a porch and a tree stand on a hill.", "Is the house standing on the hill?"),
        ("A statue is bathed in the evening sun.", "Is there an evening sun in the image?"),
    ],
)
def test_what_prose_leaves_open_is_not_asked(sentence: str, not_asked: str) -> None:
    assert not asks(OPENING + sentence, not_asked)


@pytest.mark.parametrize(
    ("prompt", "kept", "not_asked"),
    [
        (
            "a lamp on a desk dazzles a mouse under a chair",
            "Is there a lamp in the image?",
            "Is the mouse under the chair?",
        ),
        (
            "a bicycle stenciled grumpily on a wall",
            "Is there a wall in the image?",
            "Is the bicycle on top of the wall?",
        ),
    ],
)
def test_a_short_prompt_that_is_understood_in_part_is_read_as_prose(prompt: str, kept: str, not_asked: str) -> None:
    assert asks(prompt, kept)
    assert not asks(prompt, not_asked)


@pytest.mark.parametrize(
    ("prompt", "asked", "not_asked"),
    [
        ("swirling wine creates 'legs' in a glass", None, 'Does the image show the text "legs"?'),
        ("a label 'half price' on a jar", 'Does the image show the text "half price"?', None),
        ("a candelabra, medieval-style lamp", None, "Is the style of the image medieval?"),
        ("A pencil, a ruler and an eraser", "Is there a pencil in the image?", "Is the style of the image pencil?"),
        ("a poster in minimal, clear type", None, "Is the style of the image minimal?"),
        ("an outfit with LED lights", "Are there any LED lights in the image?", "Are the lights led?"),
        ("a lane when crickets have begun chirping", None, "Is there a begun in the image?"),
        ("a cat, a dog and a horse, the smallest animal on the left", None, "Is there an animal in the image?"),
        ("A cat. The style evokes the sea.", None, "Is the style of the image the?"),
        ("a flat-screen TV on a wall", None, 'Does the image show the text "TV"?'),
    ],
)
def test_quotation_marks_styles_and_participles_are_taken_at_their_word(
    prompt: str, asked: str | None, not_asked: str | None
) -> None:
    assert asked is None or asks(prompt, asked)
    assert not_asked is None or not asks(prompt, not_asked)


def test_a_place_that_was_not_understood_is_listed_without_the_thing_that_is_asked_for() -> None:
    prompt = OPENING + "Morning light streams through a window onto a floor."
    assert "Is there a window in the image?" in questions_of(prompt)
    assert "Morning light streams through …" in parse_scene(prompt).not_understood


@pytest.mark.parametrize(
    ("prompt", "thing"),
    [
        ("The image depicts a grand library, where a scholar in a red robe reads a large book at a desk.", "library"),
        ("This picture shows a wooden pier with two dogs, while the sun sets behind the far mountains.", "pier"),
        ("A painting hangs on a wall above a sofa. The painting depicts a ship near a small island.", "wall"),
    ],
)
def test_what_the_picture_is_said_to_show_is_there(prompt: str, thing: str) -> None:
    assert thing in {item.name for item in parse_scene(prompt).things}


def test_what_a_painting_in_the_picture_depicts_is_not_asked() -> None:
    prompt = "A painting hangs on a wall above a sofa. The painting depicts a ship near a small island."
    assert "ship" not in {item.name for item in parse_scene(prompt).things}


def test_an_article_counts_nothing_in_a_long_prompt() -> None:
    prompt = (
        "A bathroom with a clawfoot bathtub under a round window, a stool holding a candle, and pale green tiles "
        "halfway up the walls."
    )
    assert not any("exactly one" in question for question in questions_of(prompt))


def test_a_long_list_of_short_phrases_is_no_prose() -> None:
    prompt = ", ".join(f"a {colour} ball on a chair" for colour in ("red", "blue", "green", "black", "white"))
    assert "Is the red ball on the chair?" in questions_of(prompt)


def test_a_sentence_with_further_parts_is_prose_although_these_are_short() -> None:
    prompt = (
        "In a bright anime illustration, a giant girl, dressed in a school uniform, strides forward amid a dense city."
    )
    assert questions_of(prompt) == {
        "Is there a school uniform in the image?",
        "Is there a city in the image?",
        "Is the city dense?",
    }


def test_things_without_articles_are_asked_where_a_prompt_has_none() -> None:
    prompt = (
        "Young woman with long black hair, clinic setting, reviewing documents with doctor, white gloves, medical "
        "focus, wooden chair, chiaroscuro, authentic interaction"
    )
    questions = questions_of(prompt)
    assert questions >= {"Is there a doctor in the image?", "Are the gloves white?", "Is the chair wooden?"}
    assert not questions & {"Are the documents reviewing?", "Is there a chiaroscuro in the image?"}
