"""The decomposer asks about the prompt alone and returns what the model found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.decomposer import RULES, Decomposer, parse_requirements
from gems_actors.config import MemoryConfig, MeshConfig
from gems_actors.errors import ModelOutputError
from protocol.messages import DecomposePrompt, Request
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
