"""Meshes in the process of a test: one that draws, one that paints plain pictures, one that only records requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path

import trio

from gems_actors.actor import Actor, answers
from gems_actors.app.options import DrawOptions
from gems_actors.blobs import BlobFolder
from gems_actors.client import Mesh
from gems_actors.config import load_config
from gems_actors.errors import LogError, RefusedError, RequestError
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.testing import open_test_mesh
from protocol.messages import (
    Appended,
    AppendRecord,
    Attempt,
    DrawPicture,
    Ending,
    Picture,
    ReadTrajectory,
    Record,
    TrajectoryState,
)
from tests.actors.fakes import png


@asynccontextmanager
async def open_drawing_mesh(
    folder: Path, *more: type[Actor], settings: tuple[str, ...] = ()
) -> AsyncIterator[DrawOptions]:
    """Start every built-in role and `more`, and yield options that draw small pictures in one round with it."""
    overrides = (f"data_dir={folder}/data", *settings)
    classes = [spec.actor.partition(":") for spec in BUILT_IN_ROLES.values()]
    roles: list[type[Actor]] = [getattr(import_module(module), name) for module, _, name in classes]
    async with open_test_mesh(*roles, *more, config=load_config(None, settings=overrides)) as mesh:
        yield DrawOptions(router=mesh.address, overrides=overrides, rounds=1, size=(64, 64), seed=7)


def open_recording_mesh(
    requests: list[Record | DrawPicture], *, can_store: bool = True
) -> AbstractAsyncContextManager[Mesh]:
    """Start a memory and a conductor that append their requests to `requests`; every picture is refused.

    Args:
        requests: records and pictures in the order of arrival.
        can_store: whether memory stores records or fails.
    """

    class Memory(Actor):
        role = "memory"

        @answers
        async def append(self, request: AppendRecord) -> Appended:
            await trio.lowlevel.checkpoint()
            requests.append(request.record)
            if not can_store:
                raise LogError("the disk is full")
            return Appended(sequence=1, is_new=True)

    class Conductor(Actor):
        role = "conductor"

        @answers
        async def draw(self, request: DrawPicture) -> Picture:
            await trio.lowlevel.checkpoint()
            requests.append(request)
            raise RefusedError("no picture here")

    return open_test_mesh(Memory, Conductor)


class Studio:
    """A mesh whose conductor paints a picture of 16 x 16 pixels for each request, and remembers the requests."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[DrawPicture] = []
        self.refused: set[str] = set()
        """Prompts that are refused."""
        self.refusal: RequestError = RefusedError("no picture here")
        self.skill: str | None = "spatial-layout"
        """Skill that every picture is said to be drawn with."""
        self.blobs = BlobFolder(folder / "data" / "blobs")

    def take_asked(self) -> list[DrawPicture]:
        """Return the requests since the last call."""
        asked, self.asked = self.asked, []
        return asked

    async def paint(self, request: DrawPicture) -> Picture:
        self.asked.append(request)
        if request.prompt in self.refused:
            raise self.refusal
        data = png(16, 16, f"#{request.seed % 2**24:06x}")
        image = await self.blobs.put(data, media_type="image/png", width_px=16, height_px=16)
        attempt = Attempt(round=1, candidate=1, prompt=request.prompt, image=image, seed=request.seed, verdicts=())
        return Picture(
            trajectory=request.trajectory,
            prompt=request.prompt,
            skill=self.skill,
            requirements=(),
            attempts=(attempt,),
            ending=Ending(outcome="nothing_to_check", best_round=1, best_candidate=1, decided_by="the only attempt"),
            settings=request.settings,
        )


@asynccontextmanager
async def open_studio(folder: Path) -> AsyncIterator[tuple[Studio, DrawOptions]]:
    """Start a studio, and yield it with options that draw there."""
    studio = Studio(folder)

    class Memory(Actor):
        role = "memory"

        @answers
        async def append(self, request: AppendRecord) -> Appended:
            await trio.lowlevel.checkpoint()
            return Appended(sequence=1, is_new=True)

        @answers
        async def read(self, request: ReadTrajectory) -> TrajectoryState:
            await trio.lowlevel.checkpoint()
            return TrajectoryState()

    class Conductor(Actor):
        role = "conductor"
        default_capacity = 16

        @answers
        async def draw(self, request: DrawPicture) -> Picture:
            return await studio.paint(request)

    async with open_test_mesh(Memory, Conductor) as mesh:
        yield studio, DrawOptions(router=mesh.address, overrides=(f"data_dir={folder}/data",), seed=7)
