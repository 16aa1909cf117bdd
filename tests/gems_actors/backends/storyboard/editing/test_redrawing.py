"""A storyboard is edited by its pixels alone and keeps what the instruction is not about; photos are framed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pytest
from PIL import Image

from gems_actors.backends import ImagePart, ImageRequest
from gems_actors.backends.storyboard.drawing import draw
from gems_actors.backends.storyboard.editing.framing import fingerprint_of, is_same
from gems_actors.backends.storyboard.editing.redrawing import draw_from_references
from gems_actors.backends.storyboard.editing.seen_scene import scene_of
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.models import draw_request, judge_question
from gems_actors.backends.storyboard.reading import Seen, look
from gems_actors.backends.storyboard.rules import answer
from gems_actors.errors import BackendError
from tests.gems_actors.backends.storyboard.pictures import PROMPTS, draw_without_errors

STORY = (
    "two red cats to the left of a stone dog, a bird on top of a house, a man chasing a fox, "
    'and a poster that says "OPEN", in watercolor, at night'
)


def photo(kind: str = "JPEG", size: tuple[int, int] = (640, 400)) -> bytes:
    """Return a picture that is no storyboard, of many colours."""
    bands = [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
    file = io.BytesIO()
    Image.merge("RGB", [band.resize(size) for band in bands]).save(file, kind)
    return file.getvalue()


def edited(instruction: str, *pictures: bytes, seed: int = 5, side_px: int = 768) -> bytes:
    references = tuple(ImagePart(data, "image/png") for data in pictures)
    return draw_from_references(ImageRequest(instruction, seed, side_px, side_px, references=references))


def seen(data: bytes) -> Seen:
    found = look(data)
    assert found is not None
    return found


def surely(claims: str) -> str:
    """Return an instruction that is stressed so much that almost no seed gets it wrong."""
    return f"Change the picture so that {claims}!!!. Keep everything else as it is."


def answers(questions: Sequence[str], picture: bytes, given: Sequence[bytes]) -> list[str]:
    before = [(look(data), fingerprint_of(data)) for data in given]
    return [judge_question(question, seen(picture), None, before)[0].partition(":")[0] for question in questions]


@pytest.fixture(scope="module")
def story() -> bytes:
    return draw(parse_scene(STORY), seed=1, width_px=768, height_px=768)


@pytest.mark.parametrize(
    ("claims", "asked"),
    [
        ("the dog is black", "Is the dog black?"),
        ("there are exactly five cats", "Are there exactly five cats in the image?"),
        ("the image is free of birds", "Is the image free of birds?"),
        ("there is a tree", "Is there a tree in the image?"),
        ("the fox is to the left of the man", "Is the fox to the left of the man?"),
        ('the image shows the text "CLOSED"', 'Does the image show the text "CLOSED"?'),
        ("the cats are to the right of the dog", "Are the cats to the right of the dog?"),
    ],
)
@pytest.mark.slow
def test_one_claim_is_put_right_and_nothing_else_is_changed(story: bytes, claims: str, asked: str) -> None:
    instruction = surely(claims)
    requirements = json.loads(answer("decompose", {"prompt": instruction, "references": 1}).text)["requirements"]
    (kept,) = [item["question"] for item in requirements if item.get("compares")]
    others = ["Is the bird on top of the house?"] if "bird" not in claims else []
    others += ["Is the man chasing the fox?"] if "fox" not in claims else []
    assert answers([asked], story, [story]) == ["no"]
    assert answers([asked, kept, *others], edited(instruction, story), [story]) == ["yes"] * (2 + len(others))


@pytest.mark.slow
def test_a_text_goes_with_the_sign_that_it_is_on(story: bytes) -> None:
    found = seen(edited("Remove the poster.", story, seed=2))
    assert (found.texts, "poster" in {card.name for card in found.cards}) == ((), False)
    question = json.loads(answer("decompose", {"prompt": "Remove the poster.", "references": 1}).text)["requirements"]
    assert question[-1]["question"] == "Apart from the poster and the text, does the image look like the given one?"


@pytest.mark.slow
def test_an_edit_is_sometimes_wrong_and_the_same_seed_is_always_as_wrong(story: bytes) -> None:
    pictures = [edited("Add two boats to the left of a tree.", story, seed=seed) for seed in range(12)]
    questions = ["Are there exactly two boats in the image?", "Are the boats to the left of the tree?"]
    right = [answers(questions, picture, [story]) == ["yes", "yes"] for picture in pictures]
    assert 1 < sum(right) < 12
    assert edited("Add two boats to the left of a tree.", story, seed=3) == pictures[3]


def test_what_has_the_place_of_another_has_its_relations_too(story: bytes) -> None:
    picture = edited(
        "Replace the fox with a horse.\n\nMake sure: there is a horse!!!; the image is free of foxes!!!", story
    )
    assert answers(["Is the man chasing the horse?", "Is the image free of foxes?"], picture, [story]) == ["yes", "yes"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.slow
def test_the_scene_of_a_storyboard_is_drawn_again_as_it_was(prompt: str) -> None:
    first = draw_without_errors(prompt)
    again = draw(scene_of(seen(first)), seed=1, width_px=768, height_px=768)
    questions = ["Does the image look like the given one?"]
    assert answers(questions, again, [first]) == ["yes"]
    before, after = seen(first), seen(again)
    assert {(link.subject, link.word, link.target) for link in before.links} <= {
        (link.subject, link.word, link.target) for link in after.links
    } | {tuple(note.split(" ", 2)) for note in after.notes}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.slow
def test_a_photo_is_shown_framed_next_to_what_is_asked_for(kind: str) -> None:
    data = photo(kind)
    picture = edited(surely("there are exactly two dogs"), data)
    found = seen(picture)
    assert [(card.name, card.count) for card in found.cards] == [("dog", 2)]
    (framed,) = found.framed
    assert is_same(framed.fingerprint, fingerprint_of(data))
    wide, high = framed.box[2] - framed.box[0], framed.box[3] - framed.box[1]
    assert wide / high == pytest.approx(640 / 400, rel=0.02)
    question = "Apart from the dog, does the image look like the given one?"
    assert answers([question], picture, [data]) == ["yes"]
    assert answers([question], picture, [photo(size=(400, 400)), story_of_one()]) == ["no"], "another was not given"
    again = edited(surely("there are exactly three dogs"), picture)
    assert [(card.name, card.count) for card in seen(again).cards] == [("dog", 3)]
    assert is_same(seen(again).framed[0].fingerprint, fingerprint_of(data))


def story_of_one() -> bytes:
    return draw(parse_scene("a cat"), seed=1, width_px=320, height_px=320)


def test_further_pictures_are_framed_whatever_they_are(story: bytes) -> None:
    found = seen(edited(surely("there is a tree"), story, photo(), story_of_one()))
    assert {card.name for card in found.cards} == {card.name for card in seen(story).cards} | {"tree"}
    assert len(found.framed) == 2


@pytest.mark.slow
def test_what_was_changed_without_being_asked_for_is_told(story: bytes) -> None:
    question = "Apart from the dog, does the image look like the given one?"
    before = [(look(story), fingerprint_of(story))]
    for claims, reason in (
        ("there are exactly five cats", "the cat was there 2 times, and is 5 times"),
        ("the image is free of birds", "the bird is gone"),
        ("there is a tree", "a tree was added"),
        ("the fox is blue", "the fox looks different"),
        ('the image shows the text "CLOSED"', "the text was changed"),
    ):
        said, _ = judge_question(question, seen(edited(surely(claims), story)), None, before)
        assert said == f"no: {reason}."


def test_a_reference_that_is_no_picture_is_refused() -> None:
    with pytest.raises(BackendError, match="expected PNG, JPEG or WebP, got 4 bytes"):
        edited("Add a tree", b"text")


def test_without_references_a_storyboard_is_as_ever() -> None:
    request = ImageRequest("a green backpack and a pig", 3, 320, 320)
    assert seen(draw_request(request)).framed == ()
