"""The storyboard's verifier errs as often as the settings say, and always in the same way."""

from __future__ import annotations

import hashlib
import json

import pytest
import trio
from msgspec import structs

from gems_actors.backends import ChatMessage, ChatRequest, ImagePart
from gems_actors.backends.factory import open_chat_model
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.backends.storyboard.models import judge_question
from gems_actors.backends.storyboard.reading import look
from gems_actors.backends.storyboard.scene import Claim, Kind
from gems_actors.backends.storyboard.verifier_error import Eye, Word
from gems_actors.config import MeshConfig, StoryboardConfig, VerifierErrorConfig
from gems_actors.config.models import ErrorRates
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors, request_verdict, verify

ERRORS = VerifierErrorConfig(miss=0.3, false_alarm=0.05)


def share(errors: VerifierErrorConfig, truth: Word, said: Word, kind: Kind = "count", look: str = "") -> float:
    """Return how often a verifier says something where the truth is another, over many pictures."""
    eyes = [Eye(errors, hashlib.sha256(bytes([number % 256, number // 256])).digest(), look) for number in range(4000)]
    return sum(eye.sees(truth, "Are there exactly two cats in the image?", kind) == said for eye in eyes) / len(eyes)


def test_faults_are_missed_and_imagined_as_often_as_the_settings_say() -> None:
    assert share(ERRORS, "no", "yes") == pytest.approx(0.3, abs=0.025)
    assert share(ERRORS, "yes", "no") == pytest.approx(0.05, abs=0.015)
    assert share(VerifierErrorConfig(unsure=0.2), "yes", "unsure") == pytest.approx(0.2, abs=0.02)
    assert share(VerifierErrorConfig(), "no", "no") == share(VerifierErrorConfig(), "yes", "yes") == 1.0


def test_a_kind_has_its_own_probabilities_where_they_are_set() -> None:
    errors = structs.replace(ERRORS, position=ErrorRates(miss=0.6))
    assert share(errors, "no", "yes", "position") == pytest.approx(0.6, abs=0.025)
    assert share(errors, "yes", "no", "position") == pytest.approx(0.05, abs=0.015)
    assert share(errors, "no", "yes", "count") == share(ERRORS, "no", "yes", "count")


def test_the_same_look_at_a_picture_always_sees_the_same_and_another_look_may_not() -> None:
    said = {look: [Eye(ERRORS, b"picture", look).sees("no", f"q{n}", "count") for n in range(99)] for look in "ab"}
    assert said["a"] == [Eye(ERRORS, b"picture", "a").sees("no", f"q{n}", "count") for n in range(99)]
    assert said["a"] != said["b"]
    assert said["a"] != [Eye(ERRORS, b"another", "a").sees("no", f"q{n}", "count") for n in range(99)]


def test_what_cannot_be_judged_stays_unsure() -> None:
    assert share(VerifierErrorConfig(miss=1, false_alarm=1), "unsure", "unsure") == 1.0


def test_a_verifier_that_errs_errs_in_every_mode_alike_and_its_reasons_do_not_tell_the_truth() -> None:
    picture = draw_without_errors("two red cats left of a dog", Claim("count", "cat", "2"))
    questions = ["Are there exactly two cats in the image?", "Are the cats red?"]
    model = StoryboardChatModel(errors=VerifierErrorConfig(miss=1, false_alarm=1))
    assert [verify(question, picture) for question in questions] == ["no", "yes"]
    assert [verify(question, picture, model) for question in questions] == ["yes", "no"]
    fields = {"questions": [{"id": question, "question": question} for question in questions]}
    batch = ChatRequest("verify_all", fields, (ChatMessage("user", (ImagePart(picture, "image/png"),)),))
    answers = json.loads(trio.run(model.chat, batch).text)["answers"]
    assert [item["answer"] for item in answers] == ["yes", "no"]
    assert all("glance" in item["reason"] for item in answers)
    assert "glance" in judge_question(questions[0], look(picture), Eye(VerifierErrorConfig(miss=1), b""))[1]


@pytest.mark.parametrize(("role", "answer"), [("verifier", "yes"), ("planner", "no")])
async def test_only_the_verifier_errs(role: str, answer: str) -> None:
    picture = draw_without_errors("a cat", Claim("object", "cat"))
    config = MeshConfig(storyboard=StoryboardConfig(verifier_error=VerifierErrorConfig(miss=1)))
    async with open_chat_model(config, role) as chat:
        reply = await chat.chat(request_verdict("Is there a dog in the image?", picture))
    assert reply.text.partition(":")[0] == answer
