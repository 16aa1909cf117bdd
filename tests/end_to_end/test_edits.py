"""A task with a given picture, through all built-in roles: what was asked for is put right, and the rest stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from msgspec import structs

from gems_actors.blobs import BlobFolder
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, VerifyConfig
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture, DrawSettings, ImageRef, Picture, ReadTrajectory, TrajectoryState
from tests.gems_actors.backends.storyboard.editing.test_redrawing import photo
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors

pytestmark = pytest.mark.slow

ROLES = ("memory", "conductor", "planner", "decomposer", "generator", "verifier", "compressor", "refiner")
GIVEN = 'two red cats to the left of a stone dog, and a sign that says "OPEN"'
PROMPT = "Make the dog purple, put three birds on top of the dog, and remove the sign."
KEPT = "Apart from the dog, the bird, the sign and the text, does the image look like the given one?"
EDIT = "Change the picture so that "


@asynccontextmanager
async def open_loop(folder: Path, **settings: object) -> AsyncIterator[Mesh]:
    config = structs.replace(MeshConfig(data_dir=str(folder)), **settings)
    async with open_test_mesh(*(load_actor(role, config) for role in ROLES), config=config) as mesh:
        yield mesh


async def put(folder: Path, data: bytes, media_type: str = "image/png") -> ImageRef:
    return await BlobFolder(folder / "blobs").put(data, media_type=media_type, width_px=768, height_px=768)


async def drawn(mesh: Mesh, task: DrawPicture) -> tuple[Picture, TrajectoryState]:
    picture = await mesh.ask(task)
    return picture, await mesh.ask(ReadTrajectory(trajectory=task.trajectory))


@pytest.mark.parametrize("mode", ["score", "batch", "evidence"])
async def test_a_given_storyboard_is_edited_until_all_is_as_asked_for_and_the_rest_as_it_was(
    tmp_path: Path, mode: Literal["score", "batch", "evidence"]
) -> None:
    given = await put(tmp_path, draw_without_errors(GIVEN))
    async with open_loop(tmp_path, verify=VerifyConfig(mode=mode)) as mesh:
        tasks = [
            DrawPicture(run="edits", line=seed, prompt=PROMPT, seed=seed, references=(given,), settings=SETTINGS)
            for seed in range(6)
        ]
        found = [await drawn(mesh, task) for task in tasks]
    pictures = [picture for picture, _ in found]
    (kept,) = [item for item in pictures[0].requirements if item.compares]
    assert kept.kind == "other"
    assert all(verdict.answer == "met" for picture in pictures for verdict in picture.best.verdicts)
    edits = [attempt for picture in pictures for attempt in picture.attempts if attempt.edited is not None]
    assert edits, "some round lacked one thing alone"
    assert all(attempt.prompt.startswith(EDIT) for attempt in edits)
    for picture, state in found:
        for attempt in picture.attempts:
            at = attempt.edited
            images = {(item.round, item.candidate): item.image for item in picture.attempts}
            assert attempt.references == ((given,) if at is None else (images[at.round, at.candidate],))
        assert picture.actions == tuple(item.action for item in state.refinements)
        assert ("edit" in picture.actions) == any(attempt.edited for attempt in picture.attempts)


SETTINGS = DrawSettings(max_rounds=6)


async def test_a_photo_is_kept_framed_in_every_round(tmp_path: Path) -> None:
    given = await put(tmp_path, photo(), "image/jpeg")
    async with open_loop(tmp_path) as mesh:
        task = DrawPicture(
            run="photo", prompt="Add two black dogs to the left of a tree.", seed=2, references=(given,),
            settings=structs.replace(SETTINGS, candidates=2),
        )  # fmt: skip
        picture = await mesh.ask(task)
    assert picture.all_met
    (kept,) = [item.id for item in picture.requirements if item.compares]
    answers = [item.answer for each in picture.attempts for item in each.verdicts if item.requirement == kept]
    assert answers == ["met"] * len(picture.attempts)


async def test_without_references_nothing_is_edited(tmp_path: Path) -> None:
    async with open_loop(tmp_path) as mesh:
        picture = await mesh.ask(DrawPicture(run="plain", prompt=GIVEN, seed=3, settings=SETTINGS))
    assert len(picture.attempts) > 1
    assert not any(attempt.edited or attempt.can_be_edited for attempt in picture.attempts)
