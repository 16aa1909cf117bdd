"""Pictures that the store has lost, at every step that needs them: drawn again from prompt, seed and settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from gems_actors.blobs import BlobFolder
from gems_actors.errors import BlobError, RequestError, storage_fault
from protocol.messages import (
    CompressAttempt,
    DrawPicture,
    ImageRef,
    Picture,
    RefinePrompt,
    Request,
    VerifyImage,
)
from tests.actors.scripted import Script, draw_one

TASK = DrawPicture(run="test", prompt="a red cat", seed=7)


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def path_of(folder: Path, image: ImageRef) -> Path:
    return BlobFolder(folder / "blobs").path_of(image.digest)


def is_whole(folder: Path, picture: Picture) -> bool:
    """Return whether the store has every picture of a trajectory."""
    blobs = BlobFolder(folder / "blobs")
    return all(blobs.read(attempt.image.digest, attempt.image.bytes) for attempt in picture.attempts)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lose, cut, flip])
async def test_lost_pictures_of_a_finished_trajectory_are_drawn_again_when_it_is_asked_for(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    picture = await draw_one(tmp_path, Script(), TASK)
    damage(path_of(tmp_path, picture.best.image))
    again = Script()
    assert await draw_one(tmp_path, again, TASK) == picture
    assert again.asked == {"generate": 1}
    assert is_whole(tmp_path, picture)


async def test_another_picture_than_that_of_the_record_does_not_stand_for_it(tmp_path: Path) -> None:
    picture = await draw_one(tmp_path, Script(), TASK)
    lose(path_of(tmp_path, picture.best.image))
    other = Script()
    other.style = "of another day"
    with pytest.raises(BlobError, match=r"^the picture of round 2, candidate 1 is lost .* drew another one"):
        await draw_one(tmp_path, other, TASK)
    assert await draw_one(tmp_path, Script(), TASK) == picture, "the failure has not changed the trajectory"


@pytest.mark.parametrize("step", [VerifyImage, CompressAttempt, RefinePrompt])
async def test_a_picture_that_is_lost_before_a_step_is_drawn_again_and_the_step_repeated(
    tmp_path: Path, step: type[Request[Any]]
) -> None:
    script, blobs = Script(), BlobFolder(tmp_path / "blobs")
    damaged = list[Path]()

    def read(request: Request[Any]) -> RequestError | None:
        """Lose the picture before the step reads it for the first time, and fail as its role would."""
        if not isinstance(request, step):
            return None
        if not damaged:
            path = next(path for path in (tmp_path / "blobs/sha256").rglob("*") if path.is_file())
            damaged.append(path)
            flip(path)
            return BlobError(f"{path}: expected bytes with the digest of the picture's name")
        return None if damaged[0].exists() else BlobError("lost")

    script.broken = read
    picture = await draw_one(tmp_path, script, TASK)
    assert damaged
    assert picture.all_met
    assert is_whole(tmp_path, picture)
    assert script.asked["generate"] == 3, "two attempts and the lost picture"
    assert await trio.to_thread.run_sync(lambda: [*blobs.folder.rglob("partial/*")]) == []


async def test_a_step_fails_with_the_reason_when_its_picture_cannot_be_drawn_again(tmp_path: Path) -> None:
    script = Script()

    def read(request: Request[Any]) -> RequestError | None:
        if not isinstance(request, CompressAttempt):
            return None
        script.style = "of another day"
        for path in (tmp_path / "blobs/sha256").rglob("*"):
            if path.is_file():
                path.unlink()
        return BlobError("lost")

    script.broken = read
    with pytest.raises(BlobError, match=r"^the picture of round 1, candidate 1 is lost .* draw the task in a new"):
        await draw_one(tmp_path, script, TASK)


@pytest.mark.slow
@pytest.mark.parametrize("step", [VerifyImage, CompressAttempt, RefinePrompt])
async def test_a_picture_that_cannot_be_read_now_is_not_lost_and_the_task_resumes_at_that_step(
    tmp_path: Path, step: type[Request[Any]]
) -> None:
    script = Script()
    script.broken = lambda request: storage_fault(BlobError("too many files")) if isinstance(request, step) else None
    with pytest.raises(BlobError, match="too many files") as failure:
        await draw_one(tmp_path, script, TASK)
    assert failure.value.is_outage, "so that a bulk stops, and fails no task"
    assert script.asked["generate"] == 1
    again = Script()
    assert (await draw_one(tmp_path, again, TASK)).all_met
