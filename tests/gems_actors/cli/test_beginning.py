"""A command tells memory what its run is, before it asks for the first picture."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trio

from gems_actors.actor import Actor, answers
from gems_actors.errors import LogError, RefusedError
from protocol.messages import Appended, AppendRecord, DrawPicture, Picture, Record, RunBegun
from tests.gems_actors.cli.commands import run_gems
from tests.gems_actors.meshes import open_local_mesh, play

pytestmark = pytest.mark.slow


def run_with_a_mesh(
    folder: Path, *arguments: str | bytes, stdin: bytes = b"", can_keep: bool = True
) -> tuple[subprocess.CompletedProcess[str], list[Record | DrawPicture]]:
    """Run a command with a mesh that refuses every picture; return how it ended and what the mesh was told, in order.

    Args:
        folder: where it runs.
        arguments: of the command, without the mesh's address.
        stdin: what it reads.
        can_keep: whether memory keeps a record or fails.
    """
    told: list[Record | DrawPicture] = []
    ended: list[subprocess.CompletedProcess[str]] = []

    class Memory(Actor):
        role = "memory"

        @answers
        async def append(self, request: AppendRecord) -> Appended:
            await trio.lowlevel.checkpoint()
            told.append(request.record)
            if not can_keep:
                raise LogError("the disk is full")
            return Appended(sequence=1, is_new=True)

    class Conductor(Actor):
        role = "conductor"

        @answers
        async def draw(self, request: DrawPicture) -> Picture:
            await trio.lowlevel.checkpoint()
            told.append(request)
            raise RefusedError("no picture here")

    async def scene() -> None:
        async with open_local_mesh(str(folder)) as local:
            await local.add(Memory, "memory-1")
            await local.add(Conductor, "conductor-1")
            command = [*arguments, "--router", local.address]
            ended.append(await trio.to_thread.run_sync(lambda: run_gems(folder, *command, stdin=stdin)))

    play(scene)
    return ended[0], told


def test_a_draw_is_a_run_of_one_with_its_prompt(tmp_path: Path) -> None:
    ended, told = run_with_a_mesh(tmp_path, "draw", "ein Schild: \u201eOffen\u201c")
    begun, asked = told
    assert isinstance(asked, DrawPicture)
    assert begun == RunBegun(run=asked.run, what="ein Schild: \u201eOffen\u201c", total=1)
    assert ended.stderr.endswith("gems: no picture here\n")


def test_a_bulk_is_a_run_with_its_file_and_the_number_of_its_lines(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text("a cat\n\na dog\n")
    _, told = run_with_a_mesh(tmp_path, "bulk", os.fsencode(name), "--out", "out")
    begun, first, second = told
    assert isinstance(first, DrawPicture)
    assert isinstance(second, DrawPicture)
    assert first.run == second.run
    assert begun == RunBegun(run=first.run, what=f"{tmp_path}/caf\ufffd.txt", total=2)


def test_how_many_lines_come_through_a_pipe_is_not_known(tmp_path: Path) -> None:
    _, told = run_with_a_mesh(tmp_path, "bulk", "-", "--out", "out", stdin=b"a cat\n")
    begun = told[0]
    assert isinstance(begun, RunBegun)
    assert (begun.what, begun.total) == ("standard input", None)


@pytest.mark.parametrize("arguments", [["draw", "a cat"], ["bulk", "-", "--out", "out"]])
def test_where_memory_cannot_keep_it_the_command_fails_and_asks_for_no_picture(
    tmp_path: Path, arguments: list[str]
) -> None:
    ended, told = run_with_a_mesh(tmp_path, *arguments, stdin=b"a cat\n", can_keep=False)
    assert [type(request) for request in told] == [RunBegun]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("gems: the disk is full\n")
