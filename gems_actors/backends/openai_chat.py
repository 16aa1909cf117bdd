"""Answers from any server with OpenAI's chat completions: SGLang, vLLM, Ollama, transformers serve, hosted models.

An answer that was cut, or that is empty, is a failure and never data. Thinking is kept apart from the answer, wherever
a server puts it: `reasoning_content` (SGLang, DeepSeek, Moonshot), `reasoning` (vLLM), or `<think>` before the answer.

Source: platform.openai.com, POST /v1/chat/completions.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ChatConfig

_THINKING: Final = ("<think>", "</think>")


@asynccontextmanager
async def open_openai_chat(config: ChatConfig) -> AsyncIterator[OpenAIChatModel]:
    """Open the connections to the server that the settings name.

    Raises:
        ConfigError: there is no address, or the key is not where the settings say.
    """
    async with open_model_server(
        "chat", config.url, api_key_env=config.api_key_env, timeout_s=config.timeout_s
    ) as server:
        yield OpenAIChatModel(config, server)


class OpenAIChatModel:
    """Asks for one answer a request; safe to call from many tasks at once."""

    def __init__(self, config: ChatConfig, server: ModelServer) -> None:
        """Use a server that stays open meanwhile."""
        self._config = config
        self._server = server

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer to one request.

        Raises:
            OverloadedError: the server has too much to do; says when to ask again.
            RefusedError: the server or the model will never answer this; in its words.
            BackendError: the server failed, or its answer is cut, empty or none.
        """
        fields: dict[str, Any] = {"messages": [message_fields(message) for message in request.messages]}
        if self._config.model is not None:
            fields["model"] = self._config.model
        body = await self._server.post("chat/completions", fields | self._config.extra)
        try:
            reply = msgspec.json.decode(body, type=_Reply)
            choice = reply.choices[0]
        except (ValueError, IndexError, RecursionError) as error:
            raise self._server.unexpected('JSON with an answer in "choices"', body) from error
        return ChatReply(*self._read(choice), usage=_usage_of(reply.usage))

    def _read(self, choice: _Choice) -> tuple[str, str]:
        """Return answer and reasoning of a choice."""
        message = choice.message
        text = message.content if isinstance(message.content, str) else _joined(message.content)
        reasoning = message.reasoning_content or message.reasoning or ""
        opening, closing = _THINKING
        if text.lstrip().startswith(opening) or (closing in text and opening not in text):  # some templates begin it
            thought, is_closed, text = text.partition(closing)
            if not is_closed:
                raise self._server.failed("expected an answer behind the thinking, came the end of the reply")
            reasoning = reasoning or thought.strip().removeprefix(opening).strip()
        if choice.finish_reason == "length":
            raise self._server.failed("expected a whole answer, came one cut at the cap of tokens")
        if message.refusal or choice.finish_reason == "content_filter":
            raise self._server.refused(f"the model refused: {message.refusal or 'content_filter'}")
        if not text.strip():
            raise self._server.failed(f"expected an answer, came an empty one (finish_reason {choice.finish_reason})")
        return text, reasoning


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


def message_fields(message: ChatMessage) -> dict[str, Any]:
    """Return one turn as the API has it: plain text where there is no picture, else its parts in their order."""
    parts = message.parts
    if all(isinstance(part, TextPart) for part in parts):
        return {
            "role": message.speaker,
            "content": "\n\n".join(part.text for part in parts if isinstance(part, TextPart)),
        }
    return {"role": message.speaker, "content": [_part_fields(part) for part in parts]}


def _part_fields(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    data = base64.b64encode(part.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}


def _joined(parts: list[_Part] | None) -> str:
    return "".join(part.text for part in parts or ())


def _usage_of(usage: _Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    details = usage.prompt_tokens_details
    counted = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": details.cached_tokens if details else None,
    }
    return {name: count for name, count in counted.items() if count is not None and count >= 0}
