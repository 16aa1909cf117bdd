"""The JSON schemas of answers are accepted by strict servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actors.decomposer import decompose_request
from actors.planner import route_request, write_request
from actors.refiner import Pictures, Wanted, refine_request
from actors.rounds import PastRound
from actors.verifying.comparing import compare_request
from actors.verifying.evidence_listing import evidence_request
from actors.verifying.questions import batch_request
from gems_actors.backends import ChatRequest, ImagePart
from protocol.messages import Attempt
from skills import Catalogue, builtin_folder
from tests.actors.fakes import image_ref, requirement

SKILLS = Catalogue([builtin_folder()]).skills()
ATTEMPT = Attempt(round=1, candidate=1, prompt="x", image=image_ref(b"x"), seed=1, verdicts=())
PAST = PastRound(attempt=ATTEMPT, met=(), unmet=(), unsure=(), findings=(), reasoning="", experience=None)


def nodes_of(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from nodes_of(inner)


@pytest.mark.parametrize(
    "request_",
    [
        route_request("a fox", SKILLS),
        write_request("a fox", SKILLS[0]),
        decompose_request("a fox"),
        decompose_request("a fox", with_claims=True),
        refine_request("a fox", [PAST], Pictures(), "none"),
        refine_request("a fox", [PAST], Pictures(), "full", wanted=Wanted(3, with_lesson=True)),
        refine_request("a fox", [PAST], Pictures(), "full", wanted=Wanted(2, edits_round=1)),
        decompose_request("a fox", references=2),
        compare_request(ImagePart(b"x", "image/png"), ImagePart(b"y", "image/png"), "a fox", [requirement("a")]),
        batch_request(ImagePart(b"x", "image/png"), [requirement("a"), requirement("b")]),
        evidence_request(ImagePart(b"x", "image/png"), [requirement("a")]),
    ],
    ids=lambda request: request.task,
)
def test_strict_servers_accept_the_schema(request_: ChatRequest) -> None:
    """Source: platform.openai.com, Structured Outputs, Supported schemas."""
    assert request_.schema is not None
    assert request_.schema["type"] == "object", "the root must be one"
    for node in nodes_of(request_.schema):
        assert "type" in node
        if node["type"] == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == [*node["properties"]]
