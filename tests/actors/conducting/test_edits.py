"""Edits of the best picture so far: by the real conductor and memory over the real wire, other roles by script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gems_actors.blobs import BlobFolder
from gems_actors.errors import BlobError
from protocol.messages import (
    Attempt,
    AttemptPlace,
    DrawPicture,
    DrawSettings,
    Picture,
    ReadTrajectory,
    Refined,
    RefinePrompt,
    Request,
    VerifyImage,
)
from tests.actors.scripted import Script, draw_interrupted, draw_one, open_loop

NEVER = 99
TASK = DrawPicture(run="test", prompt="a red cat", seed=7, settings=DrawSettings(max_rounds=4))


def place(round_: int, candidate: int = 1) -> AttemptPlace:
    return AttemptPlace(round=round_, candidate=candidate)


def editor(*actions: str, met_from_round: int = NEVER) -> Script:
    """Return a script whose refiner decides on these actions, from the second round on."""
    script = Script(met_from_round=met_from_round)
    script.can_edit = True

    def refine(request: RefinePrompt) -> Refined:
        action: Any = actions[request.round - 1]
        number = request.round + 1
        return Refined(prompt=f"p{number}", others=(f"p0{number}",), action=action, lesson="l", reasoning="r")

    script.refine = refine
    return script


def edited_in(picture: Picture) -> list[AttemptPlace | None]:
    return [attempt.edited for attempt in picture.attempts]


def path_of(folder: Path, attempt: Attempt) -> Path:
    return BlobFolder(folder / "blobs").path_of(attempt.image.digest)


async def test_an_edit_draws_the_instruction_from_the_best_picture_so_far(tmp_path: Path) -> None:
    script = editor("edit", "rewrite", "edit")
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(TASK)
        state = await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))
    first = picture.attempts[0].image  # all rounds are as good, and the first of equals is the best
    assert [request.can_edit for request in script.refinements] == [True] * 3
    assert edited_in(picture) == [None, place(1), None, place(1)]
    assert script.references == [(), (first,), (), (first,)]
    assert [attempt.references for attempt in picture.attempts] == script.references
    assert [attempt.prompt for attempt in picture.attempts] == ["p1", "p2", "p3", "p4"]
    assert picture.actions == ("edit", "rewrite", "edit")
    assert [item.edited for item in state.refinements] == [place(1), None, place(1)]


async def test_the_picture_that_meets_most_is_edited_and_not_the_latest(tmp_path: Path) -> None:
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=4, stop_when_all_met=False))
    picture = await draw_one(tmp_path, editor("rewrite", "rewrite", "edit", met_from_round=2), task)
    assert edited_in(picture) == [None, None, None, place(2)]


async def test_an_edit_of_an_edit_and_its_repetition_keep_what_they_edit(tmp_path: Path) -> None:
    script = editor("edit", "resample", "resample")
    picture = await draw_one(tmp_path, script, TASK)
    assert edited_in(picture) == [None, place(1), place(1), place(1)]
    assert [attempt.prompt for attempt in picture.attempts] == ["p1", "p2", "p2", "p2"]
    assert len({attempt.seed for attempt in picture.attempts}) == 4


async def test_each_candidate_has_an_instruction_for_the_same_picture(tmp_path: Path) -> None:
    script = editor("edit", "stop")
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=3, candidates=3))
    picture = await draw_one(tmp_path, script, task)
    assert [attempt.prompt for attempt in picture.attempts[3:]] == ["p2", "p02", "p2"]
    assert edited_in(picture)[3:] == [place(1)] * 3


async def test_an_edit_has_the_references_of_its_picture_alone_and_is_judged_against_the_given_ones(
    tmp_path: Path,
) -> None:
    script, asked = editor("edit", "rewrite", "stop"), list[VerifyImage]()
    data = b"given"
    given = await BlobFolder(tmp_path / "blobs").put(data, media_type="image/png", width_px=16, height_px=16)

    def note(request: Request[Any]) -> None:
        if isinstance(request, VerifyImage):
            asked.append(request)

    script.broken = note
    picture = await draw_one(tmp_path, script, structs.replace(TASK, references=(given,)))
    first = picture.attempts[0].image
    assert script.references == [(given,), (first,), (given,)]
    assert [request.references for request in asked] == [(given,)] * 3


@pytest.mark.parametrize("step", range(1, 20))
@pytest.mark.slow
async def test_edits_are_resumed_from_any_step_with_the_same_result(tmp_path: Path, step: int) -> None:
    settings = DrawSettings(max_rounds=5, candidates=2, lesson_by="refiner", choose="pairwise")
    task = structs.replace(TASK, settings=settings)
    actions = ("edit", "resample", "rewrite", "edit")
    expected = await draw_one(tmp_path / "whole", editor(*actions), task)
    picture = await draw_interrupted(tmp_path / "parts", editor(*actions), task, step)
    assert (picture.attempts, picture.actions, picture.ending) == (expected.attempts, expected.actions, expected.ending)
    assert [found and found.round for found in edited_in(picture)[::2]] == [None, 1, 1, None, 1]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [(0, 1, 2), (1, 2), (2,), (0,)])
async def test_a_chain_of_edits_is_drawn_again_in_its_order(tmp_path: Path, lost: tuple[int, ...]) -> None:
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=3, stop_when_all_met=False))
    picture = await draw_one(tmp_path, editor("edit", "edit", met_from_round=2), task)
    assert edited_in(picture) == [None, place(1), place(2)]
    for index in lost:
        path_of(tmp_path, picture.attempts[index]).unlink()
    again = editor()
    assert await draw_one(tmp_path, again, task) == picture
    assert again.asked == {"generate": len(lost)}
    assert all(path_of(tmp_path, attempt).exists() for attempt in picture.attempts)


async def test_a_picture_that_is_lost_before_it_is_edited_is_drawn_again_first(tmp_path: Path) -> None:
    script = editor("edit", "stop")

    def lose(request: Request[Any]) -> None:
        if isinstance(request, RefinePrompt) and request.round == 1:
            for path in (tmp_path / "blobs" / "sha256").glob("??/??/*"):
                path.unlink()

    script.broken = lose
    picture = await draw_one(tmp_path, script, TASK)
    assert edited_in(picture) == [None, place(1)]
    assert script.seeds.count(picture.attempts[0].seed) == 2, "drawn, and drawn again"
    assert path_of(tmp_path, picture.attempts[0]).exists()


async def test_a_picture_that_the_task_gave_and_the_store_has_lost_fails_the_task_by_its_name(tmp_path: Path) -> None:
    script = editor("stop")
    data = b"given"
    given = await BlobFolder(tmp_path / "blobs").put(data, media_type="image/png", width_px=16, height_px=16)
    task = structs.replace(TASK, references=(given,))
    path = BlobFolder(tmp_path / "blobs").path_of(given.digest)
    path.unlink()
    with pytest.raises(BlobError, match=given.digest.removeprefix("sha256:")):
        await draw_one(tmp_path, script, task)
    path.write_bytes(data)
    assert len((await draw_one(tmp_path, script, task)).attempts) == 1, "given again, the task resumes"
