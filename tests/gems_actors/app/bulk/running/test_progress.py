"""The progress of a run knows what is in flight, and its clock stands still during a pause."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from gems_actors.app.bulk.reading.records import RecordOptions
from gems_actors.app.bulk.running.progress import RunProgress
from gems_actors.app.bulk.totals import Tally
from protocol.messages import Attempt, AttemptVerified, DrawPicture, DrawSettings, ImageRef, StepTaken
from tests.gems_actors.app.bulk.test_rows import row


def request(line: int) -> DrawPicture:
    return DrawPicture(run="r", line=line, prompt="two red cats", seed=1, settings=DrawSettings(max_rounds=3))


def verified(task: DrawPicture, round_: int) -> StepTaken:
    image = ImageRef(digest="blake2b-256:" + "0" * 64, media_type="image/png", width_px=16, height_px=16, bytes=1)
    attempt = Attempt(round=round_, candidate=1, prompt="two red cats", image=image, seed=1, verdicts=())
    return StepTaken(record=AttemptVerified(trajectory=task.trajectory, attempt=attempt))


@pytest.mark.virtual_time
async def test_a_pause_does_not_count() -> None:
    progress = RunProgress(Tally(), 3)
    progress.start()
    await trio.sleep(10)
    progress.pause(is_paused=True)
    progress.pause(is_paused=True)
    await trio.sleep(1000)
    assert progress.seconds == pytest.approx(10)
    progress.pause(is_paused=False)
    progress.pause(is_paused=False)
    await trio.sleep(5)
    assert progress.seconds == pytest.approx(15)


@pytest.mark.virtual_time
async def test_the_time_left_is_that_of_the_rounds_to_come_and_not_of_the_tasks_that_are_done(tmp_path: Path) -> None:
    file, tally = tmp_path / "prompts.txt", Tally()
    file.write_text("two red cats\n" * 100)
    progress = RunProgress(tally, 3)
    progress.start()
    await progress.read_ahead(file, RecordOptions())
    requests = [request(line) for line in range(30)]
    for task in requests:
        progress.begin(task)
    first = progress.at(100, uncounted=0)
    assert (first.in_flight, first.finished, first.left_s) == (30, 0, None)
    for number, task in enumerate(requests):
        await trio.sleep(1)
        progress.take(verified(task, 1))
        progress.at(100, uncounted=0)
        if number % 3 == 0:  # a third ends after its first round, the others go on
            tally.add(row())
            progress.end(task, row())
        else:
            progress.take(verified(task, 2))
            progress.take(verified(task, 3))
    await trio.sleep(1)
    now = progress.at(100, uncounted=0)
    assert (now.in_flight, now.finished) == (20, 10)
    by_finished_tasks = (100 - 10) / (10 / 31)
    assert now.left_s is not None
    assert now.left_s == pytest.approx(70 * (7 / 3) / (70 / 31), rel=0.3)
    assert now.left_s < by_finished_tasks / 2
    assert now.cohort is not None
    assert now.cohort.pictures == 1, "the second task has not ended"


async def test_standard_input_and_a_file_that_is_gone_are_not_read_ahead(tmp_path: Path) -> None:
    progress = RunProgress(Tally(), 3)
    await progress.read_ahead(Path("-"), RecordOptions())
    await progress.read_ahead(tmp_path / "gone.txt", RecordOptions())
    assert progress.at(None, uncounted=0).left_s is None
