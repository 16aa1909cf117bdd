"""The loop itself: the real conductor and memory over the real wire, all other roles by script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from msgspec import structs

from actors.conductor import Conductor
from actors.memory import Memory
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BackendError, CancelledRequestError, RefusedError
from gems_actors.testing import open_test_mesh
from protocol.costs import chat_cost
from protocol.identity import attempt_seed
from protocol.messages import (
    AppendRecord,
    AttemptVerified,
    Budget,
    ControlRun,
    DrawPicture,
    DrawSettings,
    ExperienceKept,
    FindBestAttempt,
    LoggedRecord,
    Picture,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    ReadLog,
    ReadStatus,
    ReadTrajectory,
    Record,
    Spent,
    StepTaken,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
)
from tests.actors.scripted import COSTS, REQUIREMENTS, Script, scripted_roles


def play(folder: Path, script: Script, scene: Callable[[Mesh], Awaitable[None]]) -> None:
    async def main() -> None:
        config = MeshConfig(data_dir=str(folder))
        async with open_test_mesh(Memory, Conductor, *scripted_roles(script), config=config) as mesh:
            await scene(mesh)

    with_limit = partial(_within, 30.0, main)
    trio.run(with_limit)


async def _within(seconds: float, main: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(seconds):
        await main()


def draw_one(folder: Path, script: Script, task: DrawPicture) -> Picture:
    pictures: list[Picture] = []

    async def scene(mesh: Mesh) -> None:
        pictures.append(await mesh.ask(task))

    play(folder, script, scene)
    return pictures[0]


TASK = DrawPicture(run="test", prompt="a red cat", seed=7)


def test_the_loop_goes_on_until_all_requirements_are_met(tmp_path: Path) -> None:
    script = Script()
    script.met_from_round = 3
    picture = draw_one(tmp_path, script, TASK)
    assert [attempt.prompt for attempt in picture.attempts] == ["p1", "p2", "p3"]
    assert picture.ending.outcome == "all_met"
    assert (picture.best.round, picture.all_met, picture.skill) == (3, True, "spatial-layout")
    assert script.asked == {"plan": 1, "decompose": 1, "generate": 3, "verify": 3, "compress": 2, "refine": 2}


def test_memory_is_asked_as_rarely_as_nothing_is_built_on_what_is_not_kept(tmp_path: Path) -> None:
    asked: list[int] = []

    async def scene(mesh: Mesh) -> None:
        for task in (TASK, TASK):
            await mesh.ask(task)
            (memory,) = [role for role in (await mesh.ask(ReadStatus())).roles if role.role == "memory"]
            asked.append(memory.actors[0].handled)

    script = Script()
    script.met_from_round = 1
    play(tmp_path, script, scene)
    assert asked == [4, 6], "begun, planned, decomposed, ended with its attempt; then begun already, and read"


def test_spent_rounds_end_with_the_best_attempt_and_say_how_ties_were_decided(tmp_path: Path) -> None:
    script = Script()
    script.met_from_round = 99
    picture = draw_one(tmp_path, script, DrawPicture(run="r", prompt="x", seed=1, settings=DrawSettings(max_rounds=2)))
    assert picture.ending.outcome == "rounds_spent"
    assert (picture.ending.best_round, len(picture.attempts)) == (1, 2)
    assert "tied with" in picture.ending.decided_by


def test_a_round_for_which_the_budget_does_not_suffice_is_not_begun(tmp_path: Path) -> None:
    def ending(calls: int | None = None, tokens: int | None = None) -> tuple[str, int, int]:
        script = Script()
        script.met_from_round = 99
        budget = Budget(max_calls=calls, max_tokens=tokens)
        task = DrawPicture(run=f"{calls} {tokens}", prompt="x", seed=1, budget=budget)
        picture = draw_one(tmp_path, script, task)
        return picture.ending.outcome, len(picture.attempts), chat_cost(picture.spent).calls

    assert ending() == ("rounds_spent", 5, 21)
    assert ending(calls=12) == ("budget_spent", 2, 9)
    assert ending(calls=13) == ("budget_spent", 3, 13)
    assert ending(calls=1) == ("budget_spent", 1, 5), "one round there always is"
    assert ending(tokens=49) == ("budget_spent", 1, 5)
    assert ending(tokens=50) == ("rounds_spent", 5, 21), "after the first round nothing here counts tokens"


def test_a_trajectory_goes_on_with_another_budget(tmp_path: Path) -> None:
    first = Script()
    first.failures = 99
    with pytest.raises(BackendError):
        draw_one(tmp_path, first, structs.replace(TASK, budget=Budget(max_calls=5)))
    assert draw_one(tmp_path, Script(), TASK).all_met


def test_without_requirements_the_prompt_of_the_plan_is_still_drawn_once(tmp_path: Path) -> None:
    script = Script()
    script.requirements = ()
    picture = draw_one(tmp_path, script, TASK)
    assert picture.ending.outcome == "nothing_to_check"
    assert [attempt.prompt for attempt in picture.attempts] == ["p1"]
    assert (script.asked["verify"], picture.all_met) == (0, False)


def test_every_attempt_records_its_seed_and_the_first_is_drawn_with_the_seed_of_the_task(tmp_path: Path) -> None:
    script = Script()
    settings = DrawSettings(max_rounds=2, candidates=2)
    picture = draw_one(tmp_path, script, DrawPicture(run="r", prompt="x", seed=7, settings=settings))
    recorded = [attempt.seed for attempt in picture.attempts]
    assert recorded == [7, attempt_seed(7, 1, 2), attempt_seed(7, 2, 1), attempt_seed(7, 2, 2)]
    assert sorted(script.seeds) == sorted(recorded)
    assert len(set(recorded)) == 4


def test_every_record_says_what_its_step_cost_and_the_plan_why_it_reads_so(tmp_path: Path) -> None:
    records: list[Record] = []

    async def scene(mesh: Mesh) -> None:
        async with mesh.events(TASK.run) as events, trio.open_nursery() as nursery:

            async def listen() -> None:
                async for event in events:
                    if isinstance(event, StepTaken):
                        records.append(event.record)
                        if isinstance(event.record, TrajectoryEnded):
                            return

            nursery.start_soon(listen)
            await mesh.ask(TASK)

    play(tmp_path, Script(), scene)
    costs: dict[str, Spent] = {}
    for record in records:
        match record:
            case PromptPlanned():
                costs["planner"] = record.spent
                assert record.reasoning == "it has a place"
            case PromptDecomposed():
                costs["decomposer"] = record.spent
            case AttemptVerified():
                costs |= {"generator": record.attempt.drawing, "verifier": record.attempt.verifying}
                assert record.attempt.verify_calls_saved == 1
            case ExperienceKept():
                costs["compressor"] = record.spent
            case PromptRefined():
                costs["refiner"] = record.spent
    assert costs == COSTS


def test_only_mode_full_asks_the_compressor(tmp_path: Path) -> None:
    script = Script()
    draw_one(tmp_path, script, DrawPicture(run="r", prompt="x", seed=1, settings=DrawSettings(memory="images")))
    assert (script.asked["compress"], script.asked["refine"]) == (0, 1)


def test_all_rounds_are_drawn_where_stopping_early_is_not_wanted(tmp_path: Path) -> None:
    settings = DrawSettings(max_rounds=3, stop_when_all_met=False)
    picture = draw_one(tmp_path, Script(), DrawPicture(run="r", prompt="x", seed=1, settings=settings))
    assert (len(picture.attempts), picture.ending.outcome, picture.best.round) == (3, "all_met", 2)


def test_a_trajectory_continues_at_the_step_that_memory_lacks(tmp_path: Path) -> None:
    first = Script()
    first.met_from_round = 2
    whole = draw_one(tmp_path / "whole", first, TASK)

    async def half(mesh: Mesh) -> None:
        id_ = TASK.trajectory
        for record in (
            TrajectoryBegun(trajectory=id_, task=TASK),
            PromptPlanned(trajectory=id_, prompt="p1", skill="spatial-layout", spent=COSTS["planner"]),
            PromptDecomposed(trajectory=id_, requirements=REQUIREMENTS, spent=COSTS["decomposer"]),
            AttemptVerified(trajectory=id_, attempt=whole.attempts[0]),
        ):
            await mesh.ask(AppendRecord(record=record))

    play(tmp_path / "half", Script(), half)
    script = Script()
    script.met_from_round = 2
    assert draw_one(tmp_path / "half", script, TASK) == whole
    assert script.asked == {"generate": 1, "verify": 1, "compress": 1, "refine": 1}


def test_a_finished_trajectory_asked_for_again_is_answered_from_memory(tmp_path: Path) -> None:
    picture = draw_one(tmp_path, Script(), TASK)
    again = Script()
    assert draw_one(tmp_path, again, TASK) == picture
    assert not again.asked


def test_the_same_place_of_a_run_with_another_prompt_is_refused(tmp_path: Path) -> None:
    draw_one(tmp_path, Script(), TASK)
    with pytest.raises(RefusedError, match="begun with another prompt"):
        draw_one(tmp_path, Script(), DrawPicture(run="test", prompt="a blue cat", seed=7))


def test_a_passing_failure_is_tried_again_and_a_lasting_one_fails_the_trajectory_alone(tmp_path: Path) -> None:
    script = Script()
    script.failures = 1
    assert draw_one(tmp_path / "passing", script, TASK).all_met

    lasting = Script()
    lasting.failures = 3

    async def scene(mesh: Mesh) -> None:
        with pytest.raises(BackendError, match="restarts"):
            await mesh.ask(TASK)
        assert (await mesh.ask(TASK)).all_met, "taken up again it continues"

    play(tmp_path / "lasting", lasting, scene)
    assert lasting.asked["plan"] == 1


def test_wound_down_it_finishes_the_round_and_answers_with_the_best_so_far(tmp_path: Path) -> None:
    script = Script()
    script.met_from_round = 99
    stop_gracefully = trio.Event()

    async def scene(mesh: Mesh) -> None:
        async with mesh.events("test") as events, trio.open_nursery() as nursery:

            async def stop_at_first_attempt() -> None:
                async for event in events:
                    if isinstance(event, StepTaken) and isinstance(event.record, AttemptVerified):
                        stop_gracefully.set()
                        return

            nursery.start_soon(stop_at_first_attempt)
            settings = DrawSettings(max_rounds=60, memory="none")
            task = DrawPicture(run="test", prompt="x", seed=1, settings=settings)
            picture = await mesh.ask(task, stop_gracefully=stop_gracefully)
            assert picture.ending.outcome == "wound_down"
            assert 1 <= len(picture.attempts) < 60

    play(tmp_path, script, scene)


def test_cancelled_by_somebody_it_is_written_down_as_failed_and_once_resumed_it_continues(tmp_path: Path) -> None:
    script = Script()
    task = DrawPicture(run="test", prompt="x", seed=1)

    async def scene(mesh: Mesh) -> None:
        async with mesh.events("test") as events, trio.open_nursery() as nursery:

            async def cancel_in_the_middle() -> None:
                await events.receive()
                await mesh.ask(ControlRun(run="test", action="pause"))
                while not any(role.paused for role in (await mesh.ask(ReadStatus())).roles):
                    pass
                cancel = ControlRun(run="test", trajectory=task.trajectory, action="cancel", by="alice")
                await mesh.ask(cancel)

            nursery.start_soon(cancel_in_the_middle)
            with pytest.raises(CancelledRequestError, match=f"trajectory {task.trajectory} was cancelled by alice"):
                await mesh.ask(task)
        kept: list[LoggedRecord] = []
        while not kept or not isinstance(kept[-1].record, TrajectoryFailed):
            kept += (await mesh.ask(ReadLog(since=len(kept), wait_s=5))).records
        assert kept[-1].record.failure.code == "cancelled"
        await mesh.ask(ControlRun(run="test", action="resume"))
        assert (await mesh.ask(task)).all_met

    play(tmp_path, script, scene)
    assert script.asked["plan"] == 1


@pytest.mark.slow
def test_a_thousand_trajectories_share_one_conductor(tmp_path: Path) -> None:
    script = Script()

    async def scene(mesh: Mesh) -> None:
        pictures: list[Picture] = []

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

    play(tmp_path, script, scene)
    assert script.asked["generate"] == 2000
