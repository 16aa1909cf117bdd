"""The decomposer asks about the prompt alone and returns what the model found."""

from __future__ import annotations

import json
from typing import Any

from actors.decomposer import RULES, Decomposer, parse_requirements
from gems_actors.config import MemoryConfig, MeshConfig
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
    assert len(parse_requirements(example)) == 6
