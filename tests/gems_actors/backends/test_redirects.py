"""Redirects of model servers: followed within the server, and refused at once where they lead elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gems_actors.backends import ChatMessage, ChatRequest, ImageRequest, TextPart
from gems_actors.backends.openai_chat import OpenAIChatModel, open_openai_chat
from gems_actors.backends.openai_images import OpenAIImageModel, open_openai_images
from gems_actors.config import ChatConfig, ImageConfig
from gems_actors.errors import RefusedError
from tests.actors.fakes import png
from tests.gems_actors.backends.servers import QUICK_RETRY, Answer, ScriptedServer, drawn, open_server

REQUEST = ImageRequest("two red cats", seed=7, width_px=256, height_px=192)
QUESTION = ChatRequest("decompose", {}, (ChatMessage("user", (TextPart("Hello"),)),))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(drawn)) as running:
        yield running


@asynccontextmanager
async def open_images(server: ScriptedServer) -> AsyncIterator[OpenAIImageModel]:
    config = ImageConfig(backend="openai", url=server.url, api_key_env="THE_KEY")
    async with open_openai_images(config, retry=QUICK_RETRY) as model:
        with trio.fail_after(20.0):
            yield model


@asynccontextmanager
async def open_chat(server: ScriptedServer) -> AsyncIterator[OpenAIChatModel]:
    async with open_openai_chat(ChatConfig(backend="openai", url=server.url), "chat", retry=QUICK_RETRY) as model:
        with trio.fail_after(20.0):
            yield model


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "secret")


def redirect(code: int, location: str | None) -> Answer:
    return Answer(b"", code, {} if location is None else {"Location": location})


@pytest.mark.slow
@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["/v2/images/generations", "{root}/v2/images/generations", "//{host}/v2/x?y=1"])
async def test_a_redirect_within_the_server_is_followed_with_the_same_request(
    server: ScriptedServer, code: int, location: str
) -> None:
    root = server.url.removesuffix("/v1")
    server.first.append(redirect(code, location.format(root=root, host=root.removeprefix("http://"))))
    async with open_images(server) as model:
        await model.generate(REQUEST)
    (_, _, first), (path, headers, again) = server.asked
    assert path.startswith("/v2/")
    assert first == again
    assert headers["Authorization"] == "Bearer secret"


async def test_a_redirect_303_asks_for_the_answer_elsewhere(server: ScriptedServer) -> None:
    server.first.append(redirect(303, "/results/1"))
    server.files["/results/1"] = drawn({"prompt": "a cat", "size": "64x64"})
    async with open_images(server) as model:
        assert (await model.generate(REQUEST)).width_px == 64


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    ["http://elsewhere.example/v1", "http://127.0.0.1:1/v1", "http://localhost:{port}/v1", "//elsewhere.example/"],
)
async def test_a_redirect_to_another_server_is_refused_at_once_and_named(
    server: ScriptedServer, code: int, location: str
) -> None:
    location = location.format(port=server.url.removesuffix("/v1").rpartition(":")[2])
    server.rule = lambda fields: redirect(code, location)
    async with open_images(server) as images:
        with pytest.raises(RefusedError, match=f"answered {code}: .* got one to ") as caught:
            await images.generate(REQUEST)
    assert location.removeprefix("http:").strip("/") in str(caught.value)
    async with open_chat(server) as chat:
        with pytest.raises(RefusedError, match=f"answered {code}: .* got one to "):
            await chat.chat(QUESTION)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (redirect(307, "/v1/images/generations"), "expected up to 5 redirects, got another one to http://127.0.0.1"),
        (redirect(307, None), "answered 307"),
        (redirect(307, "http://host:port/"), "answered with a redirect that cannot be followed: .*'port'"),
        (redirect(300, "/v2"), "answered 300"),
        (redirect(304, None), "answered 304"),
        (redirect(305, "http://proxy.example"), "answered 305"),
        (redirect(307, "ftp://127.0.0.1/x"), "got one to ftp://127.0.0.1/x"),
    ],
)
async def test_a_redirect_that_leads_nowhere_is_refused(server: ScriptedServer, answer: Answer, words: str) -> None:
    server.rule = lambda fields: answer
    async with open_images(server) as model:
        with pytest.raises(RefusedError, match=words):
            await model.generate(REQUEST)
    assert len(server.asked) <= 5, "no redirect is a failure that is retried"


async def test_a_picture_is_fetched_from_wherever_its_address_leads(server: ScriptedServer) -> None:
    def answer(fields: dict[str, Any]) -> Answer:
        return Answer(json.dumps({"data": [{"url": server.url.replace("/v1", "/here.png")}]}).encode())

    with open_server(ScriptedServer(drawn)) as other:
        server.rule = answer
        server.files["/here.png"] = redirect(302, other.url.replace("/v1", "/there.png"))
        other.files["/there.png"] = png(64, 32)
        async with open_images(server) as model:
            assert (await model.generate(REQUEST)).width_px == 64
    assert "Authorization" not in other.asked[0][1]
