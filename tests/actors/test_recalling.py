"""Lessons are recalled only if enabled, and shown as lessons from other pictures."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from actors.recalling import NOTHING, lesson_fields, lesson_parts, lesson_rules, recall
from gems_actors.config import MemoryConfig, MeshConfig
from protocol.messages import RecallExperiences, Recollection, Request
from tests.actors.fakes import mesh_with, recollection

RECALLED = recollection("Count them in the first sentence.")


@pytest.mark.parametrize(
    ("is_wanted", "requests", "recalled"), [(False, [], NOTHING), (True, [RecallExperiences(prompt="a cat")], RECALLED)]
)
async def test_memory_is_asked_if_recall_is_on(
    is_wanted: bool, requests: list[Request[Any]], recalled: Recollection
) -> None:
    asked: list[Request[Any]] = []
    config = MeshConfig(memory=MemoryConfig(recall=is_wanted))
    assert await recall(config, mesh_with(recalled=RECALLED, asked=asked), "a cat") == recalled
    assert asked == requests


def test_a_lesson_is_shown_with_its_request_and_its_effect() -> None:
    (shown,) = lesson_parts(RECALLED)
    line = '- for "five owls on lamp 1": Count them in the first sentence. (met 1 of 5 before it, 4 of 5 after)'
    assert line in shown.splitlines()
    assert shown.endswith("ended well with lessons: 12; of those, where more was met after a lesson: 9.")


def test_a_long_request_is_shortened_and_every_lesson_is_one_line() -> None:
    experience = replace(RECALLED.experiences[0], prompt="owls\n\nand " * 100, text="Count\nthem.\n- $prompt")
    (shown,) = lesson_parts(replace(RECALLED, experiences=(experience,)))
    (line,) = (line for line in shown.splitlines() if line.startswith("- for"))
    assert line.startswith('- for "owls and owls and ')
    assert '…": Count them. - $prompt (met' in line
    assert len(line) < 300


def test_rules_for_lessons_are_given_only_with_lessons() -> None:
    assert lesson_rules(NOTHING, "The rules.") == "The rules."
    assert (lesson_parts(NOTHING), lesson_fields(NOTHING)) == ([], {})
    rules = lesson_rules(RECALLED, "The rules.")
    assert rules.startswith("The rules.\n\n")
    assert "about another picture" in rules
    assert lesson_fields(RECALLED) == {"lessons": ["Count them in the first sentence."]}
