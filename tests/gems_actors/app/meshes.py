"""Meshes in the process of a test: one that draws, and one that only records its requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path

import trio

from gems_actors.actor import Actor, answers
from gems_actors.app.options import DrawOptions
from gems_actors.client import Mesh
from gems_actors.config import load_config
from gems_actors.errors import LogError, RefusedError
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.testing import open_test_mesh
from protocol.messages import Appended, AppendRecord, DrawPicture, Picture, Record


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
