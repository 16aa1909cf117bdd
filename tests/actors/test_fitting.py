"""A state that is larger than a frame is shortened where nothing is decided; every other one stays as it is."""

from __future__ import annotations

import pytest
from msgspec import structs

from actors.fitting import fit_frame, fit_picture
from protocol.codec import encode_body
from protocol.limits import (
    MAX_CANDIDATES,
    MAX_FRAME_BYTES,
    MAX_PROMPT_CHARS,
    MAX_PROMPTS,
    MAX_REASON_CHARS,
    MAX_REQUIREMENTS,
    MAX_ROUNDS,
    MAX_TEXT_CHARS,
)
from protocol.messages import (
    Attempt,
    DrawSettings,
    Ending,
    ImageRef,
    Picture,
    Plan,
    Refinement,
    Review,
    TrajectoryState,
    Verdict,
)

WIDE = "\U0001f98a"
IMAGE = ImageRef(digest=f"sha256:{'0' * 64}", media_type="image/png", bytes=1, width_px=64, height_px=64)


def verdicts(length: int) -> tuple[Verdict, ...]:
    return tuple(
        Verdict(requirement=f"r{number}", answer="unmet", reason=WIDE * length) for number in range(MAX_REQUIREMENTS)
    )


def state_of(rounds: int, length: int) -> TrajectoryState:
    """Return a state with reasons of a length in its attempts and reviews."""
    return TrajectoryState(
        attempts=tuple(
            Attempt(round=round_, candidate=1, prompt="a fox", image=IMAGE, seed=1, verdicts=verdicts(length))
            for round_ in range(1, rounds + 1)
        ),
        reviews=tuple(Review(round=round_, candidate=1, verdicts=verdicts(length)) for round_ in range(1, rounds + 1)),
    )


def answers_of(state: TrajectoryState) -> list[list[str]]:
    judged_ones: list[Attempt | Review] = [*state.attempts, *state.reviews]
    return [[verdict.answer for verdict in judged.verdicts] for judged in judged_ones]


@pytest.mark.parametrize("rounds", [1, 2, 5, 20])
def test_the_longest_reasons_leave_a_state_that_fits_a_frame_with_every_answer(rounds: int) -> None:
    state = state_of(rounds, MAX_REASON_CHARS)
    fitted = fit_frame(state)
    assert len(encode_body(fitted)) < MAX_FRAME_BYTES
    assert answers_of(fitted) == answers_of(state)
    assert all(verdict.reason for attempt in fitted.attempts for verdict in attempt.verdicts)


def test_the_longest_reasoning_leaves_a_state_that_fits_a_frame_with_every_prompt() -> None:
    refinements = tuple(
        Refinement(round=round_, prompt=f"fox {round_}", reasoning=WIDE * MAX_TEXT_CHARS) for round_ in range(2, 32)
    )
    plan = Plan(prompt="a fox", reasoning=WIDE * MAX_TEXT_CHARS)
    fitted = fit_frame(structs.replace(state_of(2, 100), plan=plan, refinements=refinements))
    assert len(encode_body(fitted)) < MAX_FRAME_BYTES
    assert [item.prompt for item in fitted.refinements] == [item.prompt for item in refinements]


def test_a_state_that_fits_stays_as_it_is() -> None:
    for state in (TrajectoryState(), state_of(3, 500)):
        assert fit_frame(state) == state


def long_prompt(number: int) -> str:
    """Return one of the longest prompts, which differs from others at its end."""
    return f"{WIDE * (MAX_PROMPT_CHARS - 10)} {number}"


def test_the_longest_prompts_over_all_rounds_leave_a_state_that_fits_and_goes_on_with_the_latest() -> None:
    others = tuple(long_prompt(number) for number in range(MAX_PROMPTS - 1))
    refinements = tuple(
        Refinement(round=round_, prompt=long_prompt(round_), others=others, reasoning="why")
        for round_ in range(2, MAX_ROUNDS + 1)
    )
    attempts = tuple(
        Attempt(round=round_, candidate=1, prompt=long_prompt(round_), image=IMAGE, seed=1, verdicts=verdicts(10))
        for round_ in range(1, MAX_ROUNDS)
    )
    plan = Plan(prompt=long_prompt(1), reasoning="why")
    state = TrajectoryState(plan=plan, attempts=attempts, refinements=refinements)
    fitted = fit_frame(state)
    assert len(encode_body(fitted)) < MAX_FRAME_BYTES
    assert (fitted.refinements[-1], fitted.attempts[-1], fitted.plan) == (refinements[-1], attempts[-1], plan)
    assert len({item.prompt for item in fitted.refinements}) == len(refinements)
    assert [(item.round, item.candidate) for item in fitted.attempts] == [
        (item.round, item.candidate) for item in attempts
    ]
    assert answers_of(fitted) == answers_of(state)


def test_a_round_of_the_most_candidates_with_the_longest_prompts_fits_too() -> None:
    prompt = long_prompt(1)
    attempts = tuple(
        Attempt(round=1, candidate=number, prompt=prompt, image=IMAGE, seed=1, verdicts=verdicts(1))
        for number in range(1, MAX_CANDIDATES + 1)
    )
    refinement = Refinement(round=2, prompt=prompt)
    fitted = fit_frame(TrajectoryState(attempts=attempts, refinements=(refinement,)))
    assert len(encode_body(fitted)) < MAX_FRAME_BYTES
    assert fitted.refinements == (refinement,)


def test_prompts_are_whole_where_shorter_reasoning_suffices() -> None:
    refinements = tuple(
        Refinement(round=round_, prompt=long_prompt(round_), reasoning=WIDE * MAX_TEXT_CHARS) for round_ in range(2, 22)
    )
    fitted = fit_frame(TrajectoryState(refinements=refinements))
    assert [item.prompt for item in fitted.refinements] == [item.prompt for item in refinements]


def picture_of(attempts: tuple[Attempt, ...]) -> Picture:
    """Return a result whose first attempt is the best."""
    ending = Ending(best_round=1, best_candidate=1, outcome="rounds_spent", decided_by="it is the first")
    return Picture(
        trajectory="0" * 32, prompt="a fox", skill=None, requirements=(), attempts=attempts, ending=ending,
        settings=DrawSettings(),
    )  # fmt: skip


def test_a_picture_fits_a_frame_with_every_answer_and_its_whole_prompt() -> None:
    attempts = tuple(
        Attempt(round=round_, candidate=1, prompt=long_prompt(round_), image=IMAGE, seed=1, verdicts=verdicts(100))
        for round_ in range(1, MAX_ROUNDS + 1)
    )
    fitted = fit_picture(picture_of(attempts))
    assert len(encode_body(fitted)) < MAX_FRAME_BYTES
    assert fitted.final_prompt == long_prompt(1)
    assert len({attempt.prompt for attempt in fitted.attempts}) == MAX_ROUNDS
    assert [[it.answer for it in attempt.verdicts] for attempt in fitted.attempts] == [
        [it.answer for it in attempt.verdicts] for attempt in attempts
    ]


def test_a_picture_that_fits_stays_as_it_is() -> None:
    picture = picture_of(state_of(3, 500).attempts)
    assert fit_picture(picture) == picture
