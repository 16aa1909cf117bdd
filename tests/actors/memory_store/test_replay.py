"""Replay: the state of a trajectory from its records."""

from __future__ import annotations

import msgspec

from actors.memory_store.replay import assemble_state, lesson_outcomes, step_of
from protocol.messages import (
    AnyRecord,
    AttemptVerified,
    Hook,
    LoggedRecord,
    Note,
    PromptPlanned,
    RecordsLost,
    Spent,
    TrajectoryState,
)
from tests.actors.fakes import attempt
from tests.actors.memory_store.records import begun, ended_again, failed, reopened, run_begun, story


def logged(records: list[AnyRecord]) -> list[LoggedRecord]:
    return [LoggedRecord(sequence=n, at=100.0 + n, record=record) for n, record in enumerate(records, 1)]


def test_every_step_has_a_unique_name_and_repeatable_records_have_none() -> None:
    names = [step_of(record) for record in story(answers=("uu", "mu", "mm"))]
    assert len(set(names)) == len(names)
    assert step_of(run_begun()) == step_of(begun()) == "begun"
    assert step_of(failed()) is None
    assert step_of(RecordsLost(first=1, last=2, reason="a flip")) is None


def test_without_records_the_state_is_empty() -> None:
    assert assemble_state([]) == TrajectoryState()


def test_a_state_has_everything_that_happened_and_when() -> None:
    state = assemble_state(logged(story()))
    assert state.task is not None
    assert state.task.prompt == "a red fox"
    assert state.prompt_of(1) == "a red fox, in oils"
    assert state.prompt_of(2) == "a red fox, again"
    assert [item.round for item in state.attempts] == [1, 2]
    assert state.plan is not None
    assert state.plan.reasoning == "oils suit foxes"
    assert (state.began_at, state.last_at) == (101.0, 108.0)
    assert state.ending is not None
    assert state.failure is None


def test_the_replies_of_hooks_are_part_of_the_state() -> None:
    critic = Hook(role="critic", version="2")
    records = story(answers=("mu", "mm"), hook=critic)
    assert len({step_of(record) for record in records}) == len(records)
    state = assemble_state(logged(records))
    assert (state.prepared, state.request_prompt) == ("a red fox prepared", "a red fox prepared")
    assert [[verdict.answer for verdict in item.verdicts] for item in state.attempts] == [
        ["met", "unmet"],
        ["met", "met"],
    ]
    assert [(review.round, review.candidate) for review in state.reviews] == [(1, 1), (2, 1)]
    assert state.notes == (Note(round=1, text="redder"),)
    assert state.hooks == {"before_plan": critic, "after_verdicts": critic, "before_refinement": critic}
    assert assemble_state(logged(story())).request_prompt == "a red fox"


def test_a_failure_is_in_the_state_until_the_trajectory_continues() -> None:
    first, *rest = story()
    assert assemble_state(logged([first, failed()])).failure == failed().failure
    assert assemble_state(logged([first, failed(), *rest])).failure is None


def test_a_reopened_trajectory_has_more_rounds_and_no_ending_until_it_ends_again() -> None:
    records = [*story(outcome="rounds_spent"), reopened(rounds=8)]
    state = assemble_state(logged(records))
    assert state.task is not None
    assert (state.ending, state.reopenings, state.task.settings.max_rounds) == (None, 1, 8)
    assert state.task.prompt == "a red fox", "only its rounds change"
    again = assemble_state(logged([*records, failed(), ended_again()]))
    assert again.ending == ended_again().ending
    assert (again.failure, again.reopenings) == (None, 1)
    steps = [step_of(record) for record in (*records, ended_again(), reopened(reopening=2), ended_again(reopening=2))]
    assert len(set(steps)) == len(steps)
    assert assemble_state(logged([reopened(), *records])).task == state.task, "in whatever order"


def test_what_was_spent_is_added_up_by_role() -> None:
    first = begun()
    planned = PromptPlanned(trajectory=first.trajectory, prompt="a fox", spent=Spent(seconds=1.5, calls=2))
    attempts: list[AnyRecord] = [
        AttemptVerified(
            trajectory=first.trajectory,
            attempt=msgspec.structs.replace(
                attempt(round_, "m"),
                drawing=Spent(seconds=2.0, calls=1),
                verifying=Spent(calls=3, prompt_tokens=10),
            ),
        )
        for round_ in (1, 2)
    ]
    assert assemble_state(logged([first, planned, *attempts])).spent == {
        "planner": Spent(seconds=1.5, calls=2),
        "generator": Spent(seconds=4.0, calls=2),
        "verifier": Spent(calls=6, prompt_tokens=20),
    }


def test_the_effect_of_a_lesson_is_measured_by_the_rounds_before_and_after() -> None:
    lessons = lesson_outcomes(assemble_state(logged(story(answers=("uuu", "mmu", "umu", "mmm")))))
    assert [(lesson.experience.round, lesson.met_before, lesson.met_after) for lesson in lessons] == [
        (1, 0, 2),
        (2, 2, 1),
        (3, 1, 3),
    ]
    assert [lesson.gain for lesson in lessons] == [2, -1, 2]
    assert {lesson.requirements for lesson in lessons} == {3}


def test_a_lesson_without_a_following_round_has_no_effect() -> None:
    assert lesson_outcomes(assemble_state(logged(story(answers=("uu", "mm"))[:5]))) == []
