"""The mesh as tools for agents, by the SDK's own client: results, progress, refusals, and how the server ends."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent
from PIL import Image

from gems_actors.app.mcp_tools import MeshTools
from gems_actors.app.options import DrawOptions
from gems_actors.app.session import Connection
from gems_actors.blobs import blob_store
from gems_actors.client import open_client
from tests.actors.fakes import png
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.app.meshes import open_drawing_mesh
from tests.gems_actors.cli.commands import COMMAND, environment
from tests.processes import await_gone, descendants

PROMPT = "two red cats to the left of a stone dog"


@asynccontextmanager
async def open_tools(folder: Path, *settings: str) -> AsyncIterator[Client]:
    """Yield the SDK's client of tools that use a mesh in this process."""
    async with open_drawing_mesh(folder, settings=settings) as options:
        assert options.router is not None
        config = options.read_config()
        blobs = blob_store(config, options.router)
        async with open_client(options.router) as mesh, blobs.open():
            tools = MeshTools(config, DrawOptions(overrides=options.overrides))
            tools.connect(Connection(mesh, blobs))
            async with Client(tools.server) as client:
                yield client


def image_of(result: CallToolResult) -> tuple[int, int]:
    (content,) = (one for one in result.content if isinstance(one, ImageContent))
    with Image.open(io.BytesIO(base64.b64decode(content.data))) as image:
        return image.size


def tree_of(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    tree: dict[str, Any] | None = result.structured_content
    assert tree is not None
    return tree


@pytest.mark.slow
async def test_an_agent_draws_a_picture_and_sees_how_each_round_went(tmp_path: Path) -> None:
    reports: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        await trio.lowlevel.checkpoint()
        reports.append((progress, total, message))

    async with open_tools(tmp_path) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"draw", "show", "recall", "list_skills"}
        arguments = {"prompt": PROMPT, "seed": 7, "rounds": 5}
        drawn = await client.call_tool("draw", arguments, progress_callback=on_progress)
        shown = await client.call_tool("show", {"trajectory": tree_of(drawn)["trajectory"][:8]})
        recalled = await client.call_tool("recall", {"prompt": PROMPT})
    assert image_of(drawn) == image_of(shown) == (768, 768)
    picture, story = tree_of(drawn), tree_of(shown)
    assert (picture["prompt"], picture["seed"], picture["all_met"]) == (PROMPT, 7, True)
    assert [report[:2] for report in reports] == [(number, 5) for number in range(1, len(reports) + 1)]
    assert len(reports) >= picture["rounds"] - 1  # the SDK's client drops what it has not handled when the result comes
    assert reports[0][2] is not None
    assert reports[0][2].startswith("round 1: ")
    assert [one["round"] for one in story["rounds"]] == [*range(1, picture["rounds"] + 1)]
    assert (story["outcome"], story["best_round"]) == ("all_met", picture["round"])
    lessons = tree_of(recalled)["lessons"]
    assert bool(lessons) == (picture["rounds"] > 1)
    assert all(one["trajectory"] == picture["trajectory"] for one in lessons)


async def test_an_agent_gives_pictures_to_draw_from(tmp_path: Path) -> None:
    data = png(96, 48, "red")
    async with open_tools(tmp_path, INVERTING, "draw.width_px=64", "draw.height_px=64") as client:
        image = [base64.b64encode(data).decode(), f"data:image/png;base64,{base64.b64encode(data).decode()}"]
        drawn = await client.call_tool("draw", {"prompt": "in snow", "rounds": 1, "image": image})
        sized = await client.call_tool("draw", {"prompt": "in snow", "rounds": 1, "image": image[:1], "size": "64x64"})
        refused = await client.call_tool("draw", {"prompt": "in snow", "image": [str(tmp_path / "x.png")]})
    assert (image_of(drawn), image_of(sized)) == ((96, 48), (64, 64))
    assert refused.is_error
    assert "image: expected base64, or a data: address with base64" in str(refused.content)


async def test_skills_are_listed_with_what_they_are_for(tmp_path: Path) -> None:
    async with open_tools(tmp_path) as client:
        skills = tree_of(await client.call_tool("list_skills", {}))["skills"]
    assert "spatial-layout" in {one["id"] for one in skills}
    assert all(one["description"] for one in skills)


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        ("draw", {"prompt": " "}, "expected a prompt of 1 to 32,000 characters, got an empty one"),
        ("draw", {"prompt": "x", "size": "big"}, "expected WIDTHxHEIGHT such as 768x512"),
        ("draw", {"prompt": "x", "strategy": "luck"}, "expected one of single, rewrite, best-of-n, gems, got 'luck'"),
        ("draw", {"prompt": "x", "rounds": 65}, "less than or equal to 64"),
        ("show", {"trajectory": "abcd1234"}, "expected one that begins with abcd1234, got none"),
        ("show", {"trajectory": "../x"}, "should match pattern"),
        ("recall", {"prompt": ""}, "expected a prompt"),
    ],
)
@pytest.mark.slow
async def test_impossible_arguments_are_an_error_that_says_why(
    tmp_path: Path, tool: str, arguments: dict[str, Any], line: str
) -> None:
    async with open_tools(tmp_path) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert line in str(result.content)


@pytest.mark.slow
async def test_the_command_serves_an_agent_over_standard_input_and_output(tmp_path: Path) -> None:
    variables = {**environment(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [*COMMAND[1:], "mcp", "--set", f"data_dir={tmp_path}/data"]
    async with Client(StdioServerParameters(command=COMMAND[0], args=arguments, env=variables)) as client:
        drawn = await client.call_tool("draw", {"prompt": "a red fox", "rounds": 1, "size": "64x48"})
        family = {*descendants(os.getpid())}
    assert image_of(drawn) == (64, 48)
    assert family
    assert not await trio.to_thread.run_sync(await_gone, family)


@pytest.mark.slow
def test_a_signal_ends_the_command_while_its_input_is_open(tmp_path: Path) -> None:
    command = [*COMMAND, "mcp", "--set", f"data_dir={tmp_path}/data"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(tmp_path)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        assert b'"id":1' in process.stdout.readline()
        family = {*descendants(process.pid)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 130)
    assert not await_gone(family)


@pytest.mark.slow
def test_a_mesh_that_is_not_there_ends_the_command_with_one_line(tmp_path: Path) -> None:
    command = [*COMMAND, "mcp", "--router", f"ipc://{tmp_path}/none.ipc"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(tmp_path),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()  # its input stays open meanwhile
        assert process.wait(60) == 1
    assert line == f"gems: ipc://{tmp_path}/none.ipc: expected a router, but none answered within 5 s"


async def test_a_call_that_the_agent_gives_up_is_withdrawn(tmp_path: Path) -> None:
    async with open_tools(tmp_path) as client:
        with pytest.raises(MCPError), trio.fail_after(30):
            await client.call_tool("draw", {"prompt": PROMPT}, read_timeout_seconds=0.001)
        assert tree_of(await client.call_tool("list_skills", {}))
