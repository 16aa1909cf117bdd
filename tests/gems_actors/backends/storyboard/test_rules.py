"""The rules answer every task in the format that language models are asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
import trio

from gems_actors.backends import ChatReply, ChatRequest
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.error_model import error_probability
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import Kind, claims_of
from gems_actors.errors import BackendError
from tests.gems_actors.backends.storyboard.pictures import PROMPTS

_MANIFEST = [
    {"id": "text-rendering", "description": "Prompts with quoted text, signs and lettering."},
    {"id": "spatial-relations", "description": "Objects placed left, right, above or behind others."},
    {"id": "chart-design", "description": "Charts and diagrams with exact values."},
]


def chat(task: Any, fields: dict[str, Any]) -> ChatReply:
    return trio.run(StoryboardChatModel().chat, ChatRequest(task, fields, ()))


def lessons_naming(*kinds: str) -> dict[str, list[str]]:
    """Return a field with lessons that each name these kinds as the hardest."""
    return {
        "lessons": [f"1 of 3 requirements met. Failed: the dog is red. Hardest: {names}. Next: x." for names in kinds]
    }


def write_prompt(prompt: str, skill: str | None = None, lessons: dict[str, list[str]] | None = None) -> str:
    fields = {"prompt": prompt, "skill": skill, "instructions": "", **(lessons or {})}
    written: str = json.loads(chat("write_prompt", fields).text)["prompt"]
    return written


def refine(
    prompt: str, *rounds: tuple[list[str], list[str]], lessons: dict[str, list[str]] | None = None
) -> dict[str, str]:
    attempts = [
        {"round": number, "prompt": prompt, "met": met, "unmet": unmet, "unsure": [], "experience": None}
        for number, (met, unmet) in enumerate(rounds, start=1)
    ]
    refined: dict[str, str] = json.loads(
        chat("refine", {"prompt": prompt, "attempts": attempts, **(lessons or {})}).text
    )
    return refined


@pytest.mark.parametrize("prompt", [*PROMPTS, "!!!", "🎉", "and", "a " * 500])
def test_decomposition_follows_its_schema(prompt: str) -> None:
    requirements = json.loads(chat("decompose", {"prompt": prompt}).text)["requirements"]
    assert len(requirements) <= 40
    seen: set[str] = set()
    for requirement in requirements:
        is_understood = "not_understood" not in requirement
        assert set(requirement) - {"not_understood"} == {"id", "question", "kind", "depends_on"}
        assert requirement["kind"] in get_args(Kind)
        assert requirement["question"].endswith("?")
        assert (parse_claim(requirement["question"]) is not None) == is_understood
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


def test_repeated_failures_are_stressed_more() -> None:
    count, colour = "Are there exactly three pigs in the image?", "Are the pigs red?"
    once = refine("three red pigs", ([colour], [count]))
    twice = refine("three red pigs", ([colour], [count]), ([], [count, colour]))
    assert once["prompt"].endswith("Make sure: there are exactly three pigs")
    assert twice["prompt"].endswith("Make sure: there are exactly three pigs!; the pigs are red")
    assert once["diagnosis"]


def test_a_requirement_that_failed_once_keeps_its_stress() -> None:
    count, colour = "Are there exactly three pigs in the image?", "Are the pigs red?"
    assert "the pigs are red" in refine("three red pigs", ([count], [colour]), ([colour], [count]))["prompt"]


def test_the_prompt_does_not_grow_with_the_rounds() -> None:
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


def test_lessons_about_positions_stress_positions_in_the_first_prompt() -> None:
    prompt = "three red pigs to the left of two dogs under a tree"
    written = write_prompt(prompt, lessons=lessons_naming("position"))
    assert written == f"{prompt}\n\nMake sure: the pigs are to the left of the dogs; the dogs are under the tree"


@pytest.mark.parametrize("skill", [None, "spatial-layout"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_lessons_keep_the_scene_and_lower_the_error_rate_of_the_hardest_kinds(prompt: str, skill: str | None) -> None:
    plain = parse_scene(prompt)
    warned = parse_scene(write_prompt(prompt, skill, lessons_naming("count, position", "count")))
    assert replace(warned, stress=()) == plain
    claims = claims_of(plain)
    stressed = [claim for claim in claims if claim.kind in ("count", "position")][:6]
    for claim in claims:
        before, after = (error_probability(claim, scene, len(claims)) for scene in (plain, warned))
        assert after < before if claim in stressed else after == before


def test_the_two_kinds_that_lessons_name_most_are_stressed() -> None:
    lessons = lessons_naming("attribute, position, count", "position", "count, position")
    stressed = parse_scene(write_prompt("three red pigs to the left of two dogs", lessons=lessons)).stress
    assert {(claim.kind, level) for claim, level in stressed} == {("position", 1), ("count", 1)}


def test_no_more_than_six_claims_are_stressed_before_anything_failed() -> None:
    prompt = "two cats, three dogs, four pigs, five cows, six owls, seven mice and eight birds left of nine hats"
    stressed = [claim.kind for claim, _ in parse_scene(write_prompt(prompt, lessons=lessons_naming("count"))).stress]
    assert stressed == ["count"] * 6
    lessons = lessons_naming("position, count", "position")
    assert "position" in {claim.kind for claim, _ in parse_scene(write_prompt(prompt, lessons=lessons)).stress}


def test_a_skill_and_lessons_both_shape_the_prompt() -> None:
    written = write_prompt("two cats", "spatial-layout", lessons_naming("count"))
    assert written.startswith("two cats\n\nDirection: composed with spatial layout in mind")
    assert written.endswith("\n\nMake sure: there are exactly two cats")


def test_stress_in_the_prompt_adds_to_that_of_lessons() -> None:
    prompt = "two red cats\n\nMake sure: there are exactly two cats!"
    written = write_prompt(prompt, lessons=lessons_naming("count, attribute"))
    assert written == "two red cats\n\nMake sure: there are exactly two cats!!; the cats are red"


@pytest.mark.parametrize(
    "lessons", [{}, {"lessons": ["Say it first."]}, lessons_naming("text"), lessons_naming("hats")]
)
def test_lessons_about_other_kinds_change_nothing(lessons: dict[str, list[str]]) -> None:
    assert write_prompt("two red cats", lessons=lessons) == "two red cats"
    assert write_prompt("two red cats", "x", lessons) == write_prompt("two red cats", "x")
    count = "Are there exactly two cats in the image?"
    assert refine("two red cats", ([], [count]), lessons=lessons) == refine("two red cats", ([], [count]))


def test_a_failure_despite_lessons_is_stressed_once_more() -> None:
    count, colour = "Are there exactly three pigs in the image?", "Are the pigs red?"
    refined = refine("three red pigs", ([], [count, colour]), lessons=lessons_naming("count"))
    assert refined["prompt"].endswith("Make sure: there are exactly three pigs!; the pigs are red")


def test_stress_from_lessons_stays_in_the_next_prompt() -> None:
    lessons = lessons_naming("count")
    first = parse_scene(write_prompt("three red pigs", lessons=lessons)).stress
    refined = refine("three red pigs", ([], ["Are the pigs red?"]), lessons=lessons)
    assert set(first) < set(parse_scene(refined["prompt"]).stress)


def test_its_own_lessons_are_understood() -> None:
    fields = {
        "prompt": "three red pigs left of a dog",
        "met": ["Are the pigs red?"],
        "unmet": ["Are there exactly three pigs in the image?"],
        "reasoning": "",
        "experiences": [],
    }
    lesson = chat("compress", fields).text
    assert write_prompt("two owls", lessons={"lessons": [lesson]}).endswith("Make sure: there are exactly two owls")


def test_an_unknown_task_and_a_missing_field_are_errors() -> None:
    with pytest.raises(BackendError, match="expected a task"):
        chat("sing", {})
    with pytest.raises(BackendError, match="needs the field 'prompt'"):
        chat("decompose", {})
    with pytest.raises(BackendError, match="expected one picture, got 0"):
        chat("verify", {"question": "Is there a cat?"})


# -------------------------------------------------------------------------------------------------------------- actions

CATS = "two red cats and a dog"
RED, TWO = "Are the cats red?", "Are there exactly two cats in the image?"


def refine_after(*rounds: tuple[str, list[str]], **more: Any) -> dict[str, Any]:
    """Return the refiner's answer after rounds, each with its prompt and what was unmet."""
    attempts = [
        {"round": number, "prompt": prompt, "met": [], "unmet": unmet, "unsure": [], "experience": None}
        for number, (prompt, unmet) in enumerate(rounds, start=1)
    ]
    answer: dict[str, Any] = json.loads(chat("refine", {"prompt": CATS, "attempts": attempts, **more}).text)
    return answer


