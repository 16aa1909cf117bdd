"""The progress of a draw, advanced by its events."""

from __future__ import annotations

from functools import reduce
from typing import Any

from gems_actors.app.draw_progress import (
    Progress,
    advance,
    answers_of_round,
    compare_words,
    finish,
    lines_of,
    step_of,
)
from protocol.messages import (
    ActorJoined,
    AttemptPlace,
    AttemptsCompared,
    PairChoice,
    PromptRefined,
    Refinement,
    StepTaken,
)
from tests.gems_actors.cli.stories import EVENTS, FIRST_PROMPT, PICTURE, PROMPT, SECOND_PROMPT, attempt

START = Progress(PROMPT, max_rounds=2, candidates=1)


def test_every_step_has_a_name() -> None:
    progress, steps = START, [step_of(START)]
    for event in EVENTS:
        progress = advance(progress, event)
        steps.append(step_of(progress))
    assert steps == [
        "planning", "decomposing", "drawing", "verifying", "reflecting", "refining", "drawing", "verifying", "choosing",
        "done",
    ]  # fmt: skip


def test_the_picture_completes_the_state_after_lost_events() -> None:
    seen = reduce(advance, EVENTS, START)
    unseen = finish(START, PICTURE)
    assert (unseen.attempts, unseen.prompts, unseen.requirements) == (seen.attempts, seen.prompts, seen.requirements)
    assert unseen.ending == seen.ending


def test_a_repeated_event_counts_once() -> None:
    once = reduce(advance, EVENTS, START)
    assert reduce(advance, EVENTS, once) == once


def test_events_of_actors_change_nothing() -> None:
    assert advance(START, ActorJoined(name="verifier-1", role="verifier")) is START


def test_a_round_of_several_images_shows_the_best() -> None:
    attempts = (attempt(1, "unmet", "unmet", "met"), attempt(1, "met", "unmet", "met", candidate=2))
    progress = Progress(PROMPT, max_rounds=2, candidates=2, prompts={1: FIRST_PROMPT}, attempts=attempts)
    assert answers_of_round(progress, 1) == {"r1": "met", "r2": "unmet", "r3": "met"}


def test_plain_lines_name_unmet_and_unsure_requirements() -> None:
    progress, lines = START, []
    for event in EVENTS:
        progress = advance(progress, event)
        lines += lines_of(progress, event)
    assert lines == [
        "skill: spatial-layout",
        f"round 1 prompt: {FIRST_PROMPT}",
        "requirements: 3",
        "round 1: 1 of 3 met, unmet: Are there exactly four rabbits?; Is the sign's text 開店? (unsure)",
        f"round 2 prompt: {SECOND_PROMPT}",
        "round 2: 2 of 3 met, unmet: Is the sign's text 開店?",
    ]


def test_a_changed_prompt_is_described_by_its_changed_words() -> None:
    assert compare_words(
        "a red dog on a wide green lawn in the warm sun", "a red dog on a wide green lawn at night"
    ) == [
        ("kept", "… wide green lawn"),
        ("removed", "in the warm sun"),
        ("added", "at night"),
    ]


def refined(**fields: Any) -> StepTaken:
    return StepTaken(record=PromptRefined(trajectory="0" * 32, refinement=Refinement(round=2, prompt="owls", **fields)))


def test_what_the_refiner_decided_is_told_and_a_stop_begins_no_round() -> None:
    progress = Progress(PROMPT, max_rounds=3, candidates=2, prompts={1: FIRST_PROMPT})
    place = AttemptPlace(round=1, candidate=2)
    several = ["round 2 prompt of candidate 1: owls", "round 2 prompt of candidate 2: seen from above, owls"]
    for event, round_, lines in (
        (refined(action="resample"), 2, ["round 2: the same prompt, drawn with another seed"]),
        (refined(action="stop", reasoning="x"), 1, ["round 2: not drawn, because the refiner stopped: x"]),
        (refined(others=("seen from above, owls",)), 2, several),
        (refined(action="edit", edited=place), 2, ["round 2: edit of round 1, candidate 2: owls"]),
    ):
        after = advance(progress, event)
        assert (after.round, lines_of(after, event)) == (round_, lines)


def test_a_comparison_is_told() -> None:
    choice = PairChoice(round=1, candidate=2, other_round=3, other_candidate=1, preferred="second")
    event = StepTaken(record=AttemptsCompared(trajectory="0" * 32, choice=choice))
    told = "compared round 1 candidate 2 with round 3 candidate 1: round 3 candidate 1 is better"
    assert lines_of(START, event) == [told]
