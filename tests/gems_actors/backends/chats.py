"""Chat questions, answers of a scripted server, and the model that asks it."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.openai_chat import OpenAIChatModel, open_openai_chat
from gems_actors.config import ChatConfig
from tests.actors.fakes import png
from tests.gems_actors.backends.servers import QUICK_RETRY, Answer, ScriptedServer

QUESTION = ChatRequest(
    "verify",
    {},
    (
        ChatMessage("system", (TextPart("Look closely."),)),
        ChatMessage("user", (ImagePart(png(), "image/png"), TextPart("Is it red?"))),
    ),
)


def completion(
    content: object = "yes", *, finish_reason: str = "stop", usage: dict[str, Any] | None = None, **more: object
) -> Answer:
    """Return a completion with this message, as a server sends it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish_reason}
    return Answer(json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode())


def open_model(server: ScriptedServer, **settings: Any) -> AbstractAsyncContextManager[OpenAIChatModel]:
    """Open a model at a server; it retries at once."""
    settings = {"backend": "openai", "url": server.url, **settings}
    return open_openai_chat(ChatConfig(**settings), retry=QUICK_RETRY)


async def chat(server: ScriptedServer, request: ChatRequest = QUESTION, **settings: Any) -> ChatReply:
    """Return the answer to one request, with a deadline as every request has."""
    async with open_model(server, **settings) as model:
        with trio.fail_after(20.0):
            return await model.chat(request)
