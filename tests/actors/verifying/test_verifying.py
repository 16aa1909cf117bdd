"""Verdicts from evidence, from votes, from texts that were read, and by thresholds of their kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import structs

from actors.decomposer import decompose_request, parse_requirements
from actors.prompting import ask_model
from actors.verifier import Verifier, verify_picture
from actors.verifying.verdict_rules import count_votes
from gems_actors.backends import ChatReply, ChatRequest, ImagePart, ImageRequest
from gems_actors.backends.storyboard.models import StoryboardChatModel, draw_request
from gems_actors.config import MeshConfig, VerifierErrorConfig, VerifyConfig
from gems_actors.config.models import Thresholds, ThresholdsByKind
from protocol.messages import Answer, Claim, Requirement, Verdict, Verification, VerifyImage
from tests.actors.fakes import FakeChat, mesh_with, png, requirement
from tests.gems_actors.backends.storyboard.pictures import PROMPTS, draw_without_errors

PICTURE = ImagePart(b"picture", "image/png")
EVIDENCE = VerifyConfig(mode="evidence")


def claiming(id_: str, claim: Claim, depends_on: str | None = None) -> Requirement:
    return structs.replace(requirement(id_, depends_on), claim=claim)


def listing(**evidence: Any) -> Callable[[ChatRequest], str]:
    """Return the rule of a model that lists this evidence, and says yes to every question of a batch."""

    def answer(request: ChatRequest) -> str:
        if request.task == "list_evidence":
            return json.dumps({"things": [], "pairs": [], "texts": []} | evidence)
        rows = [{"id": item["id"], "answer": "yes", "reason": "asked"} for item in request.fields["questions"]]
        return json.dumps({"answers": rows})

    return answer


def summary(verification: Verification) -> str:
    return " ".join(f"{verdict.requirement}:{verdict.answer}" for verdict in verification.verdicts)


CATS = Claim(type="exists", subject="cat")
THREE = Claim(type="count", subject="cat", value="3")
RED = Claim(type="attribute", subject="cat", value="red")


# ------------------------------------------------------------------------------------------------------- evidence


async def test_one_list_decides_all_claims_and_one_batch_asks_about_what_is_left() -> None:
    chat = FakeChat(rule=listing(things=[{"name": "cat", "count": 2, "attributes": []}]))
    wanted = [claiming("a", CATS), claiming("b", THREE, "a"), claiming("c", RED, "a"), requirement("d")]
    found = await verify_picture(chat, PICTURE, wanted, EVIDENCE)
    assert summary(found) == "a:met b:unmet c:met d:met"
    assert [request.task for request in chat.requests] == ["list_evidence", "verify_all"]
    assert [item["id"] for item in chat.requests[1].fields["questions"]] == ["c", "d"]
    assert found.verdicts[1].reason == "cat: 2 found"
    assert found.spent.calls == 2


async def test_when_the_evidence_tells_everything_one_call_is_all() -> None:
    chat = FakeChat(rule=listing(things=[{"name": "cat", "count": 3, "attributes": ["red"]}]))
    found = await verify_picture(
        chat, PICTURE, [claiming("a", CATS), claiming("b", THREE), claiming("c", RED)], EVIDENCE
    )
    assert (summary(found), found.spent.calls) == ("a:met b:met c:met", 1)


async def test_without_claims_the_questions_are_asked_as_in_a_batch() -> None:
    chat = FakeChat(rule=listing())
    found = await verify_picture(chat, PICTURE, [requirement("a"), requirement("b", "a")], EVIDENCE)
    assert (summary(found), found.spent.calls) == ("a:met b:met", 1)


async def test_what_depends_on_a_claim_that_is_unmet_is_not_asked() -> None:
    chat = FakeChat(rule=listing(things=[{"name": "cat", "count": 0}]))
    wanted = [claiming("a", CATS), requirement("b", "a"), requirement("c", "b"), requirement("d")]
    found = await verify_picture(chat, PICTURE, wanted, EVIDENCE)
    assert summary(found) == "a:unmet b:unmet c:unmet d:met"
    assert found.verdicts[2].reason == "needs b, which is unmet"
    assert [item["id"] for item in chat.requests[1].fields["questions"]] == ["d"]


@pytest.mark.parametrize("errors", [VerifierErrorConfig(), VerifierErrorConfig(miss=0.3, false_alarm=0.1)])
@pytest.mark.slow
async def test_storyboards_get_the_same_verdicts_from_evidence_as_one_by_one(errors: VerifierErrorConfig) -> None:
    chat = StoryboardChatModel(errors=errors)
    calls = {"words": 0, "evidence": 0}
    same = total = 0
    for seed, prompt in enumerate(PROMPTS):
        picture = ImagePart(draw_request(ImageRequest(prompt, seed, 768, 768)), "image/png")
        request = decompose_request(prompt, with_claims=True)
        requirements = (await ask_model(chat, request, parse_requirements)).value
        modes: tuple[Literal["words", "evidence"], ...] = ("words", "evidence")
        found = {mode: await verify_picture(chat, picture, requirements, VerifyConfig(mode=mode)) for mode in modes}
        answers = [[verdict.answer for verdict in found[mode].verdicts] for mode in modes]
        same += sum(one == other for one, other in zip(*answers, strict=True))
        total += len(requirements)
        calls = {mode: calls[mode] + found[mode].spent.calls for mode in modes}
    assert total > 100
    assert same / total >= (0.98 if str(errors) else 1.0)
    assert calls["evidence"] <= 0.3 * calls["words"]


async def test_a_storyboard_lists_what_the_picture_shows_and_not_what_was_wanted() -> None:
    chat = StoryboardChatModel()
    request = decompose_request("three red cats", with_claims=True)
    requirements = (await ask_model(chat, request, parse_requirements)).value
    other = ImagePart(draw_without_errors("two blue cats"), "image/png")
    found = await verify_picture(chat, other, requirements, EVIDENCE)
    assert [verdict.answer for verdict in found.verdicts] == ["met", "unmet", "unmet"]
    blank = ImagePart(png(), "image/png")
    found = await verify_picture(chat, blank, requirements, EVIDENCE)
    assert {verdict.answer for verdict in found.verdicts} == {"unsure"}


# ---------------------------------------------------------------------------------------------------------- votes


def verdict(answer: Answer, score: float | None = None) -> Verdict:
    return Verdict(requirement="a", answer=answer, reason=answer, score=score)


@pytest.mark.parametrize(
    ("votes", "answer"),
    [
        (["met", "met"], "met"),
        (["unmet", "unmet"], "unmet"),
        (["met", "unmet"], "unsure"),
        (["met", "unsure"], "unsure"),
        (["met", "met", "unmet", "met"], "met"),
        (["met", "met", "unmet", "unmet"], "unsure"),
        ([], "unsure"),
    ],
)
def test_more_than_half_of_all_answers_decide(votes: list[Answer], answer: Answer) -> None:
    assert count_votes(verdict("unsure"), [verdict(vote) for vote in votes]).answer == answer


async def test_only_what_is_unsure_is_voted_on_with_other_seeds() -> None:
    def answer(request: ChatRequest) -> str:
        return ("unsure" if not request.vote else "no: it is blue") if request.fields["question"] == "b?" else "yes"

    chat = FakeChat(rule=answer)
    settings = VerifyConfig(mode="words", votes=3)
    found = await verify_picture(chat, PICTURE, [requirement("a"), requirement("b")], settings)
    assert summary(found) == "a:met b:unmet"
    assert found.verdicts[1].reason == "2 of 3 votes: it is blue"
    assert found.spent.calls == 4
    again = [request for request in chat.requests if request.fields["question"] == "b?"]
    assert [(request.vote, request.vary) for request in again] == [(0, False), (2, True), (3, True)]


async def test_a_batch_votes_on_all_that_is_unsure_in_one_call_each() -> None:
    def answer(request: ChatRequest) -> str:
        word = "yes" if request.vote else "unsure"
        rows = [{"id": item["id"], "answer": word, "reason": ""} for item in request.fields["questions"]]
        return json.dumps({"answers": rows})

    chat = FakeChat(rule=answer)
    found = await verify_picture(
        chat, PICTURE, [requirement("a"), requirement("b")], VerifyConfig(mode="batch", votes=3)
    )
    assert (summary(found), found.spent.calls) == ("a:met b:met", 3)


async def test_a_score_that_is_unsure_is_voted_on_in_words() -> None:
    def answer(request: ChatRequest) -> ChatReply:
        scores = {"yes": 0.5, "no": 0.5, "unsure": 0.0}
        return ChatReply("yes", probabilities=scores) if request.choices else ChatReply("yes: it is")

    chat = FakeChat(*(answer(ChatRequest("", {}, (), choices=("yes",) * first)) for first in (1, 0, 0)))
    found = await verify_picture(chat, PICTURE, [requirement("a")], VerifyConfig(votes=3))
    assert found.verdicts == (Verdict(requirement="a", answer="met", score=0.5, reason="2 of 3 votes: it is"),)
    assert [bool(request.choices) for request in chat.requests] == [True, False, False]


@pytest.mark.parametrize("mode", ["words", "batch"])
async def test_votes_on_all_outvote_an_answer_that_is_sure_and_wrong(mode: Any) -> None:
    def answer(request: ChatRequest) -> str:
        word = "no" if request.vote else "yes"
        asked = request.fields.get("questions")
        rows = [{"id": item["id"], "answer": word, "reason": "it is blue"} for item in asked or ()]
        return json.dumps({"answers": rows}) if asked else f"{word}: it is blue"

    chat = FakeChat(rule=answer)
    settings = VerifyConfig(mode=mode, votes=3, vote_on="all")
    found = await verify_picture(chat, PICTURE, [requirement("a")], settings)
    assert (summary(found), found.verdicts[0].reason, found.spent.calls) == ("a:unmet", "2 of 3 votes: it is blue", 3)


async def test_votes_on_all_find_faults_that_a_simulated_verifier_misses() -> None:
    picture = ImagePart(draw_request(ImageRequest("a cat and a dog", 7, 512, 512)), "image/png")
    absent = ("cow", "pig", "fox", "hen", "owl", "bee", "ant", "rat", "bat", "elk", "emu", "yak", "cod", "ape")
    wanted = [structs.replace(requirement(id_), question=f"Is there a {id_} in the image?") for id_ in absent]
    missed = {}
    for votes in (1, 5):
        chat = StoryboardChatModel(errors=VerifierErrorConfig(miss=0.3))
        found = await verify_picture(chat, picture, wanted, VerifyConfig(mode="batch", votes=votes, vote_on="all"))
        missed[votes] = sum(verdict.answer == "met" for verdict in found.verdicts)
    assert missed[5] < missed[1]


async def test_votes_make_a_simulated_verifier_that_is_often_unsure_sure() -> None:
    picture = ImagePart(draw_request(ImageRequest("a cat and a dog", 7, 512, 512)), "image/png")
    wanted = [
        structs.replace(requirement(id_), question=f"Is there a {id_} in the image?")
        for id_ in ("cat", "dog", "cow", "pig", "fox", "hen", "owl", "bee", "ant", "rat", "bat", "elk", "emu", "yak")
    ]
    unsure = {}
    for votes in (1, 5):
        chat = StoryboardChatModel(errors=VerifierErrorConfig(unsure=0.3))
        found = await verify_picture(chat, picture, wanted, VerifyConfig(mode="words", votes=votes))
        unsure[votes] = sum(verdict.answer == "unsure" for verdict in found.verdicts)
    assert unsure[5] < unsure[1]


# ----------------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize(("kind", "answer"), [("count", "unmet"), ("object", "met")])
async def test_a_kind_has_its_own_thresholds(kind: Any, answer: Answer) -> None:
    chat = FakeChat(ChatReply("yes", probabilities={"yes": 0.7, "no": 0.3, "unsure": 0.0}))
    thresholds = ThresholdsByKind(count=Thresholds(met_from=0.9, unmet_below=0.8))
    wanted = [structs.replace(requirement("a"), kind=kind)]
    found = await verify_picture(chat, PICTURE, wanted, VerifyConfig(thresholds=thresholds))
    assert found.verdicts[0].answer == answer


# ---------------------------------------------------------------------------------------------------------- texts


class FakeReader:
    """Finds the same lines in every picture, and counts pictures."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.read_count = lines, 0

    async def read(self, data: bytes) -> tuple[str, ...]:
        self.read_count += 1
        return self.lines


