"""The images of a run: who gets them, in what order tasks finish, and after any interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from gems_actors.app.bulk.images.allotment import ELSEWHERE, ImageAllotment
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.images.plan import read_plan
from gems_actors.errors import UsageError
from tests.gems_actors.app.bulk.images.worlds import World, run_process

MEAN = ImageBudget(mean=2.0)
TASKS = 150  # two pools and a part of a third one
ONE_WAVE, MANY_WAVES = 64, 1
"""Tasks of a wave with which one wave of a pool is in flight, or four."""


async def test_a_run_spends_its_images_and_never_more(tmp_path: Path) -> None:
    world = World(TASKS)
    images = await run_process(world, tmp_path, ImageBudget(images=280))
    assert images.figures(TASKS) == (280, 280)
    assert world.images == 280
    assert min(world.drawn) == 1, "every task has a picture"
    assert len(world.kept) == TASKS
    assert {picture.ending.outcome for picture in world.kept.values()} == {"all_met", ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("tasks_of_wave", [ONE_WAVE, MANY_WAVES])
@pytest.mark.parametrize("in_flight", [1, 7, 500])
async def test_decisions_depend_neither_on_the_order_of_the_answers_nor_on_how_many_are_in_flight(
    tmp_path: Path, in_flight: int, tasks_of_wave: int
) -> None:
    decisions = []
    for order in (1, 2):
        world = World(TASKS)
        world.gives_up = set(range(0, TASKS, 7))
        (tmp_path / str(order)).mkdir()
        await run_process(
            world,
            tmp_path / str(order),
            MEAN,
            order=order,
            in_flight=(in_flight, 20)[order - 1],
            tasks_of_wave=tasks_of_wave,
        )
        decisions.append(world.decisions())
        assert world.images == 2 * TASKS
    assert decisions[0] == decisions[1]


@pytest.mark.slow
@pytest.mark.parametrize("tasks_of_wave", [ONE_WAVE, MANY_WAVES])
@pytest.mark.parametrize("stop_after", [1, 40, 64, 90, 131, 170, 230, 290])
async def test_a_run_that_is_killed_decides_as_if_it_had_never_been(
    tmp_path: Path, stop_after: int, tasks_of_wave: int
) -> None:
    whole, broken = World(TASKS), World(TASKS)
    for name, world in (("whole", whole), ("broken", broken)):
        world.gives_up = set(range(0, TASKS, 7))
        (tmp_path / name).mkdir()
    await run_process(whole, tmp_path / "whole", MEAN, tasks_of_wave=tasks_of_wave)
    for order in range(3):
        await run_process(
            broken, tmp_path / "broken", MEAN, order=order, stop_after=stop_after, tasks_of_wave=tasks_of_wave
        )
    await run_process(broken, tmp_path / "broken", MEAN, order=9, tasks_of_wave=tasks_of_wave)
    assert broken.decisions() == whole.decisions()
    assert broken.images == whole.images == 2 * TASKS
    assert {at: len(picture.attempts) for at, picture in broken.kept.items()} == dict(enumerate(whole.drawn))
    assert read_plan(tmp_path / "broken") == read_plan(tmp_path / "whole")


@pytest.mark.parametrize(("tasks_of_wave", "in_flight"), [(MANY_WAVES, 4), (16, 16)])
async def test_a_large_pool_has_several_waves_in_flight_and_a_small_one_a_single_wave(
    tmp_path: Path, tasks_of_wave: int, in_flight: int
) -> None:
    world = World(64)

    def look(images: ImageAllotment) -> None:
        if world.asked == 64:  # the first rounds are drawn
            world.peak_open = 0

    await run_process(world, tmp_path, MEAN, in_flight=64, tasks_of_wave=tasks_of_wave, stop_after=64, end=look)
    assert (world.peak_open, world.images) == (in_flight, 128)
    waves = [wave for grants in world.decisions() for _, wave, _ in grants if wave]
    assert max(waves) == 64 // tasks_of_wave


async def test_tasks_that_wait_are_left_to_the_next_run_when_this_one_is_interrupted(tmp_path: Path) -> None:
    whole, broken = World(TASKS), World(TASKS)
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    await run_process(whole, tmp_path / "whole", MEAN)
    await run_process(broken, tmp_path / "broken", MEAN, stop_after=100, end=ImageAllotment.abandon)
    complete = [picture.ending.outcome for picture in broken.kept.values() if picture.ending.outcome != ELSEWHERE]
    assert 0 < len(complete) < TASKS
    await run_process(broken, tmp_path / "broken", MEAN)
    assert broken.decisions() == whole.decisions()


async def test_without_further_grants_every_task_ends_with_the_picture_that_it_has(tmp_path: Path) -> None:
    world = World(TASKS)
    await run_process(world, tmp_path, MEAN, stop_after=1, end=ImageAllotment.stop)
    assert len(world.kept) == TASKS == world.images
    await run_process(world, tmp_path, MEAN)
    assert world.images == 2 * TASKS, "the next run goes on where this one stopped"


async def test_a_larger_budget_continues_the_tasks_that_had_none(tmp_path: Path) -> None:
    world = World(TASKS)
    await run_process(world, tmp_path, ImageBudget(images=200))
    first = dict(world.kept)
    asked = world.asked
    await run_process(world, tmp_path, ImageBudget(images=320))
    assert world.images == 320
    complete = [at for at, picture in first.items() if picture.ending.outcome != ELSEWHERE]
    assert all(len(first[at].attempts) == world.drawn[at] for at in complete)
    assert world.asked - asked < TASKS - len(complete) + 121, "those that are complete are not asked for again"
    asked = world.asked
    await run_process(world, tmp_path, ImageBudget(images=320))
    assert (world.asked, world.images) == (asked, 320), "the plan is complete"


async def test_a_smaller_budget_draws_nothing_more(tmp_path: Path) -> None:
    world = World(TASKS)
    await run_process(world, tmp_path, ImageBudget(images=300))
    await run_process(world, tmp_path, ImageBudget(images=200))
    assert world.images == 300


async def test_tasks_that_fail_leave_their_images_to_others_and_keep_nobody_waiting(tmp_path: Path) -> None:
    world = World(TASKS)
    world.fails = set(range(0, TASKS, 9))
    await run_process(world, tmp_path, MEAN)
    assert world.images <= 2 * TASKS
    assert len(world.kept) == TASKS - len(world.fails)
    world.fails = set()
    await run_process(world, tmp_path, MEAN)
    assert len(world.kept) == TASKS
    assert world.images <= 2 * TASKS


async def test_a_task_that_waits_holds_none_of_the_tasks_in_flight(tmp_path: Path) -> None:
    world = World(TASKS)
    await run_process(world, tmp_path, MEAN, in_flight=3)  # with three held by waiting tasks, it would never end
    assert (world.peak_open, world.images) == (3, 2 * TASKS)


async def test_at_most_two_pools_are_open(tmp_path: Path) -> None:
    world = World(4 * 64)
    seen: list[int] = []

    def look(images: ImageAllotment) -> None:
        spent, _ = images.figures(None)
        seen.append(spent)

    await run_process(world, tmp_path, MEAN, in_flight=1000, stop_after=1, end=look)
    assert seen
    assert seen[0] <= 2 * 64


@pytest.mark.parametrize(
    ("budget", "tasks", "reason"),
    [
        (ImageBudget(images=9), 10, "expected at least 10 images, a round for each of 10 tasks, got 9"),
        (ImageBudget(images=9), None, "expected an input whose tasks can be counted"),
    ],
)
async def test_a_budget_that_does_not_cover_a_picture_for_each_task_is_refused(
    tmp_path: Path, budget: ImageBudget, tasks: int | None, reason: str
) -> None:
    await trio.lowlevel.checkpoint()
    with pytest.raises(UsageError, match=reason):
        ImageAllotment(budget, tmp_path, 1).begin(tasks)
    assert read_plan(tmp_path).number == 0


async def test_images_of_earlier_pictures_count_where_tasks_have_none_yet(tmp_path: Path) -> None:
    await trio.lowlevel.checkpoint()

    def begin(images: int, tasks: int) -> None:
        allotment = ImageAllotment(ImageBudget(images=images), tmp_path, 1)
        for index, drawn in enumerate((3, 2, 2)):
            allotment.note_row(index, 0, drawn, "all_met")
        allotment.note_row(2, 0, 1, "all_met")  # which was drawn again
        allotment.begin(tasks)

    with pytest.raises(
        UsageError, match="at least 8 images, the 6 that are drawn, and a round for each of 2 tasks, got 7"
    ):
        begin(7, 5)
    begin(8, 5)
    begin(3, 3)  # nothing is drawn
