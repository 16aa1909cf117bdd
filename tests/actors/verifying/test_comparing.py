"""Two pictures are compared in both orders; what changes with the order is a tie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs

from actors.ranking import choice_of, choose_best, close_rival, explain_choice
from actors.verifier import Verifier
from actors.verifying.comparing import COMPARE_RULES, compare_pictures, parse_comparison
from gems_actors.backends import ChatRequest, ImagePart
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.blobs import BlobFolder
from gems_actors.config import MeshConfig
from gems_actors.errors import ModelOutputError
from protocol.messages import Attempt, CompareImages, Comparison, Preference
from tests.actors.fakes import FakeChat, attempt, image_ref, mesh_with, pictures_of, png, requirement, text_of
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors

RED, BLUE = ImagePart(png(colour="red"), "image/png"), ImagePart(png(colour="blue"), "image/png")
REQUIREMENTS = (requirement("a"), structs.replace(requirement("b"), not_understood="gnarly"))


def answer(better: str, first: str = "a cat", second: str = "nothing") -> str:
    return json.dumps({"first_lacks": first, "second_lacks": second, "better": better})


def order_of(request: ChatRequest) -> list[bytes]:
    return pictures_of(request)


async def compare(rule: dict[bytes, str]) -> tuple[Comparison, FakeChat]:
    """Compare red with blue; the rule has the answer by the picture that is shown first."""
    chat = FakeChat(rule=lambda request: answer(rule[order_of(request)[0]]))
    return await compare_pictures(chat, RED, BLUE, "a red cat", REQUIREMENTS), chat


@pytest.mark.parametrize(
    ("red_first", "blue_first", "preferred"),
    [
        ("first", "second", "first"),
        ("second", "first", "second"),
        ("first", "first", "tie"),
        ("second", "second", "tie"),
        ("neither", "neither", "tie"),
        ("first", "neither", "tie"),
        ("neither", "second", "tie"),
    ],
)
async def test_a_picture_is_preferred_only_if_it_is_in_both_orders(
    red_first: str, blue_first: str, preferred: Preference
) -> None:
    found, chat = await compare({RED.data: red_first, BLUE.data: blue_first})
    assert (found.preferred, found.spent.calls) == (preferred, 2)
    assert sorted(map(order_of, chat.requests)) == sorted([[RED.data, BLUE.data], [BLUE.data, RED.data]])
    if preferred == "tie":
        assert "lack" not in found.reason
    else:
        assert found.reason == "the first lacks: a cat; the second lacks: nothing"


async def test_the_model_is_told_the_request_and_what_is_checked(tmp_path: Path) -> None:
    _, chat = await compare({RED.data: "first", BLUE.data: "second"})
    words = text_of(chat.requests[0])
    assert "<request>\na red cat\n</request>" in words
    assert "- a?" in words
    assert "gnarly" not in words
    assert "b?" not in words


@pytest.mark.parametrize("text", ["first", '{"better": "both"}', '{"better": "first, second or neither"}', "{}"])
def test_an_answer_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ModelOutputError, match="expected"):
        parse_comparison(text)
    assert parse_comparison('{"better": " Second. "}') == ("second", "nothing", "nothing")


def test_the_example_of_the_instructions_is_no_answer() -> None:
    with pytest.raises(ModelOutputError):
        parse_comparison(COMPARE_RULES[COMPARE_RULES.rindex("{") :])


async def test_the_verifier_reads_both_pictures_from_the_store(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    stored = [await blobs.put(part.data, media_type="image/png", width_px=32, height_px=16) for part in (RED, BLUE)]
    verifier = Verifier(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    verifier.blobs, verifier.chat = blobs, FakeChat(rule=lambda request: answer("neither"))
    request = CompareImages(first=stored[0], second=stored[1], prompt="a red cat", requirements=REQUIREMENTS)
    assert (await verifier.compare(request)).preferred == "tie"


async def test_the_storyboard_compares_what_it_reads_in_both_pictures() -> None:
    prompt = "two red cats and a dog"
    good, bad = (ImagePart(draw_without_errors(drawn), "image/png") for drawn in (prompt, "two blue cats and a dog"))
    questions = ("Are the cats red?", "Are there exactly two cats in the image?")
    asked = [structs.replace(requirement(f"r{n}"), question=question) for n, question in enumerate(questions)]
    model = StoryboardChatModel()
    assert (await compare_pictures(model, good, bad, prompt, asked)).preferred == "first"
    assert (await compare_pictures(model, bad, good, prompt, asked)).preferred == "second"
    assert (await compare_pictures(model, good, good, prompt, asked)).preferred == "tie"
    assert (await compare_pictures(model, good, bad, prompt, [])).preferred == "tie"


# -------------------------------------------------------------------------------------------------- which are compared


def drawn(round_: int, answers: str) -> Attempt:
    return attempt(round_, answers, image=image_ref(f"picture {round_}".encode()))


RIVALS = {
    "one fewer": (["mmu", "muu"], False, 2),
    "two fewer": (["mmm", "muu"], False, None),
    "one fewer than all": (["mmm", "mmu"], True, None),
    "as many as all": (["mmm", "mmm"], True, 2),
    "the only one": (["mmu"], False, None),
    "the second of three": (["muu", "mmu", "msu"], False, 3),
    "nothing is checked": (["", ""], False, 2),
}


@pytest.mark.parametrize("case", RIVALS)
def test_only_attempts_that_verdicts_can_hardly_tell_apart_are_compared(case: str) -> None:
    answers, is_met, rival = RIVALS[case]
    attempts = [drawn(round_, each) for round_, each in enumerate(answers, 1)]
    best, _ = choose_best(attempts)
    found = close_rival(best, attempts, is_met=is_met)
    assert (found and found.round) == rival


def test_the_same_picture_twice_is_not_compared() -> None:
    attempts = [attempt(1, "mu"), attempt(2, "mu")]
    assert close_rival(attempts[0], attempts, is_met=False) is None


@pytest.mark.parametrize(
    ("preferred", "text"),
    [
        ("first", "x; its picture is also better than that of round 2, in both orders"),
        ("second", "1 of 2 requirements met; its picture is better than that of round 1, in both orders"),
        ("tie", "x; compared with round 2, neither picture is better in both orders"),
    ],
)
def test_the_text_says_what_decided(preferred: Preference, text: str) -> None:
    best, rival = drawn(1, "mu"), drawn(2, "um")
    assert explain_choice(best, rival, choice_of(best, rival, Comparison(preferred=preferred)), "x") == text