def sign(id_: str, text: str) -> Requirement:
    return structs.replace(requirement(id_), question=f'Does the sign show the text "{text}"?', kind="text")


@pytest.mark.parametrize("mode", ["words", "batch", "evidence"])
async def test_texts_are_read_and_the_model_is_asked_about_everything_else(mode: Any) -> None:
    def answer(request: ChatRequest) -> str:
        return "yes" if request.task == "verify" else listing()(request)

    chat, reader = FakeChat(rule=answer), FakeReader("open", "LATE")
    wanted = [sign("a", "OPEN late"), sign("b", "CLOSED"), requirement("c")]
    found = await verify_picture(chat, PICTURE, wanted, VerifyConfig(mode=mode), reader=reader)
    assert summary(found) == "a:met b:unmet c:met"
    assert found.verdicts[1].reason == "reads open / LATE"
    assert (found.spent.calls, reader.read_count) == (1, 1)


async def test_where_no_text_is_found_the_model_is_asked() -> None:
    chat = FakeChat(rule=lambda request: "yes")
    found = await verify_picture(chat, PICTURE, [sign("a", "OPEN")], VerifyConfig(mode="words"), reader=FakeReader())
    assert (summary(found), found.spent.calls) == ("a:met", 1)


async def test_a_picture_without_wanted_texts_is_not_read() -> None:
    chat, reader = FakeChat(rule=lambda request: "yes"), FakeReader("OPEN")
    await verify_picture(chat, PICTURE, [requirement("a")], VerifyConfig(mode="words"), reader=reader)
    assert reader.read_count == 0


async def test_the_verifier_asks_by_its_settings(tmp_path: Path) -> None:
    verifier = Verifier(MeshConfig(data_dir=str(tmp_path), verify=EVIDENCE), mesh_with())
    async with verifier.open():
        file = draw_request(ImageRequest("a red cat", 1, 320, 256))
        ref = await verifier.blobs.put(file, media_type="image/png", width_px=320, height_px=256)
        reply = await verifier.verify(VerifyImage(image=ref, requirements=(claiming("a", RED),)))
    assert reply.verdicts[0].reason == "cat: red"
