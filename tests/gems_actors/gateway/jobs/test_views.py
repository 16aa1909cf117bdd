"""What pages are told of a job: merged, bounded in rate, and whole for a page that missed something."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from gems_actors.errors import BackendError
from gems_actors.gateway.jobs.records import Job, JobPicture
from gems_actors.gateway.jobs.views import MAX_IN_FULL, PERIOD_S, JobView
from gems_actors.tasks import open_background
from protocol.messages import Budget, DrawSettings

pytestmark = pytest.mark.virtual_time

Update = dict[str, Any]


class Stage:
    """A job, its view, and the trajectories that are read for it."""

    def __init__(self, pictures: int = 3) -> None:
        self.job = Job(
            id="job-1", caller="local", body_digest="", created_at=1.0, model="m", settings=DrawSettings(),
            budget=Budget(), pictures=[JobPicture(index=n, sample=0, prompt=f"{n}", seed=n) for n in range(pictures)],
        )  # fmt: skip
        self.ids = [self.job.task(picture).trajectory for picture in self.job.pictures]
        self.reads: list[str] = []
        self.failures = 0
        self.read_s = 0.0
        self.view = JobView(self.job, self.read)

    async def read(self, id_: str) -> dict[str, Any]:
        await trio.sleep(self.read_s)
        self.reads.append(id_)
        if self.failures:
            self.failures -= 1
            raise BackendError("memory is away")
        reads = self.reads.count(id_)
        return {"id": id_, "reads": reads, "rounds": [{"round": number} for number in range(1, reads + 1)]}

    @asynccontextmanager
    async def page(self, *, delay_s: Callable[[], float] = lambda: 0.0) -> AsyncIterator[list[Update]]:
        """Open a page, and yield the updates that it has got so far; it takes so long for each."""
        found: list[Update] = []

        async def emit(event: str, tree: Any, id_: str | None = None) -> None:
            assert event == "view"
            await trio.sleep(delay_s())
            found.append(msgspec.json.decode(msgspec.json.encode(tree)))

        async with open_background() as nursery:
            with self.view.watched(nursery) as view:
                nursery.start_soon(view.follow, emit)
                await trio.sleep(0.01)
                yield found


async def test_events_that_arrive_close_together_are_one_update_for_all_pages() -> None:
    stage = Stage()
    async with stage.page() as first, stage.page() as second:
        await trio.sleep(1.0)
        before, reads = len(first), len(stage.reads)
        for _ in range(50):
            stage.view.touch(stage.ids[0])
            await trio.sleep(0.02)
        updates = first[before:]
        assert 4 <= len(updates) <= 5, "in a second"
        assert all([*update["trajectories"]] == [stage.ids[0]] for update in updates)
        assert second[-len(updates) :] == updates
        assert len(stage.reads) - reads == len(updates), "each is read once, however many pages there are"


async def test_what_happens_while_trajectories_are_read_is_in_the_next_update() -> None:
    stage = Stage()
    stage.read_s = 0.01
    async with stage.page() as page:
        await trio.sleep(1.0)
        before = len(page)
        for _ in range(100):
            stage.view.touch(*stage.ids)
            await trio.sleep(0.01)
        assert len(page) - before >= 3, "in a second"
        await trio.sleep(1.0)
        assert page[-1]["trajectories"].keys() == set(stage.ids)


async def test_an_update_has_the_rounds_that_changed_and_the_first_one_all_of_them() -> None:
    stage = Stage(pictures=1)

    def rounds(update: Update) -> list[int]:
        return [round_["round"] for round_ in update["trajectories"][stage.ids[0]]["rounds"]]

    async with stage.page() as page:
        for _ in range(3):
            stage.view.touch(*stage.ids)
            await trio.sleep(1.0)
        assert [rounds(update) for update in page if update["trajectories"]] == [[1], [2], [3], [4]]
        async with stage.page() as later:
            assert rounds(later[0]) == [1, 2, 3, 4]


async def test_a_page_begins_with_everything_and_ends_with_the_job() -> None:
    stage = Stage()
    async with stage.page():
        await trio.sleep(1.0)
        async with stage.page() as page:
            assert page[0]["job"]["status"] == "running"
            assert set(page[0]["trajectories"]) == set(page[0]["pictures"]) == set(stage.ids)
            for picture in stage.job.pictures:
                picture.status = "done"
            stage.job.end(2.0)
            stage.view.touch(*stage.ids)
            await trio.sleep(1.0)
            assert page[-1]["job"]["status"] == "completed"
            assert {picture["status"] for picture in page[-1]["pictures"].values()} == {"done"}


async def test_a_slow_page_keeps_no_other_waiting_and_gets_everything_in_the_end() -> None:
    stage = Stage()
    slowness_s = 0.0
    async with stage.page() as quick, stage.page(delay_s=lambda: slowness_s) as slow:
        await trio.sleep(1.0)
        slowness_s = 60.0
        for _ in range(30):
            stage.view.touch(stage.ids[1])
            await trio.sleep(PERIOD_S)
        assert len(quick) > 25
        kept = len(slow)
        slowness_s = 0.0
        await trio.sleep(61.0)
        assert len(slow) - kept < 5, "what it missed is merged"
        assert slow[-1]["trajectories"][stage.ids[1]]["reads"] == stage.reads.count(stage.ids[1])


async def test_what_cannot_be_read_is_read_again() -> None:
    stage = Stage(pictures=1)
    stage.failures = 3
    async with stage.page() as page:
        stage.job.end(2.0)
        stage.view.touch(*stage.ids)
        await trio.sleep(20.0)
        (shown,) = page[-1]["trajectories"].values()
        assert (shown["id"], shown["reads"]) == (stage.ids[0], 4)


async def test_nothing_is_read_while_no_page_is_open_and_few_of_many_pictures_in_full() -> None:
    stage = Stage(pictures=100)
    stage.view.touch(*stage.ids)
    await trio.sleep(1.0)
    assert stage.reads == []
    for _ in range(2):
        async with stage.page() as page:
            await trio.sleep(1.0)
            assert len(page[-1]["pictures"] or page[0]["pictures"]) == page[0]["job"]["in_full"] == MAX_IN_FULL
        reads = len(stage.reads)
        stage.view.touch(*stage.ids)
        await trio.sleep(10.0)
        assert len(stage.reads) == reads


async def test_a_gateway_that_ends_ends_the_streams() -> None:
    stage = Stage()
    async with open_background() as nursery:
        with stage.view.watched(nursery) as view:

            async def emit(event: str, tree: Any, id_: str | None = None) -> None:
                await trio.lowlevel.checkpoint()

            async with trio.open_nursery() as pages:
                pages.start_soon(view.follow, emit)
                await trio.sleep(0.5)
                view.close()