def test_a_failure_that_words_can_still_stress_is_rewritten() -> None:
    answer = refine_after((CATS, [RED]))
    assert (answer["action"], answer["prompt"]) == ("rewrite", f"{CATS}\n\nMake sure: the cats are red")


def test_once_words_are_as_strong_as_they_can_be_chance_is_tried_and_then_the_refiner_stops() -> None:
    rounds, actions = [(CATS, [RED])], []
    for _ in range(8):
        answer = refine_after(*rounds)
        actions.append(answer["action"])
        rounds.append((answer["prompt"] or rounds[-1][0], [RED]))
    assert actions == ["rewrite"] * 4 + ["resample"] * 2 + ["stop"] * 2
    assert refine_after(*rounds, must_rewrite=True)["action"] == "rewrite"
    assert refine_after(*rounds[:5], (rounds[4][0], [TWO]))["action"] == "rewrite", "another failure can be stressed"


def refine_edit(*unmet: str, tried: int = 0, **more: Any) -> dict[str, Any]:
    """Return the answer after a round that lacked something, and so many edits of it that changed nothing."""
    rounds = [{"round": 1, "prompt": "Make the dog red.", "met": ["Is there a dog in the image?"], "unmet": [*unmet]}]
    rounds += [{**rounds[0], "round": number + 2, "edited": 1} for number in range(tried)]
    attempts = [{**item, "unsure": [], "experience": None} for item in rounds]
    fields = {"prompt": "Make the dog red.", "attempts": attempts, "edits_round": 1, "references": 1, **more}
    answer: dict[str, Any] = json.loads(chat("refine", fields).text)
    return answer


