"""Keeping finished pictures together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from gems_actors.app.bulk.folder import BulkFolder
from gems_actors.app.bulk.rows import DrawnTask, Row, row_of
from gems_actors.app.bulk.running.keeping import PictureKeeper
from gems_actors.app.bulk.tasks import Task
from gems_actors.app.picture_files import OutputError
from gems_actors.errors import BlobError
from gems_actors.tasks import gather
from protocol.messages import ImageRef
from tests.gems_actors.cli.stories import PICTURE


def drawn(index: int) -> DrawnTask:
    return DrawnTask(Task(index, f"picture {index}"), 0, "0", PICTURE, {"image": "storyboard"}, 1)


class Folder(BulkFolder):
    """Notes what it is to keep; tasks with an odd index are lost."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.kept: list[list[int]] = []
        self.failure = failure
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def keep_pictures(
        self, drawn: Sequence[DrawnTask], read: Callable[[ImageRef], bytes]
    ) -> list[Row | OutputError | BlobError]:
        self.kept.append([each.task.index for each in drawn])
        if not self.may_go_on.wait(60):
            raise TimeoutError
        if self.failure is not None:
            raise self.failure
        return [BlobError("lost") if each.task.index % 2 else row_of(each, f"{each.task.index}.png") for each in drawn]


def keeper(folder: Folder, in_flight: int) -> PictureKeeper:
    return PictureKeeper(folder, lambda ref: b"", lambda: in_flight)


@pytest.mark.parametrize(("in_flight", "sizes"), [(1, [1, 1, 1, 1]), (63, [1, 1, 1, 1]), (64, [2, 2]), (128, [4])])
async def test_a_picture_waits_for_others_as_there_are_more_tasks_in_flight(in_flight: int, sizes: list[int]) -> None:
    folder = Folder()
    keep = keeper(folder, in_flight).keep
    names = [row.file_name for row in await gather(*(lambda i=i: keep(drawn(i)) for i in (0, 2, 4, 6)))]
    assert names == ["0.png", "2.png", "4.png", "6.png"]
    assert sorted(map(len, folder.kept)) == sizes


async def test_the_last_pictures_of_a_run_do_not_wait_for_others_that_never_come() -> None:
    folder = Folder()
    assert (await keeper(folder, 10_000).keep(drawn(0))).file_name == "0.png"


async def test_a_picture_that_cannot_be_kept_fails_alone() -> None:
    folder, found = Folder(), {}
    keep = keeper(folder, 128).keep

    async def note(index: int) -> None:
        try:
            found[index] = (await keep(drawn(index))).file_name
        except BlobError as error:
            found[index] = str(error)

    async with trio.open_nursery() as nursery:
        for index in range(4):
            nursery.start_soon(note, index)
    assert found == {0: "0.png", 1: "lost", 2: "2.png", 3: "lost"}
    assert list(map(len, folder.kept)) == [4]


async def test_a_folder_that_is_gone_fails_all_of_its_pictures() -> None:
    keep = keeper(Folder(OutputError("gone")), 64).keep
    failed = []

    async def note(index: int) -> None:
        with pytest.raises(OutputError, match="gone"):
            await keep(drawn(index))
        failed.append(index)

    async with trio.open_nursery() as nursery:
        for index in range(4):
            nursery.start_soon(note, index)
    assert sorted(failed) == [0, 1, 2, 3]


async def test_a_cancelled_task_still_has_its_picture_kept_and_so_do_those_beside_it() -> None:
    folder, found = Folder(), []
    folder.may_go_on.clear()
    keep = keeper(folder, 64).keep
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def note(index: int) -> None:
                found.append((await keep(drawn(index))).file_name)

            nursery.start_soon(note, 0)
            nursery.start_soon(note, 2)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            folder.may_go_on.set()
    assert sorted(found) == ["0.png", "2.png"]
