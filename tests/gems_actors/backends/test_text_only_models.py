"""A model that reads only text answers requests whose pictures help but are not essential, and refuses the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gems_actors.errors import RefusedError
from tests.gems_actors.backends.chats import QUESTION, chat, completion, open_model
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server

HELPFUL = replace(QUESTION, needs_pictures=False)
REFUSALS = {
    "llama.cpp": (500, "image input is not supported - hint: you may need to provide the mmproj"),
    "vLLM": (400, "some/model is not a multimodal model"),
    "OpenAI": (400, "Invalid content type. image_url is only supported by certain models."),
    "DeepSeek": (422, "Failed to deserialize: messages[1]: unknown variant `image_url`, expected `text`"),
    "Groq": (400, "'messages.1' : content must be a string"),
    "a router": (404, "No endpoints found that support image input"),
}


def says_images(fields: dict[str, Any]) -> bool:
    return "image_url" in json.dumps(fields["messages"])


@pytest.fixture(params=REFUSALS)
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    status, message = REFUSALS[request.param]
    refusal = Answer(json.dumps({"error": {"message": message}}).encode(), status)
    with open_server(ScriptedServer(lambda fields: refusal if says_images(fields) else completion("fine"))) as running:
        yield running


@pytest.mark.slow
async def test_a_picture_that_is_not_essential_is_left_out_and_the_server_remembered(server: ScriptedServer) -> None:
    schema = {"type": "object"}
    async with open_model(server) as model:
        assert (await model.chat(replace(HELPFUL, schema=schema))).text == "fine"
        assert [says_images(fields) for _, _, fields in server.asked] == [True, False]
        assert (await model.chat(HELPFUL)).text == "fine"
    assert [says_images(fields) for _, _, fields in server.asked] == [True, False, False]
    asked = server.asked[1][2]
    assert asked["response_format"]["type"] == "json_schema", "the schema was not what the server refused"
    assert "not shown" in asked["messages"][1]["content"]
    assert "Is it red?" in asked["messages"][1]["content"]


async def test_a_picture_that_is_essential_is_never_left_out(server: ScriptedServer) -> None:
    with pytest.raises(RefusedError):
        await chat(server)
    assert [says_images(fields) for _, _, fields in server.asked] == [True]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refusal_of_something_else_is_not_asked_without_the_picture(status: int) -> None:
    refusal = Answer(b'{"error": {"message": "the prompt is too long"}}', status)
    with open_server(ScriptedServer(lambda fields: refusal)) as server:
        with pytest.raises(RefusedError, match="too long"):
            await chat(server, HELPFUL)
        assert [says_images(fields) for _, _, fields in server.asked] == [True]
