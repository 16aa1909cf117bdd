"""A command tells memory what its run is, before it asks for the first picture."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trio

from protocol.messages import DrawPicture, Record, RunBegun
from tests.gems_actors.app.meshes import open_recording_mesh
from tests.gems_actors.cli.commands import run_gems

pytestmark = pytest.mark.slow


async def run_with_a_mesh(
    folder: Path, *arguments: str | bytes, stdin: bytes = b"", can_store: bool = True
) -> tuple[subprocess.CompletedProcess[str], list[Record | DrawPicture]]:
    """Run a command with a mesh that refuses every picture, and return how it ended and the mesh's requests in order.

    Args:
        folder: working folder of the command.
        arguments: arguments of the command, without the mesh's address.
        stdin: standard input of the command.
        can_store: whether memory stores records or fails.
    """
    requests: list[Record | DrawPicture] = []
    async with open_recording_mesh(requests, can_store=can_store) as mesh:
        command = [*arguments, "--router", mesh.address]
        ended = await trio.to_thread.run_sync(lambda: run_gems(folder, *command, stdin=stdin))
    return ended, requests


async def test_a_draw_is_a_run_of_one_with_its_prompt(tmp_path: Path) -> None:
    ended, requests = await run_with_a_mesh(tmp_path, "draw", "ein Schild: \u201eOffen\u201c")
    begun, asked = requests
    assert isinstance(asked, DrawPicture)
    assert begun == RunBegun(run=asked.run, what="ein Schild: \u201eOffen\u201c", total=1)
    assert ended.stderr.endswith("gems: no picture here\n")


async def test_a_bulk_is_a_run_with_its_file_and_the_number_of_its_lines(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text("a cat\n\na dog\n")
    _, requests = await run_with_a_mesh(tmp_path, "bulk", os.fsencode(name), "--out", "out")
    begun, first, second = requests
    assert isinstance(first, DrawPicture)
    assert isinstance(second, DrawPicture)
    assert first.run == second.run
    assert begun == RunBegun(run=first.run, what=f"{tmp_path}/caf\ufffd.txt", total=2)


async def test_how_many_lines_come_through_a_pipe_is_not_known(tmp_path: Path) -> None:
    _, requests = await run_with_a_mesh(tmp_path, "bulk", "-", "--out", "out", stdin=b"a cat\n")
    begun = requests[0]
    assert isinstance(begun, RunBegun)
    assert (begun.what, begun.total) == ("standard input", None)


@pytest.mark.parametrize("arguments", [["draw", "a cat"], ["bulk", "-", "--out", "out"]])
async def test_where_memory_cannot_keep_it_the_command_fails_and_asks_for_no_picture(
    tmp_path: Path, arguments: list[str]
) -> None:
    ended, requests = await run_with_a_mesh(tmp_path, *arguments, stdin=b"a cat\n", can_store=False)
    assert [type(request) for request in requests] == [RunBegun]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("gems: the disk is full\n")
