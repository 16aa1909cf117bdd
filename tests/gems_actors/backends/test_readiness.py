"""Whether a model server is ready, asked of real servers that load, refuse, or answer in unusual ways."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from gems_actors.backends.readiness import NotReadyError, check_ready
from gems_actors.config import ChatConfig, ImageConfig
from gems_actors.errors import ConfigError
from tests.gems_actors.backends.chats import completion
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server

MODELS = "/v1/models"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(lambda fields: completion())) as running:
        yield running


def listing(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()


def failure(status: int, message: str = "no") -> Answer:
    return Answer(json.dumps({"error": {"message": message}}).encode(), status)


async def check_chat(server: ScriptedServer, model: str | None = None, api_key_env: str | None = None) -> int:
    """Check a chat server, and return how many questions it was asked."""
    await check_ready(
        "chat", "chat", ChatConfig(backend="openai", url=server.url, model=model, api_key_env=api_key_env)
    )
    return sum(path.endswith("/chat/completions") for path, _, _ in server.asked)


async def test_a_server_that_lists_the_model_is_ready_without_a_question(server: ScriptedServer) -> None:
    server.files[MODELS] = listing("other", "mine")
    assert await check_chat(server, "mine") == 0
    assert await check_chat(server) == 0, "the only model of the server"


async def test_what_a_server_tells_of_its_model_is_returned(server: ScriptedServer) -> None:
    vllm = {
        "id": "mine",
        "object": "model",
        "created": 1,
        "owned_by": "vllm",
        "root": "/models/q",
        "max_model_len": 8192,
    }
    server.files[MODELS] = json.dumps({"data": [vllm, {"id": "other"}]}).encode()
    told = await check_ready("chat", "chat", ChatConfig(backend="openai", url=server.url, model="mine"))
    assert told == {"id": "mine", "owned_by": "vllm", "root": "/models/q", "max_model_len": 8192}
    server.files[MODELS] = listing("its-own-name")
    image = await check_ready("image", "image", ImageConfig(backend="openai", url=server.url))
    assert image == {"id": "its-own-name"}
    server.files[MODELS] = listing("one", "two")
    assert await check_ready("image", "image", ImageConfig(backend="openai", url=server.url)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        Answer(listing("its-own-name")),
        Answer(listing()),
        failure(404),
        failure(405),
        failure(500),
        failure(501),
        Answer(b"<html>hello</html>"),
        Answer(b'{"data": null}'),
        Answer(b'[{"name": "mine"}]'),
        Answer(b""),
    ],
)
async def test_a_server_without_a_useful_list_is_asked_for_one_token(server: ScriptedServer, answer: Answer) -> None:
    server.files[MODELS] = answer
    assert await check_chat(server, "mine") == 1
    _, _, fields = server.asked[-1]
    assert (fields["model"], fields["max_tokens"]) == ("mine", 1)


@pytest.mark.parametrize("status", [400, 413, 422, 500, 501])
async def test_a_server_that_answers_the_question_in_any_other_way_is_ready(
    server: ScriptedServer, status: int
) -> None:
    server.files[MODELS] = failure(404)
    server.rule = lambda fields: failure(status, "max_tokens: expected more")
    assert await check_chat(server, "mine") == 1


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("is_listing", [True, False])
async def test_a_loading_server_is_not_ready(server: ScriptedServer, status: int, is_listing: bool) -> None:
    if is_listing:
        server.files[MODELS] = failure(status, "loading model")
    server.rule = lambda fields: failure(status, "loading model")
    with pytest.raises(NotReadyError, match=f"answered {status}: loading model"):
        await check_chat(server, "mine")


async def test_a_port_without_a_server_or_with_one_that_hangs_up_is_not_ready(server: ScriptedServer) -> None:
    server.files[MODELS] = Answer(listing("mine"), cut_to=3)
    with pytest.raises(NotReadyError, match="RemoteProtocolError"):
        await check_chat(server, "mine")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(NotReadyError, match="ConnectError"):
            await check_chat(server, "mine")


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("is_listing", [True, False])
async def test_a_refused_key_ends_the_wait_and_names_the_setting(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, status: int, is_listing: bool
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    if is_listing:
        server.files[MODELS] = failure(status, "bad key sk-secret")
    server.rule = lambda fields: failure(status, "bad key sk-secret")
    with pytest.raises(ConfigError, match=rf"chat.api_key_env: expected a key .* answered {status}: bad key \*\*\*"):
        await check_chat(server, "mine", api_key_env="MY_KEY")
    with pytest.raises(ConfigError, match=r"chat\.api_key_env: expected the name of a variable .*, got none"):
        await check_chat(server, "mine")


async def test_an_unknown_model_ends_the_wait_and_names_those_that_the_server_has(server: ScriptedServer) -> None:
    server.files[MODELS] = listing("a", "b")
    for status in (400, 404, 422):
        server.rule = lambda fields, status=status: failure(status, "no such model")  # type: ignore[misc]  # mypy infers no default
        with pytest.raises(
            ConfigError, match=r"chat.model: expected a model .*got 'mine'.* no such model; it lists a, b"
        ):
            await check_chat(server, "mine")
    server.files[MODELS] = failure(404)
    server.rule = lambda fields: failure(404, "no such path")
    with pytest.raises(ConfigError, match=r"no such path; check chat.url and chat.model"):
        await check_chat(server)


@pytest.mark.parametrize("answer", [Answer(listing("other")), failure(404), failure(405), Answer(b"ready")])
async def test_an_image_server_is_ready_with_any_answer_and_is_asked_for_no_picture(
    server: ScriptedServer, answer: Answer
) -> None:
    server.rule, server.files[MODELS] = drawn, answer
    await check_ready("image", "image", ImageConfig(backend="openai", url=server.url, model="mine"))
    assert [path for path, _, _ in server.asked] == [MODELS]
    server.files[MODELS] = failure(503)
    with pytest.raises(NotReadyError, match=r"image server at .* answered 503"):
        await check_ready("image", "image", ImageConfig(backend="openai", url=server.url))
    server.files[MODELS] = failure(401)
    with pytest.raises(ConfigError, match=r"image\.api_key_env: expected the name of a variable"):
        await check_ready("image", "image", ImageConfig(backend="openai", url=server.url))
