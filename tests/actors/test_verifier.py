"""The verifier skips questions that another answer settles, and a failed call is never a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image

from actors.blob_actor import BlobActor
from actors.compressor import Compressor
from actors.decomposer import decompose_request, parse_requirements
from actors.prompting import ask_model
from actors.refiner import Refiner
from actors.verifier import (
    CANARY_QUESTION,
    MAX_CONCURRENT_CALLS,
    Verifier,
    is_blind,
    layers_of,
    verify_picture,
)
from actors.verifying.questions import parse_batch
from gems_actors.backends import ChatReply, ChatRequest, ImagePart, ImageRequest, TextPart
from gems_actors.backends.storyboard.models import StoryboardChatModel, draw_request
from gems_actors.config import MemoryConfig, MeshConfig, VerifyConfig
from gems_actors.errors import BackendError, BlobError, ModelOutputError
from protocol.messages import Request, Requirement, Verification, VerifyImage
from tests.actors.fakes import FakeChat, image_ref, mesh_with, png, requirement, text_of
from tests.gems_actors.backends.picture_bytes import flat, pixel_of

PICTURE = ImagePart(b"picture", "image/png")


def answering(**answers: str) -> FakeChat:
    """Return a model that gives these answers by requirement, and yes to all other questions."""
    return FakeChat(rule=lambda request: answers.get(request.fields["question"].rstrip("?"), "yes"))


async def verify(chat: FakeChat, *requirements: Requirement) -> Verification:
    return await verify_picture(chat, PICTURE, requirements, VerifyConfig(mode="words"))


def summary(verification: Verification) -> str:
    return " ".join(f"{verdict.requirement}:{verdict.answer}" for verdict in verification.verdicts)


async def test_verdicts_are_in_the_order_of_the_requirements() -> None:
    found = await verify(
        answering(a="No. There are two.", c="unsure"), requirement("c"), requirement("b", "c"), requirement("a")
    )
    assert summary(found) == "c:unsure b:met a:unmet"
    assert [verdict.reason for verdict in found.verdicts] == ["", "", "There are two"]
    assert (found.spent.calls, found.calls_saved) == (3, 0)


async def test_a_requirement_that_depends_on_an_unmet_one_is_unmet_without_a_call() -> None:
    chat = answering(a="no")
    found = await verify(chat, requirement("c", "b"), requirement("b", "a"), requirement("a"), requirement("d"))
    assert summary(found) == "c:unmet b:unmet a:unmet d:met"
    assert [verdict.reason for verdict in found.verdicts[:2]] == ["needs b, which is unmet", "needs a, which is unmet"]
    assert (found.spent.calls, found.calls_saved) == (2, 2)
    assert {request.fields["question"] for request in chat.requests} == {"a?", "d?"}


async def test_a_requirement_that_depends_on_an_unsure_one_is_asked() -> None:
    found = await verify(answering(a="unsure", b="no"), requirement("a"), requirement("b", "a"))
    assert summary(found) == "a:unsure b:unmet"
    assert (found.spent.calls, found.calls_saved) == (2, 0)


async def test_a_parent_is_asked_before_its_children_wherever_it_stands() -> None:
    chat = answering()
    await verify(chat, requirement("c", "b"), requirement("b", "a"), requirement("a"))
    assert [request.fields["question"] for request in chat.requests] == ["a?", "b?", "c?"]


async def test_a_repaired_answer_counts_as_two_calls() -> None:
    assert (await verify(FakeChat("It is there", "yes"), requirement("a"))).spent.calls == 2


async def test_the_tokens_of_all_calls_are_added_up() -> None:
    usage = {"prompt_tokens": 100, "cached_tokens": 90, "completion_tokens": 7}
    chat = FakeChat(*[ChatReply("yes", usage=usage)] * 3)
    spent = (await verify(chat, *(requirement(id_) for id_ in "abc"))).spent
    assert (spent.calls, spent.prompt_tokens, spent.cached_tokens, spent.completion_tokens) == (3, 300, 270, 21)


async def test_the_picture_comes_before_the_question() -> None:
    chat = answering()
    await verify(chat, requirement("a"))
    (request,) = chat.requests
    assert (request.task, request.fields) == ("verify", {"question": "a?"})
    assert request.messages[-1].parts == (PICTURE, TextPart("a?"))


async def test_questions_of_a_layer_are_asked_concurrently_up_to_a_limit() -> None:
    chat = answering()
    await verify(chat, *(requirement(f"r{number}") for number in range(3 * MAX_CONCURRENT_CALLS)))
    assert chat.peak_busy == MAX_CONCURRENT_CALLS


async def test_a_failed_call_fails_the_request_and_is_not_a_verdict() -> None:
    def fail(request: ChatRequest) -> str:
        if request.fields["question"] == "b?":
            raise BackendError("chat server: expected an answer, got status 500")
        return "yes"

    with pytest.raises(BackendError, match="status 500"):
        await verify(FakeChat(rule=fail), requirement("a"), requirement("b"), requirement("c", "b"))


async def test_an_unreadable_answer_fails_the_request() -> None:
    with pytest.raises(ModelOutputError, match="got 'maybe'"):
        await verify(answering(b="maybe"), requirement("a"), requirement("b"))


async def test_without_requirements_nothing_is_asked() -> None:
    assert await verify(answering()) == Verification(verdicts=())


@pytest.mark.parametrize("mode", ["words", "batch"])
async def test_words_that_were_not_understood_are_unsure_without_a_call(mode: Literal["words", "batch"]) -> None:
    unread = structs.replace(requirement("a"), not_understood="chiaroscuro")
    chat = FakeChat(batch(("b", "yes")) if mode == "batch" else "yes")
    found = await verify_picture(chat, PICTURE, [unread, requirement("b")], VerifyConfig(mode=mode))
    assert summary(found) == "a:unsure b:met"
    assert (found.spent.calls, found.calls_saved) == (1, 0)


async def test_requirements_in_a_circle_are_all_asked() -> None:
    circle = [requirement("a", "b"), requirement("b", "a"), requirement("c", "a"), requirement("d", "elsewhere")]
    assert [[item.id for item in layer] for layer in layers_of(circle)] == [["d"], ["a", "b", "c"]]
    assert summary(await verify(answering(), *circle)) == "a:met b:met c:met d:met"


async def test_the_picture_is_read_from_the_store_and_verified(tmp_path: Path) -> None:
    asked: list[Request[Any]] = []
    config = MeshConfig(data_dir=str(tmp_path), memory=MemoryConfig(recall=True))
    verifier = Verifier(config, mesh_with(asked=asked))
    verifier.chat = chat = answering()
    data = png()

    ref = await verifier.blobs.put(data, media_type="image/png", width_px=32, height_px=16)
    await verifier.verify(VerifyImage(image=ref, requirements=(requirement("a"),)))
    assert chat.requests[0].messages[-1].parts[0] == ImagePart(data, "image/png")
    assert asked == [], "the verifier never recalls lessons"
    with pytest.raises(BlobError, match="No such file"):
        await verifier.verify(VerifyImage(image=image_ref(b"lost"), requirements=(requirement("a"),)))


# ------------------------------------------------------------------------------------------------ scores


def likely(**probabilities: float) -> ChatReply:
    word = max(probabilities, key=lambda name: probabilities[name])
    return ChatReply(word, probabilities={"yes": 0.0, "no": 0.0, "unsure": 0.0, **probabilities})


@pytest.mark.parametrize(
    ("reply", "answer", "score"),
    [
        (likely(yes=0.9, no=0.1), "met", 0.9),
        (likely(yes=0.6, no=0.4), "met", 0.6),
        (likely(yes=0.55, no=0.45), "unsure", 0.55),
        (likely(yes=0.4, no=0.6), "unsure", 0.4),
        (likely(yes=0.1, no=0.9), "unmet", 0.1),
        (likely(unsure=1.0), "unsure", 0.5),
        (likely(unsure=0.5, yes=0.5), "met", 0.75),
        (ChatReply("no, it is blue"), "unmet", None),
    ],
)
async def test_a_probability_is_a_score_and_between_two_thresholds_unsure(
    reply: ChatReply, answer: str, score: float | None
) -> None:
    chat = FakeChat(reply)
    found = await verify_picture(chat, PICTURE, [requirement("a")], VerifyConfig())
    (verdict,) = found.verdicts
    assert (verdict.answer, verdict.score) == (answer, score)
    assert chat.requests[0].choices == ("yes", "no", "unsure")


async def test_if_the_model_is_unsure_a_second_model_is_asked() -> None:
    first = answering(a="unsure: hidden", b="no", c="unsure: small")
    second = FakeChat(rule=lambda request: {"a?": "yes: behind the tree", "c?": "unsure"}[request.fields["question"]])
    requirements = [requirement("a"), requirement("b"), requirement("c"), requirement("d", "a")]
    found = await verify_picture(first, PICTURE, requirements, VerifyConfig(mode="words"), second)
    assert summary(found) == "a:met b:unmet c:unsure d:met"
    assert found.verdicts[0].reason == "second opinion: behind the tree"
    assert found.verdicts[2].reason == "small"
    assert (len(second.requests), found.spent.calls) == (2, 6)


# ------------------------------------------------------------------------------------------------ one call for all


def batch(*answers: tuple[str, str], **more: Any) -> str:
    return json.dumps({"answers": [{"id": id_, "answer": said, "reason": "seen", **more} for id_, said in answers]})


async def test_one_call_answers_all_questions_about_a_picture() -> None:
    chat = FakeChat(batch(("b", "No"), ("a", "yes"), ("c", "yes"), ("d", "unsure")))
    requirements = [requirement("a"), requirement("b"), requirement("c", "b"), requirement("d")]
    found = await verify_picture(chat, PICTURE, requirements, VerifyConfig(mode="batch"))
    assert summary(found) == "a:met b:unmet c:unmet d:unsure", (
        "what depends on an unmet requirement is unmet, whatever the model answers"
    )
    assert [verdict.reason for verdict in found.verdicts] == ["seen", "seen", "needs b, which is unmet", "seen"]
    assert (found.spent.calls, found.calls_saved) == (1, 0)
    (request,) = chat.requests
    assert request.task == "verify_all"
    assert request.messages[-1].parts[0] == PICTURE
    assert request.schema is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (batch(("a", "yes")), "got none for b"),
        (batch(("a", "yes"), ("a", "no")), "each of the ids a, b once, got 'a'"),
        (batch(("a", "yes"), ("z", "no")), "each of the ids a, b once, got 'z'"),
        (batch(("a", "yes"), ("b", "maybe")), "yes, no or unsure for b, got 'maybe'"),
        ("yes, no", "expected JSON of the form"),
    ],
)
def test_answers_that_are_not_one_per_question_are_an_error(text: str, expected: str) -> None:
    with pytest.raises(ModelOutputError, match=expected):
        parse_batch(text, ["a", "b"])


@given(st.text(max_size=300) | st.recursive(st.text(), st.lists).map(json.dumps))
@pytest.mark.slow
def test_any_text_is_one_answer_per_question_or_an_error(text: str) -> None:
    with suppress(ModelOutputError):
        assert len(parse_batch(text, ["a", "b"])) == 2


async def test_storyboards_get_the_same_verdicts_in_one_call_and_in_many() -> None:
    chat, prompt = StoryboardChatModel(), "two red cats to the left of a stone dog"
    picture = ImagePart(draw_request(ImageRequest(prompt, 3, 320, 256)), "image/png")
    modes: tuple[Literal["words", "batch"], ...] = ("words", "batch")
    found = {}
    requirements = (await ask_model(chat, decompose_request(prompt), parse_requirements)).value
    for mode in modes:
        found[mode] = await verify_picture(chat, picture, requirements, VerifyConfig(mode=mode))
    assert summary(found["batch"]) == summary(found["words"])
    assert len(found["batch"].verdicts) >= 4
    assert found["batch"].spent.calls == 1


# ------------------------------------------------------------------------------------------------ whether it sees


def sees(request: ChatRequest) -> str:
    (picture,) = (part for part in request.messages[-1].parts if isinstance(part, ImagePart))
    with Image.open(BytesIO(picture.data)) as image:
        red, _, blue = image.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return "yes" if red > blue else "no"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (sees, False),
        (lambda request: "yes", True),
        (lambda request: "no, it is not", True),
        (lambda request: "unsure", False),
    ],
    ids=["sees", "always yes", "always no", "says that it cannot tell"],
)
async def test_a_model_that_answers_the_same_about_two_pictures_is_blind(
    rule: Callable[[ChatRequest], str], expected: bool
) -> None:
    assert await is_blind(FakeChat(rule=rule), VerifyConfig()) is expected


async def test_a_blind_model_is_detected_with_the_first_picture_and_reported(tmp_path: Path) -> None:
    verifier = Verifier(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    async with verifier.open():
        verifier.chat = FakeChat(rule=lambda request: "yes")
        ref = await verifier.blobs.put(png(), media_type="image/png", width_px=32, height_px=16)
        assert verifier.note() == ""
        reply = await verifier.verify(VerifyImage(image=ref, requirements=(requirement("a"),)))
        assert reply.spent.calls == 1, "the check is not part of the cost"
        assert reply.is_blind, "already the first answer says so"
        assert verifier.note() == "the model gives the same answer about a red and a blue picture"


async def test_what_a_model_that_sees_answers_is_not_called_blind_also_where_its_sight_cannot_be_checked(
    tmp_path: Path,
) -> None:
    def fails_once(request: ChatRequest) -> str:
        if CANARY_QUESTION in text_of(request):
            raise BackendError("the model server restarts")
        return "yes"

    for rule in (sees, fails_once):
        verifier = Verifier(MeshConfig(data_dir=str(tmp_path)), mesh_with())
        async with verifier.open():
            verifier.chat = FakeChat(rule=rule)
            ref = await verifier.blobs.put(png(), media_type="image/png", width_px=32, height_px=16)
            reply = await verifier.verify(VerifyImage(image=ref, requirements=(requirement("a"),)))
            assert not reply.is_blind


@pytest.mark.parametrize("role", [Verifier, Compressor, Refiner])
async def test_every_role_sees_a_transparent_picture_over_white(role: type[BlobActor], tmp_path: Path) -> None:
    actor = role(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    data = flat("RGBA", (200, 30, 30, 0))
    ref = await actor.blobs.put(data, media_type="image/png", width_px=32, height_px=16)
    assert pixel_of((await actor.read_picture(ref)).data) == (255, 255, 255)
    broken = await actor.blobs.put(b"no picture", media_type="image/png", width_px=32, height_px=16)
    with pytest.raises(BlobError, match=f"^picture {broken.digest}: expected a complete PNG, JPEG or WebP picture"):
        await actor.read_picture(broken)
