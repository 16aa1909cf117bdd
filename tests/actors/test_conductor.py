"""The loop: the real conductor and memory over the real wire, all other roles by script."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from msgspec import structs

from actors.memory import Memory
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BackendError, CancelledRequestError, RefusedError
from gems_actors.testing import open_test_mesh
from protocol.costs import chat_cost
from protocol.identity import attempt_seed, digest_of
from protocol.limits import MAX_PROMPT_CHARS
from protocol.messages import (
    AppendRecord,
    AttemptVerified,
    Budget,
    ControlRun,
    DrawPicture,
    DrawSettings,
    ExperienceKept,
    FindBestAttempt,
    ImageRef,
    ListRuns,
    LoggedRecord,
    Picture,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    ReadLog,
    ReadStatus,
    ReadTrajectory,
    Refined,
    Spent,
    StepTaken,
    TrajectoryBegun,
    TrajectoryFailed,
)
from tests.actors.scripted import COSTS, REQUIREMENTS, EagerConductor, Script, draw_one, open_loop, scripted_roles

TASK = DrawPicture(run="test", prompt="a red cat", seed=7)


async def test_the_loop_continues_until_all_requirements_are_met(tmp_path: Path) -> None:
    script = Script(met_from_round=3)
    picture = await draw_one(tmp_path, script, TASK)
    assert [attempt.prompt for attempt in picture.attempts] == ["p1", "p2", "p3"]
    assert picture.ending.outcome == "all_met"
    assert (picture.best.round, picture.all_met, picture.skill) == (3, True, "spatial-layout")
    assert script.asked == {"plan": 1, "decompose": 1, "generate": 3, "verify": 3, "compress": 2, "refine": 2}
    assert (script.seeds[0], script.task_seeds) == (TASK.seed, [TASK.seed] * 3)


@pytest.mark.slow
async def test_the_picture_after_forty_rounds_of_the_longest_prompts_fits_a_frame(tmp_path: Path) -> None:
    script, rounds = Script(met_from_round=40), 40
    script.refine = lambda request: Refined(prompt=f"p{request.round + 1} ".ljust(MAX_PROMPT_CHARS, "\U0001f98a"))
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=rounds))
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(task)
        assert await mesh.ask(task) == picture
    assert [attempt.round for attempt in picture.attempts] == list(range(1, rounds + 1))
    assert (picture.ending.outcome, len(picture.final_prompt)) == ("all_met", MAX_PROMPT_CHARS)


async def test_every_attempt_is_drawn_from_the_references_of_the_task(tmp_path: Path) -> None:
    script = Script(met_from_round=2)
    references = tuple(
        ImageRef(digest=digest_of(data), media_type="image/png", bytes=1, width_px=16, height_px=16)
        for data in (b"a", b"b")
    )
    task = structs.replace(TASK, references=references)
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(task)
        state = await mesh.ask(ReadTrajectory(trajectory=task.trajectory))
        with pytest.raises(RefusedError, match="another prompt, seed, reference or setting"):
            await mesh.ask(structs.replace(task, references=references[:1]))
    assert script.references == [references, references]
    assert [attempt.references for attempt in picture.attempts] == [references, references]
    assert state.task is not None
    assert state.task.references == references


async def test_a_task_with_an_id_is_resumed_when_its_line_has_moved(tmp_path: Path) -> None:
    script = Script(met_from_round=2)
    task = structs.replace(TASK, task="ab" * 8, line=3)
    async with open_loop(tmp_path, script) as mesh:
        first = await mesh.ask(task)
        assert await mesh.ask(structs.replace(task, line=4)) == first
        other = await mesh.ask(structs.replace(task, task="cd" * 8))
    assert first.trajectory == task.trajectory != other.trajectory
    assert script.asked["plan"] == 2


async def test_memory_is_asked_only_before_something_builds_on_a_record(tmp_path: Path) -> None:
    class PatientConductor(EagerConductor):
        together_s = 60.0

    handled: list[int] = []
    roles, config = scripted_roles(Script(met_from_round=1)), MeshConfig(data_dir=str(tmp_path))
    async with open_test_mesh(Memory, PatientConductor, *roles, config=config) as mesh:
        for task in (TASK, TASK):
            await mesh.ask(task)
            (memory,) = [role for role in (await mesh.ask(ReadStatus())).roles if role.role == "memory"]
            handled.append(memory.actors[0].handled)
    assert handled == [3, 5], "begun, planned with decomposed, attempt with ending; then begun and read"


async def test_spent_rounds_end_with_the_best_attempt_and_say_how_ties_were_decided(tmp_path: Path) -> None:
    task = DrawPicture(run="r", prompt="x", seed=1, settings=DrawSettings(max_rounds=2))
    picture = await draw_one(tmp_path, Script(met_from_round=99), task)
    assert picture.ending.outcome == "rounds_spent"
    assert (picture.ending.best_round, len(picture.attempts)) == (1, 2)
    assert "tied with" in picture.ending.decided_by


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "outcome", "attempts", "calls"),
    [
        (Budget(), "rounds_spent", 5, 21),
        (Budget(max_calls=12), "budget_spent", 2, 9),
        (Budget(max_calls=13), "budget_spent", 3, 13),
        (Budget(max_calls=1), "budget_spent", 1, 5),  # the first round is always drawn
        (Budget(max_tokens=49), "budget_spent", 1, 5),
        (Budget(max_tokens=50), "rounds_spent", 5, 21),  # only the planner counts tokens here
    ],
)
async def test_a_round_that_the_budget_does_not_cover_is_not_started(
    tmp_path: Path, budget: Budget, outcome: str, attempts: int, calls: int
) -> None:
    task = DrawPicture(run="r", prompt="x", seed=1, budget=budget)
    picture = await draw_one(tmp_path, Script(met_from_round=99), task)
    assert (picture.ending.outcome, len(picture.attempts)) == (outcome, attempts)
    assert chat_cost(picture.spent).calls == calls


async def test_a_trajectory_can_resume_with_another_budget(tmp_path: Path) -> None:
    with pytest.raises(BackendError):
        await draw_one(tmp_path, Script(failures=99), structs.replace(TASK, budget=Budget(max_calls=5)))
    assert (await draw_one(tmp_path, Script(), TASK)).all_met


async def test_without_requirements_the_planned_prompt_is_drawn_once(tmp_path: Path) -> None:
    script = Script()
    script.requirements = ()
    picture = await draw_one(tmp_path, script, TASK)
    assert picture.ending.outcome == "nothing_to_check"
    assert [attempt.prompt for attempt in picture.attempts] == ["p1"]
    assert (script.asked["verify"], picture.all_met) == (0, False)


async def test_every_attempt_records_its_seed_and_the_first_has_the_seed_of_the_task(tmp_path: Path) -> None:
    script = Script()
    settings = DrawSettings(max_rounds=2, candidates=2)
    picture = await draw_one(tmp_path, script, DrawPicture(run="r", prompt="x", seed=7, settings=settings))
    recorded = [attempt.seed for attempt in picture.attempts]
    assert recorded == [7, attempt_seed(7, 1, 2), attempt_seed(7, 2, 1), attempt_seed(7, 2, 2)]
    assert sorted(script.seeds) == sorted(recorded)
    assert len(set(recorded)) == 4


async def test_every_record_has_the_cost_of_its_step_and_the_plan_its_reasoning(tmp_path: Path) -> None:
    costs: dict[str, Spent] = {}
    async with open_loop(tmp_path, Script()) as mesh:
        await mesh.ask(TASK)
        for logged in (await mesh.ask(ReadLog())).records:
            match logged.record:
                case PromptPlanned() as record:
                    costs["planner"] = record.spent
                    assert record.reasoning == "it has a place"
                case PromptDecomposed() as record:
                    costs["decomposer"] = record.spent
                case AttemptVerified() as record:
                    costs |= {"generator": record.attempt.drawing, "verifier": record.attempt.verifying}
                    assert record.attempt.verify_calls_saved == 1
                    assert record.attempt.is_judged_blind
                case ExperienceKept() as record:
                    costs["compressor"] = record.spent
                case PromptRefined() as record:
                    costs["refiner"] = record.spent
    assert costs == COSTS


async def test_every_record_is_published_as_a_step(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Script()) as mesh, mesh.events(TASK.run) as events:
        await mesh.ask(TASK)
        logged = [item.record for item in (await mesh.ask(ReadLog())).records]
        published: list[object] = []
        while len(published) < len(logged):
            event = await events.receive()
            published += [event.record] if isinstance(event, StepTaken) else []
    assert sorted(map(repr, published)) == sorted(map(repr, logged))


async def test_the_compressor_is_asked_only_in_memory_mode_full(tmp_path: Path) -> None:
    script = Script()
    task = DrawPicture(run="r", prompt="x", seed=1, settings=DrawSettings(memory="images"))
    await draw_one(tmp_path, script, task)
    assert (script.asked["compress"], script.asked["refine"]) == (0, 1)


async def test_all_rounds_are_drawn_if_stopping_early_is_off(tmp_path: Path) -> None:
    settings = DrawSettings(max_rounds=3, stop_when_all_met=False)
    picture = await draw_one(tmp_path, Script(), DrawPicture(run="r", prompt="x", seed=1, settings=settings))
    assert (len(picture.attempts), picture.ending.outcome, picture.best.round) == (3, "all_met", 2)


async def test_a_trajectory_resumes_at_the_step_that_memory_lacks(tmp_path: Path) -> None:
    whole = await draw_one(tmp_path / "whole", Script(), TASK)
    async with open_loop(tmp_path / "half", Script()) as mesh:
        id_ = TASK.trajectory
        for record in (
            TrajectoryBegun(trajectory=id_, task=TASK),
            PromptPlanned(trajectory=id_, prompt="p1", skill="spatial-layout", spent=COSTS["planner"]),
            PromptDecomposed(trajectory=id_, requirements=REQUIREMENTS, spent=COSTS["decomposer"]),
            AttemptVerified(trajectory=id_, attempt=whole.attempts[0]),
        ):
            await mesh.ask(AppendRecord(record=record))
    script = Script()
    assert await draw_one(tmp_path / "half", script, TASK) == whole
    assert script.asked == {"generate": 1, "verify": 1, "compress": 1, "refine": 1}


async def test_a_finished_trajectory_is_answered_from_memory(tmp_path: Path) -> None:
    picture = await draw_one(tmp_path, Script(), TASK)
    again = Script()
    assert await draw_one(tmp_path, again, TASK) == picture
    assert not again.asked


async def test_the_same_trajectory_with_another_prompt_is_refused(tmp_path: Path) -> None:
    await draw_one(tmp_path, Script(), TASK)
    with pytest.raises(RefusedError, match="begun with another prompt"):
        await draw_one(tmp_path, Script(), DrawPicture(run="test", prompt="a blue cat", seed=7))


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
async def test_a_prompt_with_a_nul_is_refused_before_anything_is_kept(tmp_path: Path, field: str) -> None:
    prompts = {"prompt": "a cat", "negative_prompt": "a dog", field: "a\0b"}
    settings = DrawSettings(negative_prompt=prompts["negative_prompt"])
    script = Script()
    async with open_loop(tmp_path, script) as mesh:
        with pytest.raises(RefusedError, match=f"^{field}: expected text, got a NUL character"):
            await mesh.ask(DrawPicture(run="test", prompt=prompts["prompt"], seed=7, settings=settings))
        assert not script.asked
        assert not (await mesh.ask(ListRuns())).runs


async def test_a_retryable_failure_is_retried(tmp_path: Path) -> None:
    script = Script(failures=2)
    assert (await draw_one(tmp_path, script, TASK)).all_met
    assert script.asked["generate"] == 4


async def test_a_lasting_failure_fails_the_trajectory_which_can_then_resume(tmp_path: Path) -> None:
    script = Script(failures=3)
    async with open_loop(tmp_path, script) as mesh:
        with pytest.raises(BackendError, match="restarts"):
            await mesh.ask(TASK)
        assert (await mesh.ask(TASK)).all_met
    assert script.asked["plan"] == 1


@pytest.mark.slow
async def test_stopped_gracefully_it_finishes_the_round_and_answers_with_the_best_so_far(tmp_path: Path) -> None:
    stop = trio.Event()

    async def stop_at_first_attempt(mesh: Mesh, *, task_status: trio.TaskStatus[None]) -> None:
        async with mesh.events("test") as events:
            task_status.started()
            async for event in events:
                if isinstance(event, StepTaken) and isinstance(event.record, AttemptVerified):
                    stop.set()
                    return

    async with open_loop(tmp_path, Script(met_from_round=99)) as mesh, trio.open_nursery() as nursery:
        await nursery.start(stop_at_first_attempt, mesh)
        settings = DrawSettings(max_rounds=60, memory="none")
        task = DrawPicture(run="test", prompt="x", seed=1, settings=settings)
        picture = await mesh.ask(task, stop_gracefully=stop)
    assert picture.ending.outcome == "wound_down"
    assert 1 <= len(picture.attempts) < 60


async def test_a_cancelled_trajectory_is_recorded_as_failed_and_continues_once_resumed(tmp_path: Path) -> None:
    script = Script()
    task = DrawPicture(run="test", prompt="x", seed=1)

    async def cancel_once_paused(mesh: Mesh, *, task_status: trio.TaskStatus[None]) -> None:
        async with mesh.events("test") as events:
            task_status.started()
            await events.receive()
            await mesh.ask(ControlRun(run="test", action="pause"))
            while not any(role.paused for role in (await mesh.ask(ReadStatus())).roles):
                pass
            await mesh.ask(ControlRun(run="test", trajectory=task.trajectory, action="cancel", by="alice"))

    async with open_loop(tmp_path, script) as mesh:
        async with trio.open_nursery() as nursery:
            await nursery.start(cancel_once_paused, mesh)
            with pytest.raises(CancelledRequestError, match=f"trajectory {task.trajectory} was cancelled by alice"):
                await mesh.ask(task)
        kept: list[LoggedRecord] = []
        while not kept or not isinstance(kept[-1].record, TrajectoryFailed):
            kept += (await mesh.ask(ReadLog(since=len(kept), wait_s=5))).records
        assert kept[-1].record.failure.code == "cancelled"
        was_planned, plans = any(isinstance(item.record, PromptPlanned) for item in kept), script.asked["plan"]
        await mesh.ask(ControlRun(run="test", action="resume"))
        assert (await mesh.ask(task)).all_met
    assert script.asked["plan"] == plans + (not was_planned)  # what was in flight when it was cancelled is asked again


@pytest.mark.slow
async def test_a_thousand_trajectories_share_one_conductor(tmp_path: Path) -> None:
    script = Script()
    pictures: list[Picture] = []
    async with open_loop(tmp_path, script) as mesh:

        async def draw(line: int) -> None:
            pictures.append(await mesh.ask(DrawPicture(run="many", line=line, prompt="x", seed=line)))

        async with trio.open_nursery() as nursery:
            for line in range(1000):
                nursery.start_soon(draw, line)
        assert len({picture.trajectory for picture in pictures}) == 1000
        best = await mesh.ask(FindBestAttempt(trajectory=pictures[0].trajectory))
        assert best.attempt == pictures[0].best
        state = await mesh.ask(ReadTrajectory(trajectory=pictures[0].trajectory))
        assert state.ending == pictures[0].ending
    assert script.asked["generate"] == 2000
