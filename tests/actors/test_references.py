"""What each role is shown of the pictures that a picture is drawn from; without them, not a word more than ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from msgspec import structs

from actors.compressor import Compressor
from actors.decomposer import CLAIM_RULES, Decomposer, decompose_request, parse_requirements
from actors.planner import Planner, plan_prompt
from actors.references import COMPARE_RULES, DECOMPOSE_RULES, PROMPT_RULES, VERIFY_RULES, reference_parts
from actors.refiner import Refiner
from actors.verifier import Verifier, verify_picture
from gems_actors.backends import ImagePart
from gems_actors.blobs import BlobFolder
from gems_actors.config import MeshConfig, VerifyConfig
from protocol.messages import (
    Claim,
    CompareImages,
    CompressAttempt,
    DecomposePrompt,
    ImageRef,
    MemoryMode,
    PlanPrompt,
    RefinePrompt,
    TrajectoryState,
    VerifyImage,
)
from skills import Skill
from tests.actors.fakes import (
    TRAJECTORY,
    FakeChat,
    attempt,
    mesh_with,
    pictures_of,
    png,
    recollection,
    requirement,
    state_of,
    text_of,
)

DRAWN, GIVEN, OTHER = (ImagePart(png(colour=colour), "image/png") for colour in ("red", "blue", "lime"))
HATS = Skill("hats", "hats", "about hats", "Name the brim.", Path("hats"), ())
KEPT = structs.replace(requirement("kept"), kind="other", compares=True)


async def store(folder: Path, picture: ImagePart) -> ImageRef:
    return await BlobFolder(folder / "blobs").put(picture.data, media_type="image/png", width_px=32, height_px=16)


def test_several_given_pictures_are_numbered() -> None:
    assert reference_parts(()) == []
    assert reference_parts([GIVEN]) == ["The given picture:", GIVEN]
    assert reference_parts([GIVEN, OTHER]) == ["Given picture 1:", GIVEN, "Given picture 2:", OTHER]


# ------------------------------------------------------------------------------------------------ planner, decomposer


async def test_the_planner_writes_an_instruction_about_the_given_pictures(tmp_path: Path) -> None:
    planner = Planner(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    planner.chat = chat = FakeChat(json.dumps({"skill": "text-rendering"}), '{"prompt": "Write OPEN on the sign."}')
    references = (await store(tmp_path, GIVEN), await store(tmp_path, OTHER))
    plan = await planner.plan(PlanPrompt(prompt='a sign that says "OPEN"', references=references))
    assert plan.prompt == "Write OPEN on the sign."
    route, write = chat.requests
    assert pictures_of(route) == []
    assert pictures_of(write) == [GIVEN.data, OTHER.data]
    assert PROMPT_RULES in text_of(write)
    assert (write.fields["references"], write.needs_pictures) == (2, False)


async def test_without_references_the_planner_is_asked_as_ever() -> None:
    chat = FakeChat('{"skill": "hats"}', '{"prompt": "p"}')
    await plan_prompt(chat, "a hat", [HATS], recollection("Say it first."))
    assert "given picture" not in text_of(chat.requests[1])
    assert "references" not in chat.requests[1].fields


@pytest.mark.parametrize("with_claims", [False, True])
async def test_the_decomposer_asks_also_for_what_must_stay(with_claims: bool) -> None:
    rows = [
        {"id": "r1", "question": "Is the car blue?", "kind": "attribute", "depends_on": None, "compares": False},
        {
            "id": "r2", "question": "Apart from the car, is it as given?", "kind": "other", "depends_on": None,
            "compares": True, "claim": {"type": "exists", "subject": "car"},
        },
    ]  # fmt: skip
    config = MeshConfig(verify=VerifyConfig(mode="evidence" if with_claims else "batch"))
    decomposer = Decomposer(config, mesh_with())
    decomposer.chat = chat = FakeChat(json.dumps({"requirements": rows}))
    given = ImageRef(digest="sha256:" + "0" * 64, media_type="image/png", bytes=1, width_px=16, height_px=16)
    reply = await decomposer.decompose(DecomposePrompt(prompt="make the car blue", references=(given,)))
    assert [(item.kind, item.compares, item.claim) for item in reply.requirements] == [
        ("attribute", False, None),
        ("other", True, None),
    ], "a claim decides from the drawn picture alone, so that a question that compares has none"
    (request,) = chat.requests
    assert DECOMPOSE_RULES in text_of(request)
    assert (CLAIM_RULES in text_of(request)) == with_claims
    assert request.schema is not None
    assert "compares" in request.schema["properties"]["requirements"]["items"]["required"]
    plain = decompose_request("make the car blue", with_claims=with_claims)
    assert "compares" not in json.dumps(plain.schema)
    assert DECOMPOSE_RULES not in text_of(plain)


def test_only_true_says_that_a_question_compares() -> None:
    row = {"id": "r1", "question": "Is it?", "kind": "other", "depends_on": None}
    for value, expected in ((True, True), (False, False), (None, False), ("no", False), (1, False)):
        (found,) = parse_requirements(json.dumps({"requirements": [{**row, "compares": value}]}))
        assert found.compares is expected


# ------------------------------------------------------------------------------------------------------------ verifier


@pytest.mark.parametrize("mode", ["words", "score"])
async def test_only_a_question_that_compares_is_asked_with_the_given_pictures(mode: Literal["words", "score"]) -> None:
    chat = FakeChat(rule=lambda request: "yes")
    found = await verify_picture(chat, DRAWN, [requirement("a"), KEPT], VerifyConfig(mode=mode), given=[GIVEN, OTHER])
    assert [verdict.answer for verdict in found.verdicts] == ["met", "met"]
    asked = {request.fields["question"]: request for request in chat.requests}
    assert pictures_of(asked["a?"]) == [DRAWN.data]
    assert VERIFY_RULES not in text_of(asked["a?"])
    assert pictures_of(asked["kept?"]) == [GIVEN.data, OTHER.data, DRAWN.data]
    assert "The picture that was drawn:\n\nkept?" in text_of(asked["kept?"])
    assert VERIFY_RULES in text_of(asked["kept?"])


@pytest.mark.parametrize("votes", [1, 3])
async def test_a_batch_that_compares_is_a_call_of_its_own(votes: int) -> None:
    def answer(request: object) -> str:
        questions = chat.requests[-1].fields["questions"]
        return json.dumps({"answers": [{"id": item["id"], "answer": "no", "reason": "seen"} for item in questions]})

    chat = FakeChat(rule=answer)
    wanted = [requirement("a"), KEPT, requirement("b")]
    settings = VerifyConfig(mode="batch", votes=votes, vote_on="all")
    found = await verify_picture(chat, DRAWN, wanted, settings, given=[GIVEN])
    assert [verdict.answer for verdict in found.verdicts] == ["unmet"] * 3
    shown = [([item["id"] for item in each.fields["questions"]], pictures_of(each)) for each in chat.requests]
    plain, comparing = (["a", "b"], [DRAWN.data]), (["kept"], [GIVEN.data, DRAWN.data])
    assert shown == [*[plain] * votes, *[comparing] * votes]


async def test_evidence_never_decides_what_compares() -> None:
    def answer(request: object) -> str:
        if chat.requests[-1].task == "list_evidence":
            return '{"things": [{"name": "cat", "count": 1, "attributes": []}], "pairs": [], "texts": []}'
        return '{"answers": [{"id": "kept", "answer": "no", "reason": "the dog is gone"}]}'

    chat = FakeChat(rule=answer)
    exists = Claim(type="exists", subject="cat")
    wanted = [structs.replace(requirement("a"), claim=exists), structs.replace(KEPT, claim=exists)]
    found = await verify_picture(chat, DRAWN, wanted, VerifyConfig(mode="evidence"), given=[GIVEN])
    assert [verdict.answer for verdict in found.verdicts] == ["met", "unmet"]
    assert [(each.task, len(pictures_of(each))) for each in chat.requests] == [("list_evidence", 1), ("verify_all", 2)]


async def test_a_second_opinion_sees_the_given_pictures_too() -> None:
    first, second = FakeChat(rule=lambda request: "unsure"), FakeChat(rule=lambda request: "no")
    found = await verify_picture(first, DRAWN, [KEPT], VerifyConfig(mode="words"), second, given=[GIVEN])
    assert found.verdicts[0].answer == "unmet"
    assert pictures_of(second.requests[0]) == [GIVEN.data, DRAWN.data]


async def test_the_verifier_reads_given_pictures_only_where_a_requirement_compares(tmp_path: Path) -> None:
    verifier = Verifier(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    verifier.chat = chat = FakeChat(rule=lambda request: "yes")
    image, given = await store(tmp_path, DRAWN), await store(tmp_path, GIVEN)
    request = VerifyImage(image=image, requirements=(requirement("a"), KEPT), references=(given,))
    await verifier.verify(request)
    assert sorted(len(pictures_of(each)) for each in chat.requests) == [1, 2]
    BlobFolder(tmp_path / "blobs").path_of(given.digest).unlink()
    found = await verifier.verify(structs.replace(request, requirements=(requirement("a"),)))
    assert found.verdicts[0].answer == "met"


async def test_two_pictures_are_compared_next_to_the_given_one(tmp_path: Path) -> None:
    verifier = Verifier(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    verifier.chat = chat = FakeChat(rule=lambda request: '{"better": "neither"}')
    first, second, given = [await store(tmp_path, part) for part in (DRAWN, OTHER, GIVEN)]
    asked = CompareImages(first=first, second=second, prompt="a", requirements=(), references=(given,))
    await verifier.compare(asked)
    orders = [[GIVEN.data, DRAWN.data, OTHER.data], [GIVEN.data, OTHER.data, DRAWN.data]]
    assert sorted(map(pictures_of, chat.requests)) == sorted(orders)
    assert COMPARE_RULES in text_of(chat.requests[0])
    await verifier.compare(structs.replace(asked, references=()))
    assert GIVEN.data not in pictures_of(chat.requests[-1])
    assert COMPARE_RULES not in text_of(chat.requests[-1])


# -------------------------------------------------------------------------------------------------- refiner, compressor


async def state_with_references(folder: Path) -> TrajectoryState:
    drawn, given = await store(folder, DRAWN), await store(folder, GIVEN)
    state = state_of(structs.replace(attempt(1, "mu", image=drawn), references=(given,)))
    assert state.task is not None
    return structs.replace(state, task=structs.replace(state.task, references=(given,)))


@pytest.mark.parametrize(("memory", "shown"), [("none", 1), ("full", 2)])
async def test_the_refiner_sees_the_given_pictures_whatever_memory_shows(
    tmp_path: Path, memory: MemoryMode, shown: int
) -> None:
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(await state_with_references(tmp_path)))
    refiner.chat = chat = FakeChat('{"diagnosis": "d", "prompt": "Make it blue."}')
    await refiner.refine(RefinePrompt(trajectory=TRAJECTORY, round=1, memory=memory))
    (request,) = chat.requests
    assert pictures_of(request) == [GIVEN.data, DRAWN.data][:shown]
    assert PROMPT_RULES in text_of(request)
    assert request.fields["references"] == 1


async def test_the_compressor_is_told_what_the_prompt_was_about(tmp_path: Path) -> None:
    compressor = Compressor(MeshConfig(data_dir=str(tmp_path)), mesh_with(await state_with_references(tmp_path)))
    compressor.chat = chat = FakeChat("Say it first.")
    await compressor.compress(CompressAttempt(trajectory=TRAJECTORY, round=1))
    assert "It was drawn from given pictures, and its prompt was an instruction about them:" in text_of(
        chat.requests[0]
    )