def test_where_a_picture_was_given_one_thing_that_is_left_is_edited_and_insisted_on() -> None:
    missed = "Is the dog red?"
    said = [refine_edit(missed, tried=tried) for tried in range(5)]
    assert [answer["action"] for answer in said] == ["edit"] * 4 + ["rewrite"]
    assert said[0]["prompt"] == "Change the picture so that the dog is red. Keep everything else as it is."
    assert said[2]["prompt"] == "Change the picture so that the dog is red!!. Keep everything else as it is."
    assert len({*refine_edit(missed, prompts=3)["prompts"]}) == 3


@pytest.mark.parametrize(
    ("unmet", "more"),
    [
        (["Is the dog red?", "Is the dog striped?"], {}),
        (["Apart from the dog, does the image look like the given one?"], {}),
        (["Is the dog red?"], {"references": 0}),
        (["Is the dog red?"], {"edits_round": None}),
        (["Is the dog red?"], {"must_rewrite": True}),
    ],
)
def test_nothing_is_edited_where_more_is_left_or_no_picture_was_given(unmet: list[str], more: dict[str, Any]) -> None:
    assert refine_edit(*unmet, **more)["action"] == "rewrite"


def test_an_instruction_is_taken_apart_into_what_it_asks_for_and_what_stays() -> None:
    fields = {"prompt": "Make the dog black and remove the hat.", "references": 1}
    found = json.loads(chat("decompose", fields).text)["requirements"]
    assert [(item["question"], item.get("compares", False)) for item in found] == [
        ("Is there a dog in the image?", False),
        ("Is the dog black?", False),
        ("Is the image free of hats?", False),
        ("Apart from the dog and the hat, does the image look like the given one?", True),
    ]


def test_for_several_candidates_it_writes_prompts_that_differ_in_view_and_stress_what_is_alike() -> None:
    answer = refine_after((CATS, [RED]), prompts=8)
    first, second, *_ = answer["prompts"]
    assert len({*answer["prompts"]}) == 8
    assert first == refine_after((CATS, [RED]))["prompt"]
    for prompt in answer["prompts"]:
        assert set(claims_of(parse_scene(prompt))) == set(claims_of(parse_scene(CATS)))
    assert "Direction: seen from above" in second
    answer = refine_after(("a red cat and a green dog", [RED.replace("cats", "cat").replace("Are", "Is")]), prompts=2)
    assert len(answer["prompts"]) == 2


def test_what_other_candidates_lacked_is_stressed_too() -> None:
    attempt = {"round": 1, "prompt": CATS, "met": [], "unmet": [RED], "unsure": [], "experience": None}
    attempts = [{**attempt, "others": [{"prompt": CATS, "missed": [TWO]}]}]
    written = json.loads(chat("refine", {"prompt": CATS, "attempts": attempts}).text)["prompt"]
    assert written.endswith("Make sure: there are exactly two cats; the cats are red")


def test_it_writes_the_lesson_that_the_compressor_would_write() -> None:
    answer = refine_after((CATS, [RED]), with_lesson=True)
    assert answer["lesson"] == chat("compress", {"met": [], "unmet": [RED], "experiences": []}).text
    assert "lesson" not in refine_after((CATS, [RED]))
