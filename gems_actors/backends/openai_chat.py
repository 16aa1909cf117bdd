"""Answers from any server with OpenAI's chat completions: SGLang, vLLM, Ollama, transformers serve, hosted models.

A truncated or empty answer is a failure and never data. Thinking is kept apart from the answer, wherever the server
puts it: `reasoning_content` (SGLang, DeepSeek, Moonshot), `reasoning` (vLLM), or `<think>` before the answer. Two
optional features are tried on each server, and the result remembered: probabilities of the first token, JSON schemas.

Source: platform.openai.com, POST /v1/chat/completions.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.failover import DEFAULT_RETRY, FailoverPool, RetryPolicy
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ChatModelConfig, ChatServerConfig
from gems_actors.errors import RefusedError

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024

_THINKING: Final = ("<think>", "</think>")
_TOP_LOGPROBS: Final = 8
_MAX_LOGPROBS: Final = 20
"""Maximum `top_logprobs` of OpenAI's API and of vLLM."""
_MIN_MASS: Final = 0.5
"""Minimum total probability of the choices; below it the model was about to say something else."""
_MAX_MISSES: Final = 3
"""Answers without a scored choice after which a server that never gave one is not asked for probabilities again."""


@asynccontextmanager
async def open_openai_chat(
    config: ChatModelConfig, table: str = "chat", *, retry: RetryPolicy = DEFAULT_RETRY
) -> AsyncIterator[OpenAIChatModel]:
    """Open the connections to a server and its fallbacks; `table` names their settings in error messages.

    Raises:
        ConfigError: there is no address, or a key cannot be read.
    """
    async with AsyncExitStack() as stack:
        endpoints = []
        for index, server in enumerate((config, *config.fallbacks)):
            name = f"{table}.fallbacks[{index - 1}]" if index else table
            connection = await stack.enter_async_context(open_model_server("chat", name, server))
            endpoints.append(Endpoint(connection, server, config))
        yield OpenAIChatModel(endpoints, retry)


