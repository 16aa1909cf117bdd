"""The chat model answers every task in the format that is asked of a language model."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import trio

from gems_actors.backends import ChatReply, ChatRequest
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import Kind
from gems_actors.errors import BackendError
from tests.gems_actors.backends.storyboard.playing import PROMPTS

_MANIFEST = [
    {"id": "text-rendering", "description": "Prompts with quoted text, signs and lettering."},
    {"id": "spatial-relations", "description": "Objects placed left, right, above or behind others."},
    {"id": "chart-design", "description": "Charts and diagrams with exact values."},
]


def chat(task: Any, fields: dict[str, Any]) -> ChatReply:
    return trio.run(StoryboardChatModel().chat, ChatRequest(task, fields, ()))


def refine(prompt: str, *rounds: tuple[list[str], list[str]]) -> dict[str, str]:
    attempts = [
        {"round": number, "prompt": prompt, "met": met, "unmet": unmet, "unsure": [], "experience": None}
        for number, (met, unmet) in enumerate(rounds, start=1)
    ]
    refined: dict[str, str] = json.loads(chat("refine", {"prompt": prompt, "attempts": attempts}).text)
    return refined


@pytest.mark.parametrize("prompt", [*PROMPTS, "!!!", "🎉", "and", "a " * 500])
def test_decomposition_follows_its_schema(prompt: str) -> None:
    requirements = json.loads(chat("decompose", {"prompt": prompt}).text)
    assert 1 <= len(requirements) <= 40
    seen: set[str] = set()
    for requirement in requirements:
        assert set(requirement) == {"id", "question", "kind", "depends_on"}
        assert requirement["kind"] in get_args(Kind)
        assert requirement["question"].endswith("?")
        assert parse_claim(requirement["question"]) is not None
        assert requirement["depends_on"] is None or requirement["depends_on"] in seen
        seen.add(requirement["id"])
    assert len(seen) == len(requirements)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ('a sign that says "OPEN"', "text-rendering"),
        ("a cat to the left of a dog", "spatial-relations"),
        ("a pie chart: tea 3, coffee 5", "chart-design"),
        ("misty hills", None),
    ],
)
def test_a_prompt_is_routed_to_the_skill_that_fits(prompt: str, expected: str | None) -> None:
    assert json.loads(chat("route_skill", {"prompt": prompt, "manifest": _MANIFEST}).text) == {"skill": expected}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_written_prompt_keeps_the_scene(prompt: str) -> None:
    fields = {"prompt": prompt, "skill": "text-rendering", "instructions": "# Draw two dragons"}
    written = json.loads(chat("write_prompt", fields).text)["prompt"]
    assert written.startswith(prompt)
    assert parse_scene(written) == parse_scene(prompt)


def test_what_failed_more_often_is_stressed_more() -> None:
    count, colour = "Are there exactly three pigs in the image?", "Are the pigs red?"
    once = refine("three red pigs", ([colour], [count]))
    twice = refine("three red pigs", ([colour], [count]), ([], [count, colour]))
    assert once["prompt"].endswith("Make sure: there are exactly three pigs")
    assert twice["prompt"].endswith("Make sure: there are exactly three pigs!; the pigs are red")
    assert once["diagnosis"]


def test_what_failed_once_and_is_met_now_keeps_its_stress() -> None:
    count, colour = "Are there exactly three pigs in the image?", "Are the pigs red?"
    assert "the pigs are red" in refine("three red pigs", ([count], [colour]), ([colour], [count]))["prompt"]


def test_refining_for_ever_does_not_grow_the_prompt() -> None:
    failed = ["Are there exactly three pigs in the image?", "Are the pigs red?", "Are there any pigs in the image?"]
    lengths = [len(refine("three red pigs", *[([], failed)] * rounds)["prompt"]) for rounds in (5, 50)]
    assert lengths[0] == lengths[1]
    again = refine(refine("three red pigs", ([], failed))["prompt"], ([], failed))["prompt"]
    assert again.count("Make sure:") == 1


def test_an_experience_is_short_and_names_what_failed() -> None:
    fields = {
        "prompt": "three red pigs",
        "met": ["Are there any pigs in the image?"] * 30,
        "unmet": ["Are the pigs red?"] * 30,
        "reasoning": "",
        "experiences": ["earlier"],
    }
    text = chat("compress", fields).text
    assert "the pig is red" in text
    assert len(text.split()) < 100


def test_a_task_nobody_knows_and_a_missing_field_are_errors() -> None:
    with pytest.raises(BackendError, match="expected a task"):
        chat("sing", {})
    with pytest.raises(BackendError, match="needs the field 'prompt'"):
        chat("decompose", {})
    with pytest.raises(BackendError, match="one picture, got 0"):
        chat("verify", {"question": "Is there a cat?"})
