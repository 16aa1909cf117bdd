"""The verifier asks only what no other answer has settled, and a failed call is never a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from actors.verifier import MAX_CONCURRENT_CALLS, Verifier, layers_of, verify_picture
from gems_actors.backends import ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.config import MemoryConfig, MeshConfig
from gems_actors.errors import BackendError, BlobError, ModelOutputError
from protocol.messages import Request, Requirement, Verification, VerifyImage
from tests.actors.fakes import FakeChat, image_ref, mesh_with, png, requirement

PICTURE = ImagePart(b"picture", "image/png")


def answering(**answers: str) -> FakeChat:
    """Return a model that answers the question of each requirement so, and yes to all others."""
    return FakeChat(rule=lambda request: answers.get(request.fields["question"].rstrip("?"), "yes"))


def verify(chat: FakeChat, *requirements: Requirement) -> Verification:
    return trio.run(verify_picture, chat, PICTURE, requirements)


def summary(verification: Verification) -> str:
    return " ".join(f"{verdict.requirement}:{verdict.answer}" for verdict in verification.verdicts)


def test_verdicts_stand_in_the_order_of_the_requirements() -> None:
    found = verify(
        answering(a="No. There are two.", c="unsure"), requirement("c"), requirement("b", "c"), requirement("a")
    )
    assert summary(found) == "c:unsure b:met a:unmet"
    assert [verdict.reason for verdict in found.verdicts] == ["", "", "There are two"]
    assert (found.spent.calls, found.calls_saved) == (3, 0)


def test_what_depends_on_something_unmet_is_unmet_without_a_call() -> None:
    chat = answering(a="no")
    found = verify(chat, requirement("c", "b"), requirement("b", "a"), requirement("a"), requirement("d"))
    assert summary(found) == "c:unmet b:unmet a:unmet d:met"
    assert [verdict.reason for verdict in found.verdicts[:2]] == ["needs b, which is unmet", "needs a, which is unmet"]
    assert (found.spent.calls, found.calls_saved) == (2, 2)
    assert {request.fields["question"] for request in chat.requests} == {"a?", "d?"}


def test_what_depends_on_something_unsure_is_asked() -> None:
    found = verify(answering(a="unsure", b="no"), requirement("a"), requirement("b", "a"))
    assert summary(found) == "a:unsure b:unmet"
    assert (found.spent.calls, found.calls_saved) == (2, 0)


def test_a_parent_is_asked_before_its_children_wherever_it_stands() -> None:
    chat = answering()
    verify(chat, requirement("c", "b"), requirement("b", "a"), requirement("a"))
    assert [request.fields["question"] for request in chat.requests] == ["a?", "b?", "c?"]


def test_a_repaired_answer_counts_as_two_calls() -> None:
    assert verify(FakeChat("It is there", "yes"), requirement("a")).spent.calls == 2


def test_the_tokens_of_all_calls_are_added_up() -> None:
    usage = {"prompt_tokens": 100, "cached_tokens": 90, "completion_tokens": 7}
    chat = FakeChat(*[ChatReply("yes", usage=usage)] * 3)
    spent = verify(chat, *(requirement(id_) for id_ in "abc")).spent
    assert (spent.calls, spent.prompt_tokens, spent.cached_tokens, spent.completion_tokens) == (3, 300, 270, 21)


def test_the_picture_stands_before_the_question() -> None:
    chat = answering()
    verify(chat, requirement("a"))
    (request,) = chat.requests
    assert (request.task, request.fields) == ("verify", {"question": "a?"})
    assert request.messages[-1].parts == (PICTURE, TextPart("a?"))


def test_questions_of_a_layer_are_asked_at_once_but_not_all() -> None:
    chat = answering()
    verify(chat, *(requirement(f"r{number}") for number in range(3 * MAX_CONCURRENT_CALLS)))
    assert chat.peak_busy == MAX_CONCURRENT_CALLS


def test_a_failed_call_fails_the_request_and_is_no_verdict() -> None:
    def fail(request: ChatRequest) -> str:
        if request.fields["question"] == "b?":
            raise BackendError("chat server: expected an answer, came status 500")
        return "yes"

    with pytest.raises(BackendError, match="status 500"):
        verify(FakeChat(rule=fail), requirement("a"), requirement("b"), requirement("c", "b"))


def test_an_answer_that_is_none_fails_the_request() -> None:
    with pytest.raises(ModelOutputError, match="came 'maybe'"):
        verify(answering(b="maybe"), requirement("a"), requirement("b"))


def test_nothing_to_ask_is_nothing_asked() -> None:
    assert verify(answering()) == Verification(verdicts=())


def test_a_circle_of_foreign_requirements_is_asked_as_it_stands() -> None:
    circle = [requirement("a", "b"), requirement("b", "a"), requirement("c", "a"), requirement("d", "elsewhere")]
    assert [[item.id for item in layer] for layer in layers_of(circle)] == [["d"], ["a", "b", "c"]]
    assert summary(verify(answering(), *circle)) == "a:met b:met c:met d:met"


def test_the_picture_is_read_from_the_store_and_verified(tmp_path: Path) -> None:
    asked: list[Request[Any]] = []
    config = MeshConfig(data_dir=str(tmp_path), memory=MemoryConfig(recall=True))
    verifier = Verifier(config, mesh_with(asked=asked))
    verifier.chat = chat = answering()
    data = png()

    async def store_and_verify() -> None:
        ref = await verifier.blobs.put(data, media_type="image/png", width_px=32, height_px=16)
        await verifier.verify(VerifyImage(image=ref, requirements=(requirement("a"),)))

    trio.run(store_and_verify)
    assert chat.requests[0].messages[-1].parts[0] == ImagePart(data, "image/png")
    assert asked == [], "it judges what is there, whatever was learnt"
    with pytest.raises(BlobError, match="No such file"):
        trio.run(verifier.verify, VerifyImage(image=image_ref(b"lost"), requirements=(requirement("a"),)))
