"""What the refiner decides is carried out: the real conductor and memory over the real wire, other roles by script."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from gems_actors.client import Mesh
from gems_actors.errors import RefusedError
from protocol.codec import decode_record, encode_body
from protocol.messages import (
    AnyRecord,
    AppendRecord,
    AttemptVerified,
    DrawPicture,
    DrawSettings,
    ExperienceKept,
    PromptRefined,
    ReadLog,
    ReadTrajectory,
    RefineAction,
    Refined,
    Refinement,
    RefinePrompt,
    TrajectoryReopened,
)
from tests.actors.scripted import Script, draw_interrupted, draw_one, open_loop

NEVER = 99
SETTINGS = DrawSettings(max_rounds=3)
TASK = DrawPicture(run="test", prompt="a red cat", seed=7, settings=SETTINGS)


async def records_of(mesh: Mesh) -> list[AnyRecord]:
    return [logged.record for logged in (await mesh.ask(ReadLog())).records]


async def test_a_resample_draws_the_last_prompt_with_another_seed(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt="p99", action="resample", reasoning="bad luck")
    picture = await draw_one(tmp_path, script, TASK)
    assert [attempt.prompt for attempt in picture.attempts] == ["p1", "p1", "p1"]
    assert len({attempt.seed for attempt in picture.attempts}) == 3
    assert (picture.actions, picture.ending.outcome) == (("resample", "resample"), "rounds_spent")


async def test_a_stop_ends_with_the_best_attempt_and_its_own_outcome(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(
        prompt="p2", action="stop" if request.round == 2 else "rewrite", reasoning="no words help"
    )
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(TASK)
        state = await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))
    assert (picture.ending.outcome, len(picture.attempts), picture.actions) == (
        "refiner_stopped",
        2,
        ("rewrite", "stop"),
    )
    assert [(item.action, item.reasoning) for item in state.refinements][1] == ("stop", "no words help")


async def test_a_stop_is_obeyed_once_it_is_recorded_and_after_the_trajectory_is_reopened(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt="p2", action="stop")
    async with open_loop(tmp_path, script) as mesh:
        assert (await mesh.ask(TASK)).ending.outcome == "refiner_stopped"
        longer = structs.replace(TASK, settings=DrawSettings(max_rounds=9))
        again = TrajectoryReopened(trajectory=TASK.trajectory, reopening=1, task=longer)
        await mesh.ask(AppendRecord(record=again))
        picture = await mesh.ask(longer)
    assert (picture.ending.outcome, len(picture.attempts), picture.actions) == ("refiner_stopped", 1, ("stop",))
    assert script.asked["refine"] == 1


async def test_the_last_round_asks_nothing_of_the_refiner(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    picture = await draw_one(tmp_path, script, structs.replace(TASK, settings=DrawSettings(max_rounds=1)))
    assert (script.asked["refine"], picture.actions) == (0, ())


async def test_an_edit_is_refused_because_nothing_can_edit(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt="p2", action="edit")
    picture = await draw_one(tmp_path, script, TASK)
    assert picture.ending.outcome == "refused"
    assert picture.ending.failure is not None
    assert "got edit, but nothing can edit" in picture.ending.failure.message


async def test_a_refiner_that_must_rewrite_is_told_so_and_may_do_nothing_else(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt="p2", action="stop")
    task = structs.replace(TASK, settings=DrawSettings(actions="rewrite"))
    picture = await draw_one(tmp_path, script, task)
    assert script.refinements[0].actions == "rewrite"
    assert picture.ending.failure is not None
    assert "expected the action rewrite, as draw.actions says, got stop" in picture.ending.failure.message
    script.can_edit = True
    await draw_one(tmp_path, script, structs.replace(task, line=1))
    assert not script.refinements[-1].can_edit


async def test_each_candidate_is_drawn_from_its_own_prompt(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt=f"p{request.round + 1}", others=(f"p0{request.round + 1}",))
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=3, candidates=2))
    picture = await draw_one(tmp_path, script, task)
    assert [attempt.prompt for attempt in picture.attempts] == ["p1", "p1", "p2", "p02", "p3", "p03"]
    assert [request.prompts for request in script.refinements] == [2, 2]


async def test_more_candidates_than_prompts_share_them_in_turn(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt="p2", others=("p02",))
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=2, candidates=5))
    picture = await draw_one(tmp_path, script, task)
    assert [attempt.prompt for attempt in picture.attempts[5:]] == ["p2", "p02", "p2", "p02", "p2"]
    task = structs.replace(TASK, line=1, settings=DrawSettings(max_rounds=2, candidates=20))
    await draw_one(tmp_path, script, task)
    assert script.refinements[-1].prompts == 8


@pytest.mark.parametrize("step", range(1, 16))
@pytest.mark.slow
async def test_from_any_step_candidates_with_their_own_prompts_and_actions_are_resumed(
    tmp_path: Path, step: int
) -> None:
    def decide(request: RefinePrompt) -> Refined:
        action: RefineAction = "resample" if request.round == 2 else "rewrite"
        return Refined(prompt=f"p{request.round + 1}", others=(f"p0{request.round + 1}",), action=action, lesson="l")

    task = structs.replace(
        TASK, settings=DrawSettings(max_rounds=4, candidates=2, lesson_by="refiner", choose="pairwise")
    )
    whole = Script(met_from_round=NEVER)
    whole.refine = decide
    expected = await draw_one(tmp_path / "whole", whole, task)
    script = Script(met_from_round=NEVER)
    script.refine = decide
    picture = await draw_interrupted(tmp_path / "parts", script, task, step)
    assert picture.attempts == expected.attempts
    assert (picture.actions, picture.ending) == (expected.actions, expected.ending)


async def test_with_the_refiner_as_author_a_round_costs_one_call_less_and_keeps_its_lesson(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.refine = lambda request: Refined(prompt=f"p{request.round + 1}", lesson=f"lesson of {request.round}")
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=3, lesson_by="refiner"))
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(task)
        kept = [record for record in await records_of(mesh) if isinstance(record, ExperienceKept | PromptRefined)]
    assert (script.asked["compress"], script.asked["refine"]) == (0, 2)
    assert [type(record) for record in kept] == [ExperienceKept, PromptRefined] * 2
    lessons = [record.experience.text for record in kept if isinstance(record, ExperienceKept)]
    assert lessons == ["lesson of 1", "lesson of 2"]
    assert "compressor" not in picture.spent


@pytest.mark.parametrize("memory", ["none", "prompts", "images", "thoughts"])
async def test_where_memory_keeps_no_lessons_none_is_asked_for(tmp_path: Path, memory: str) -> None:
    script = Script(met_from_round=2)
    settings = structs.replace(SETTINGS, memory=memory, lesson_by="refiner")
    assert (await draw_one(tmp_path, script, structs.replace(TASK, settings=settings))).all_met
    assert [request.with_lesson for request in script.refinements] == [False]


async def test_a_refiner_that_writes_no_lesson_although_it_must_is_refused(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    task = structs.replace(TASK, settings=DrawSettings(lesson_by="refiner"))
    picture = await draw_one(tmp_path, script, task)
    assert picture.ending.failure is not None
    assert "expected a lesson, got none" in picture.ending.failure.message


def test_a_refinement_of_an_earlier_version_rewrites_for_every_candidate() -> None:
    record = PromptRefined(trajectory="0" * 32, refinement=Refinement(round=2, prompt="p2"))
    decoded = decode_record(encode_body(record))
    assert isinstance(decoded, PromptRefined)
    assert (decoded.refinement.action, decoded.refinement.others) == ("rewrite", ())
    assert [decoded.refinement.prompt_of(candidate) for candidate in (1, 2, 64)] == ["p2"] * 3


# ----------------------------------------------------------------------------------------------------------- the choice

PAIRWISE = structs.replace(TASK, settings=DrawSettings(max_rounds=2, choose="pairwise"))


@pytest.mark.parametrize(("preferred", "chosen"), [("first", 1), ("second", 2), ("tie", 1)])
async def test_of_two_close_attempts_the_compared_picture_is_taken_across_rounds(
    tmp_path: Path, preferred: str, chosen: int
) -> None:
    script = Script(met_from_round=NEVER)
    script.preferred = preferred  # type: ignore[assignment]
    picture = await draw_one(tmp_path, script, PAIRWISE)
    assert picture.ending.best_round == chosen
    (compared,) = script.compared
    assert [compared.first, compared.second] == [attempt.image for attempt in picture.attempts]
    assert compared.prompt == PAIRWISE.prompt
    assert "in both orders" in picture.ending.decided_by


async def test_a_recorded_comparison_is_obeyed_when_the_trajectory_is_resumed(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.preferred = "second"
    async with open_loop(tmp_path, script) as mesh:
        first = await mesh.ask(PAIRWISE)
        again = TrajectoryReopened(trajectory=PAIRWISE.trajectory, reopening=1, task=PAIRWISE)
        await mesh.ask(AppendRecord(record=again))
        script.preferred = "first"
        second = await mesh.ask(PAIRWISE)
    assert second.ending == first.ending
    assert len(script.compared) == 1


async def test_one_clear_winner_is_not_compared(tmp_path: Path) -> None:
    script = Script(met_from_round=2)
    picture = await draw_one(tmp_path, script, PAIRWISE)
    assert (picture.all_met, script.compared) == (True, [])


async def test_by_default_nothing_is_compared(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    await draw_one(tmp_path, script, TASK)
    assert script.compared == []


async def test_what_cannot_be_compared_is_decided_by_the_verdicts(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    script.broken = lambda request: RefusedError("a filter") if type(request).__name__ == "CompareImages" else None
    picture = await draw_one(tmp_path, script, PAIRWISE)
    assert (picture.ending.outcome, picture.ending.best_round) == ("rounds_spent", 1)
    assert picture.ending.decided_by.endswith("its picture could not be compared")


async def test_a_comparison_counts_as_the_verifiers_and_stays_within_the_budget(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    picture = await draw_one(tmp_path, script, PAIRWISE)
    assert picture.spent["verifier"].calls == 3 * 2, "two pictures and one comparison"
    calls = sum(spent.calls for role, spent in picture.spent.items() if role != "generator")
    for max_calls, compared in ((calls, 2), (calls - 1, 2)):
        task = structs.replace(PAIRWISE, line=max_calls, budget=structs.replace(PAIRWISE.budget, max_calls=max_calls))
        await draw_one(tmp_path, script, task)
        assert len(script.compared) == compared


async def test_actions_are_kept_with_the_picture_of_a_finished_trajectory(tmp_path: Path) -> None:
    script = Script(met_from_round=NEVER)
    async with open_loop(tmp_path, script) as mesh:
        first = await mesh.ask(TASK)
        assert await mesh.ask(TASK) == first
        assert sum(isinstance(record, AttemptVerified) for record in await records_of(mesh)) == 3
    assert first.actions == ("rewrite", "rewrite")
