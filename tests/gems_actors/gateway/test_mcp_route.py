"""The tools over HTTP, by the SDK's own client: results, the bounds of callers, and bodies that never end."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ImageContent
from PIL import Image

from gems_actors.app.mcp_tools import MAX_IMAGE_BYTES, fitting
from gems_actors.gateway import front
from protocol.messages import ListTrajectories
from tests.actors.fakes import png
from tests.gems_actors.gateway.doors import PROMPT, Door, noise, open_drawing_door, open_painted_door

pytestmark = pytest.mark.filterwarnings(  # the SDK's client leaves the stream of a result to the garbage collector
    "ignore:Exception ignored in. <async_generator object:pytest.PytestUnraisableExceptionWarning"
)

TOKEN = "0123456789abcdef0123456789abcdef"


@asynccontextmanager
async def open_agent(door: Door, token: str = "") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{door.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def test_an_agent_draws_over_http_and_is_told_of_every_round(tmp_path: Path) -> None:
    rounds: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        await trio.lowlevel.checkpoint()
        rounds.append(progress)

    async with open_drawing_door(tmp_path) as door, open_agent(door) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"draw", "show", "recall", "list_skills"}
        arguments = {"prompt": PROMPT, "seed": 7, "rounds": 3, "size": "128x64"}
        drawn = await client.call_tool("draw", arguments, progress_callback=on_progress)
        assert not drawn.is_error, drawn.content
        assert drawn.structured_content is not None
        trajectory = drawn.structured_content["trajectory"]
        shown = await client.call_tool("show", {"trajectory": trajectory})
        listed = await door.mesh.ask(ListTrajectories(prefix=trajectory))
    (content,) = (one for one in drawn.content if isinstance(one, ImageContent))
    with Image.open(io.BytesIO(base64.b64decode(content.data))) as image:
        assert image.size == (128, 64)
    assert rounds == [*range(1, len(rounds) + 1)]
    assert len(rounds) >= drawn.structured_content["rounds"] - 1  # the SDK drops those that come with the result
    assert shown.structured_content is not None
    assert shown.structured_content["outcome"] == drawn.structured_content["outcome"]
    assert [item.trajectory for item in listed.trajectories] == [trajectory]


async def test_the_images_of_a_token_are_counted_and_more_are_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[alice]\ntoken = "{TOKEN}"\nimages_per_day = 4\n')
    tokens.chmod(0o600)
    async with open_drawing_door(tmp_path, f"gateway.tokens={tokens}") as door, open_agent(door, TOKEN) as client:
        arguments = {"prompt": PROMPT, "rounds": 2, "size": "128x64"}
        answers = [await client.call_tool("draw", arguments) for _ in range(3)]
    assert [answer.is_error for answer in answers] == [False, False, True]
    assert "images of alice in a day" in str(answers[-1].content)


@pytest.mark.slow
async def test_an_agent_sees_what_its_own_token_has_drawn_and_nothing_of_others(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[alice]\ntoken = "{TOKEN}"\n[alice-2]\ntoken = "{TOKEN}2"\n')
    tokens.chmod(0o600)
    async with (
        open_drawing_door(tmp_path, f"gateway.tokens={tokens}") as door,
        open_agent(door, TOKEN) as alice,
        open_agent(door, f"{TOKEN}2") as other,
    ):
        drawn = await alice.call_tool("draw", {"prompt": PROMPT, "seed": 7, "rounds": 5, "size": "768x768"})
        assert drawn.structured_content is not None
        assert (drawn.structured_content["all_met"], drawn.structured_content["rounds"] > 1) == (True, True)
        trajectory = drawn.structured_content["trajectory"]
        for id_ in (trajectory, trajectory[:8]):
            assert (await other.call_tool("show", {"trajectory": id_})).is_error
        assert not (await alice.call_tool("show", {"trajectory": trajectory})).is_error
        lessons = [await one.call_tool("recall", {"prompt": PROMPT}) for one in (alice, other)]
    assert [bool((one.structured_content or {})["lessons"]) for one in lessons] == [True, False]


async def test_an_agent_without_a_token_is_not_served_where_one_is_needed(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[alice]\ntoken = "{TOKEN}"\n')
    tokens.chmod(0o600)
    async with open_drawing_door(tmp_path, f"gateway.tokens={tokens}") as door, door.http() as http:
        answer = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert answer.status_code == 401


async def test_a_full_gateway_tells_an_agent_that_it_is_full(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path, "gateway.max_draws=1") as (door, painter), trio.open_nursery() as nursery:
        painter.hold = trio.Event()
        nursery.start_soon(door.post, "/v1/images/generations", {"prompt": PROMPT})
        await painter.until(lambda: bool(painter.begun))
        async with open_agent(door) as client:
            answer = await client.call_tool("draw", {"prompt": PROMPT})
        nursery.cancel_scope.cancel()
    assert answer.is_error
    assert "expected room for 1 of 1 pictures at once" in str(answer.content)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"jsonrpc": "2.0", "method": 7}'], ids=["cut", "empty", "no method"])
@pytest.mark.slow
async def test_bodies_that_are_no_request_are_refused_and_others_are_served(tmp_path: Path, body: bytes) -> None:
    async with open_drawing_door(tmp_path) as door, door.http() as http:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        answer = await http.post("/mcp", content=body, headers=headers)
        assert answer.status_code == 400, answer.text
        async with open_agent(door) as client:
            assert (await client.list_tools()).tools


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "status"), [(front.MAX_BODY_BYTES + 1, b"413"), (100, b"408")], ids=["too large", "late"]
)
async def test_bodies_that_are_too_large_or_stop_in_the_middle_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, status: bytes
) -> None:
    monkeypatch.setattr(front.read_body, "__defaults__", (front.MAX_BODY_BYTES, 0.2))
    async with open_drawing_door(tmp_path) as door:
        head = (
            f"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
        )
        async with await trio.open_tcp_stream("127.0.0.1", door.port) as stream:
            await stream.send_all(head.encode() + b"{")
            with trio.fail_after(30):
                assert (await stream.receive_some()).split()[1] == status
        async with open_agent(door) as client:
            assert (await client.list_tools()).tools


async def test_a_large_picture_is_made_small_enough_for_the_clients_of_the_protocol(tmp_path: Path) -> None:
    data = noise(1024, 1024)
    assert len(data) > MAX_IMAGE_BYTES
    smaller, media_type = await fitting(data, "image/png")
    assert len(smaller) <= MAX_IMAGE_BYTES
    with Image.open(io.BytesIO(smaller)) as image:
        assert (image.size, media_type) == ((1024, 1024), "image/jpeg")
    assert await fitting(png(8, 8), "image/png") == (png(8, 8), "image/png")