class Endpoint:
    """Chat completions of one server, without retries, and the optional features that it supports."""

    def __init__(self, server: ModelServer, config: ChatServerConfig, model: ChatModelConfig) -> None:
        """Use an open server, which the caller closes, with its settings and those shared with its fallbacks."""
        self.server, self.name, self.limit = server, server.name, server.limit
        self.takes_schema = model.structured
        """Whether to send JSON schemas; false once the server has refused one."""
        self.gives_probabilities = not model.thinking
        """Whether to ask for probabilities; false once the server has given none."""
        self.prices = config.prices
        self._fields = _set_fields(config, model)
        self._hits = self._misses = 0

    async def answer(self, request: ChatRequest) -> Completion:
        """Return the server's answer; a request with choices is first tried with probabilities of the first token.

        Raises:
            BusyError, RefusedError, BackendError: the server fails, refuses or does not answer.
        """
        fields: dict[str, Any] = {"messages": [message_fields(message) for message in request.messages]}
        if request.temperature is not None:
            fields["temperature"] = request.temperature
        if not request.choices or not self.gives_probabilities:
            return await self._answer_in_text(request, fields)
        try:
            scored = await self._complete({**fields, "max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_LOGPROBS})
        except RefusedError:
            plain = await self._answer_in_text(request, fields)
            self.gives_probabilities = False  # the same question without them was accepted
            return plain
        probabilities, are_given = _probabilities_of(scored.choice, request.choices)
        self._hits += bool(probabilities)
        self._misses += not probabilities
        if not are_given or (not self._hits and self._misses >= _MAX_MISSES):
            self.gives_probabilities = False
        if probabilities:
            return replace(scored, probabilities=probabilities)
        plain = await self._answer_in_text(request, fields)
        return replace(plain, usage=scored.usage + plain.usage, calls=scored.calls + plain.calls)

    async def first_tokens(self, request: ChatRequest) -> Completion:
        """Return the probabilities of the likeliest first tokens of an answer, as the server spells them.

        Raises:
            BusyError, RefusedError, BackendError: the server does not answer, or gives no probabilities.
        """
        options = {"max_tokens": 1, "logprobs": True, "top_logprobs": _MAX_LOGPROBS}
        messages = [message_fields(message) for message in request.messages]
        completion = await self._complete({"messages": messages, **options})
        if (found := _first_tokens_of(completion.choice)) is None:
            raise self.server.refused("expected the probabilities of the first token, got none")
        return replace(completion, probabilities=found)

    async def _answer_in_text(self, request: ChatRequest, fields: Mapping[str, Any]) -> Completion:
        if request.schema is None or not self.takes_schema:
            return await self._complete(fields)
        schema = {"name": request.task, "strict": True, "schema": request.schema}
        try:
            return await self._complete({**fields, "response_format": {"type": "json_schema", "json_schema": schema}})
        except RefusedError:
            plain = await self._complete(fields)
            self.takes_schema = False  # the same question without a schema was accepted
            return plain

    async def _complete(self, fields: Mapping[str, Any]) -> Completion:
        body = await self.server.post("chat/completions", {**self._fields, **fields}, max_bytes=MAX_REPLY_BYTES)
        try:
            reply = msgspec.json.decode(body, type=_Reply)
            choice = reply.choices[0]
        except (ValueError, IndexError, RecursionError) as error:
            raise self.server.unexpected('JSON with an answer in "choices"', body) from error
        return Completion(self, choice, _usage_of(reply.usage))


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion of a server, with its usage."""

    endpoint: Endpoint
    choice: _Choice
    usage: Counter[str]
    calls: int = 1
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def read(self) -> tuple[str, str]:
        """Return the answer and the reasoning.

        Raises:
            RefusedError: the model refuses to answer.
            BackendError: the answer is truncated or empty.
        """
        server, choice = self.endpoint.server, self.choice
        message = choice.message
        text = (
            message.content
            if isinstance(message.content, str)
            else "".join(part.text for part in message.content or ())
        )
        reasoning = message.reasoning_content or message.reasoning or ""
        opening, closing = _THINKING
        if text.lstrip().startswith(opening) or (closing in text and opening not in text):  # some templates open it
            thought, is_closed, text = text.partition(closing)
            if not is_closed:
                raise server.failed("expected an answer after the thinking, got the end of the reply")
            reasoning = reasoning or thought.strip().removeprefix(opening).strip()
        if choice.finish_reason == "length":
            raise server.failed("expected a complete answer, got one truncated at the token limit")
        if message.refusal or choice.finish_reason == "content_filter":
            raise server.refused(f"the model refused: {message.refusal or 'content_filter'}")
        if not text.strip():
            raise server.failed(f"expected an answer, got an empty one (finish_reason {choice.finish_reason})")
        return text, reasoning

    def reply(self, text: str, reasoning: str) -> ChatReply:
        """Return a reply with this completion's usage, cost and probabilities."""
        return ChatReply(text, reasoning, self.usage, self.calls, self.cost, self.probabilities)

    @property
    def cost(self) -> float:
        """Cost by the server's prices."""
        prices, usage = self.endpoint.prices, self.usage
        cached = min(usage["cached_tokens"], usage["prompt_tokens"])
        fresh = usage["prompt_tokens"] - cached
        price_cached = prices.prompt if prices.cached is None else prices.cached
        return (fresh * prices.prompt + cached * price_cached + usage["completion_tokens"] * prices.completion) / 1e6


class OpenAIChatModel:
    """Requests one answer per call; safe to call from many tasks at once."""

    def __init__(self, endpoints: Iterable[Endpoint], retry: RetryPolicy = DEFAULT_RETRY) -> None:
        """Use open servers, which the caller closes, in order of preference."""
        self._servers = FailoverPool(tuple(endpoints), retry)

    def figures(self) -> dict[str, float]:
        """Return the state of the servers' concurrency limits, and how many are down."""
        return self._servers.figures()

    def note(self) -> str:
        """Return which servers are down, and why."""
        return self._servers.note()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer; requests to busy or unreachable servers are retried within the caller's deadline.

        Raises:
            OverloadedError: the servers were busy until the deadline.
            RefusedError: the server or the model refused the request; carries its message.
            BackendError: the servers failed, or the answer is truncated, empty or missing.
        """
        completion = await self._servers.call(lambda server: server.answer(request), interactive=request.interactive)
        if completion.probabilities:
            text, reasoning = max(completion.probabilities.items(), key=lambda item: item[1])[0], ""
        else:
            text, reasoning = completion.read()
        return completion.reply(text, reasoning)

    async def first_tokens(self, request: ChatRequest) -> ChatReply:
        """Return the probabilities of the likeliest first tokens, as the server spells them.

        Raises:
            OverloadedError: the servers were busy until the deadline.
            RefusedError: the server refused the request, or gives no probabilities.
            BackendError: the servers failed.
        """
        return (await self._servers.call(lambda server: server.first_tokens(request))).reply("", "")


def _set_fields(config: ChatServerConfig, model: ChatModelConfig) -> dict[str, Any]:
    """Return the fields of every request; unset ones are left out, because some servers refuse them."""
    fields: dict[str, Any]
    fields = {"model": config.model, "temperature": model.temperature, "max_tokens": model.max_tokens}
    if model.thinking is not None:  # Qwen3 reads the first name, Kimi and DeepSeek the second
        fields["chat_template_kwargs"] = {"enable_thinking": model.thinking, "thinking": model.thinking}
    return {name: value for name, value in fields.items() if value is not None} | model.extra


def _probabilities_of(choice: _Choice, words: tuple[str, ...]) -> tuple[dict[str, float], bool]:
    """Return the probability of each word by the first token, summing to 1, and whether the server gives any.

    A token counts for the word that it equals, or for the only word that it begins. Nothing is returned if the model
    was about to say something else.
    """
    if (tokens := _first_tokens_of(choice)) is None:
        return {}, False
    found = dict.fromkeys(words, 0.0)
    for token, probability in tokens.items():
        text = token.strip(" \t\r\n*_\"'.,:\u2581\u0120").lower()
        matches = [word for word in words if word == text] or [
            word for word in words if len(text) > 1 and word.startswith(text)
        ]
        if len(matches) == 1:
            found[matches[0]] += probability
    total = sum(found.values())
    if total < _MIN_MASS:
        return {}, True
    return {word: mass / total for word, mass in found.items()}, True


def _first_tokens_of(choice: _Choice) -> dict[str, float] | None:
    """Return the probabilities of the first tokens; None if the server gave none."""
    if choice.logprobs is None or not choice.logprobs.content:
        return None
    first = choice.logprobs.content[0]
    return {token.token: math.exp(min(token.logprob, 0.0)) for token in (*first.top_logprobs, first)}


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Token(msgspec.Struct):
    token: str
    logprob: float


class _FirstToken(_Token):
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_FirstToken] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


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
    """Return one turn in the API's format: plain text if it has no picture, else its parts in order."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    if len(texts) == len(message.parts):
        return {"role": message.speaker, "content": "\n\n".join(texts)}
    return {"role": message.speaker, "content": [_part_fields(part) for part in message.parts]}


def _part_fields(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    data = base64.b64encode(part.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}


def _usage_of(usage: _Usage | None) -> Counter[str]:
    if usage is None:
        return Counter()
    details = usage.prompt_tokens_details
    counted = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": details.cached_tokens if details else None,
    }
    return Counter({name: count for name, count in counted.items() if count is not None and count >= 0})
