"""The decomposer asks about the prompt alone and returns what the model found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.decomposer import CLAIM_RULES, RULES, Decomposer, parse_requirements
from gems_actors.config import MemoryConfig, MeshConfig, VerifyConfig
from gems_actors.errors import ModelOutputError
from protocol.messages import Claim, DecomposePrompt, Request
from tests.actors.fakes import FakeChat, mesh_with, text_of


async def test_a_prompt_becomes_requirements() -> None:
    asked: list[Request[Any]] = []
    decomposer = Decomposer(MeshConfig(memory=MemoryConfig(recall=True)), mesh_with(asked=asked))
    rows = {"requirements": [{"id": "r1", "question": "Is there a cat?", "kind": "object", "depends_on": None}]}
    decomposer.chat = chat = FakeChat(f"```json\n{json.dumps(rows)}\n```")
    reply = await decomposer.decompose(DecomposePrompt(prompt="a cat"))
    assert [item.question for item in reply.requirements] == ["Is there a cat?"]
    assert reply.spent.calls == 1
    assert asked == [], "the decomposer never recalls lessons"
    (request,) = chat.requests
    assert (request.task, request.fields) == ("decompose", {"prompt": "a cat"})
    assert "<prompt>\na cat\n</prompt>" in text_of(request)


def test_the_example_in_the_rules_is_a_valid_answer() -> None:
    example = RULES[RULES.index('"OPEN"\n{') + len('"OPEN"\n') :]
    assert len(parse_requirements(example, prompt='three ceramic owls under a sign that says "OPEN"')) == 6


async def test_an_answer_that_repeats_the_example_is_refused_by_name() -> None:
    example = RULES[RULES.index('"OPEN"\n{') + len('"OPEN"\n') :]
    decomposer = Decomposer(MeshConfig(), mesh_with())
    decomposer.chat = chat = FakeChat(example, example)
    with pytest.raises(
        ModelOutputError,
        match=r"repeats the example of the instructions, got .*owls.* \(asked twice; use a larger model",
    ):
        await decomposer.decompose(DecomposePrompt(prompt="a cat"))
    assert len(chat.requests) == 2
    decomposer.chat = FakeChat(example)
    found = await decomposer.decompose(DecomposePrompt(prompt="Three ceramic owls under a sign that says OPEN"))
    assert len(found.requirements) == 6


async def test_the_second_answer_may_depend_on_what_does_not_exist() -> None:
    rows = [{"id": "r1", "question": "Is it?", "kind": "mood", "depends_on": "r9"}]
    decomposer = Decomposer(MeshConfig(), mesh_with())
    decomposer.chat = chat = FakeChat(*[json.dumps({"requirements": rows})] * 2)
    (found,) = (await decomposer.decompose(DecomposePrompt(prompt="a cat"))).requirements
    assert (found.kind, found.depends_on) == ("other", None)
    assert [request.vary for request in chat.requests] == [False, True]


# --------------------------------------------------------------------------------------------------------- claims


def one(claim: object) -> str:
    """Return an answer of one requirement with a claim."""
    row = {"id": "r1", "question": "Is it?", "kind": "count", "depends_on": None, "claim": claim}
    return json.dumps({"requirements": [row]})


async def test_claims_are_asked_for_only_where_evidence_decides() -> None:
    for mode in ("batch", "evidence"):
        config = MeshConfig(verify=VerifyConfig(mode=mode))
        decomposer = Decomposer(config, mesh_with())
        decomposer.chat = chat = FakeChat('{"requirements": []}')
        await decomposer.decompose(DecomposePrompt(prompt="a cat"))
        (request,) = chat.requests
        assert (CLAIM_RULES in text_of(request)) is (mode == "evidence")
        assert ('"claim"' in json.dumps(request.schema)) is (mode == "evidence")


def test_the_claims_of_the_example_are_valid() -> None:
    examples = [json.loads(line) for line in CLAIM_RULES.splitlines() if line.startswith("{")]
    assert len(examples) == 4
    for example in examples:
        (found,) = parse_requirements(one(example))
        assert found.claim is not None
        assert found.claim.type == example["type"]


@pytest.mark.parametrize(
    "claim",
    [
        {"type": "count", "subject": "owl", "value": 3},
        {"type": "count", "subject": "owl", "value": 3.0, "object": None, "negated": None},
        {"type": "count", "subject": "owl", "object": "", "value": "3", "negated": False, "more": 1},
    ],
)
def test_a_claim_is_read_where_it_has_one_meaning(claim: dict[str, Any]) -> None:
    (found,) = parse_requirements(one(claim))
    assert found.claim == Claim(type="count", subject="owl", value="3")


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "an owl",
        [],
        {},
        {"type": "none", "subject": "", "object": "", "value": "", "negated": False},
        {"type": "mood", "subject": "owl"},
        {"type": "count", "subject": "owl"},
        {"type": "exists", "subject": " "},
        {"type": "relation", "subject": "owl", "value": "left of"},
        {"type": "text", "subject": "sign"},
        {"type": "text", "value": "x" * 501},
        {"type": "exists", "subject": ["owl"]},
    ],
)
def test_a_claim_that_decides_nothing_is_left_out_because_the_question_is_asked_then(claim: object) -> None:
    (found,) = parse_requirements(one(claim))
    assert (found.question, found.claim) == ("Is it?", None)
