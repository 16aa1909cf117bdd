"""Images that a run grants to a trajectory: what the conductor draws, records and obeys."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from protocol.messages import (
    AppendRecord,
    Budget,
    DrawPicture,
    DrawSettings,
    ImageGrant,
    ReadTrajectory,
    TrajectoryReopened,
)
from tests.actors.scripted import Script, draw_one, open_loop

TASK = DrawPicture(run="test", prompt="a red cat", seed=7)


def granted(images: int, wave: int = 0, task: DrawPicture = TASK) -> DrawPicture:
    grant = ImageGrant(images=images, plan=1, wave=wave, expected_gain=wave / 4)
    return structs.replace(task, budget=Budget(grant=grant))


async def test_a_trajectory_draws_what_it_is_granted_and_continues_when_it_is_granted_more(tmp_path: Path) -> None:
    script = Script(met_from_round=3)
    async with open_loop(tmp_path, script) as mesh:
        first = await mesh.ask(granted(1))
        second = await mesh.ask(granted(2, wave=1))
        third = await mesh.ask(granted(5, wave=2))
        state = await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))
    outcomes = [(picture.ending.outcome, len(picture.attempts)) for picture in (first, second, third)]
    assert outcomes == [("budget_elsewhere", 1), ("budget_elsewhere", 2), ("all_met", 3)]
    assert third.grants == state.grants == tuple(granted(n, w).budget.grant for n, w in ((1, 0), (2, 1), (5, 2)))
    assert state.reopenings == 2
    assert (script.asked["plan"], script.asked["generate"], script.asked["refine"]) == (1, 3, 2)


async def test_a_trajectory_that_has_had_as_many_images_is_answered_from_memory(tmp_path: Path) -> None:
    script = Script(met_from_round=9)
    async with open_loop(tmp_path, script) as mesh:
        await mesh.ask(granted(1))
        second = await mesh.ask(granted(2, wave=1))
        assert await mesh.ask(granted(1)) == await mesh.ask(granted(2, wave=1)) == await mesh.ask(TASK) == second
        assert (await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))).reopenings == 1
    assert script.asked["generate"] == 2


async def test_a_recorded_grant_is_obeyed_by_a_conductor_that_is_asked_for_less(tmp_path: Path) -> None:
    script = Script(met_from_round=9)
    async with open_loop(tmp_path, script) as mesh:
        await mesh.ask(granted(1))
        await mesh.ask(
            AppendRecord(record=TrajectoryReopened(trajectory=TASK.trajectory, reopening=1, task=granted(2)))
        )
        picture = await mesh.ask(granted(1))  # after a kill, its client does not know of the record
    assert (picture.ending.outcome, len(picture.attempts)) == ("budget_elsewhere", 2)


async def test_a_grant_is_recorded_before_the_step_that_it_allows(tmp_path: Path) -> None:
    await draw_one(tmp_path, Script(met_from_round=9), granted(1))
    script = Script(met_from_round=9, failures=99)
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(granted(2, wave=1))
        state = await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))
    assert (picture.ending.outcome, len(picture.attempts)) == ("failed_later", 1)
    assert [grant.images for grant in state.grants] == [1, 2]


async def test_a_round_of_several_candidates_needs_images_for_all_of_them(tmp_path: Path) -> None:
    task = structs.replace(TASK, settings=DrawSettings(candidates=2))
    picture = await draw_one(tmp_path, Script(met_from_round=9), granted(5, task=task))
    assert (picture.ending.outcome, len(picture.attempts)) == ("budget_elsewhere", 4)


@pytest.mark.parametrize(("met_from", "outcome"), [(2, "all_met"), (9, "rounds_spent")])
async def test_a_trajectory_that_ended_for_another_reason_stays_as_it_is(
    tmp_path: Path, met_from: int, outcome: str
) -> None:
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=2))
    async with open_loop(tmp_path, Script(met_from_round=met_from)) as mesh:
        picture = await mesh.ask(granted(2, task=task))
        assert await mesh.ask(granted(5, wave=1, task=task)) == picture
    assert (picture.ending.outcome, len(picture.attempts)) == (outcome, 2)
