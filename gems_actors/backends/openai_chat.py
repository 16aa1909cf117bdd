"""Answers from any server with OpenAI's chat completions: SGLang, vLLM, Ollama, transformers serve, hosted models.

A truncated or empty answer is a failure and never data. Thinking is kept apart from the answer, wherever the server
puts it: in a separate field, or before the answer in the same text (`thinking`). Three optional features are tried on
each server, and the result remembered: probabilities of the first token, JSON schemas, pictures.

Source: platform.openai.com, POST /v1/chat/completions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.chat_answers import ChatAnswer, UnreadableAnswerError, read_answer
from gems_actors.backends.failover import DEFAULT_RETRY, BusyError, FailoverPool, RefusedOrBusyError, RetryPolicy
from gems_actors.backends.model_server import ModelServer, StatusError, open_model_server
from gems_actors.backends.thinking import REMEDY, UnfinishedThinkingError, part_thinking
from gems_actors.config import ChatModelConfig, ChatServerConfig
from gems_actors.errors import BackendError

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024

_VARIED_TEMPERATURE: Final = 0.7
"""Minimum temperature of a request for another answer than before, unless none is set."""
_NOT_SHOWN: Final = TextPart("(A picture is here, which you are not shown. Rely on what is said of it.)")
_REFUSED_PICTURE: Final = re.compile(
    r"image|picture|vision|multi-?modal|mmproj|content must be a string", re.IGNORECASE
)
"""Words of servers whose model reads only text: llama.cpp, vLLM, SGLang, Ollama, OpenAI, DeepSeek, Groq."""
_REFUSED_OPTION: Final = (400, 422)
"""Statuses that may mean that the server does not know an option; others refuse the request itself."""
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
        self.takes_pictures = True
        """Whether to send pictures that are not essential; false once the server has refused them."""
        self.gives_probabilities = not model.thinking
        """Whether to ask for probabilities; false once the server has given none."""
        self.prices = config.prices
        self._fields = _set_fields(config, model)
        self._hits = self._misses = 0

    async def answer(self, request: ChatRequest) -> Completion:
        """Return the server's answer; a request whose pictures are not essential is asked without them if it must be.

        Raises:
            BusyError, RefusedError, BackendError: the server fails, refuses or does not answer.
        """
        plain = request if request.needs_pictures else without_pictures(request)
        if plain == request or not self.takes_pictures:
            return await self._answer(plain)
        try:
            return await self._answer(request)
        except StatusError as refusal:
            if not _REFUSED_PICTURE.search(str(refusal)):
                raise
            completion = await self._ask_without_option(refusal, self._answer(plain))
            self.takes_pictures = False  # the same question without them was accepted
            return completion

    async def _answer(self, request: ChatRequest) -> Completion:
        """Return the answer to a request as it is; one with choices is first tried with probabilities."""
        fields: dict[str, Any] = {"messages": [message_fields(message) for message in request.messages]}
        if request.temperature is not None:
            fields["temperature"] = request.temperature
        temperature = {**self._fields, **fields}.get("temperature")
        if request.vary and isinstance(temperature, int | float):
            fields["temperature"] = max(temperature, _VARIED_TEMPERATURE)
        if request.vote and isinstance(seed := self._fields.get("seed"), int):
            fields["seed"] = seed + request.vote
        if not request.choices or not self.gives_probabilities:
            return await self._answer_in_text(request, fields)
        try:
            scored = await self._complete({**fields, "max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_LOGPROBS})
        except StatusError as refusal:
            is_forbidden = refusal.status == 403 and "logprobs" in str(refusal)  # OpenAI's word for some models
            if not is_forbidden and refusal.status not in _REFUSED_OPTION:
                raise
            plain = await self._ask_without_option(refusal, self._answer_in_text(request, fields))
            self.gives_probabilities = False  # the same question without them was accepted
            return plain
        tokens = scored.answer.first_tokens
        probabilities = {} if tokens is None else _probabilities_of(tokens, request.choices)
        self._hits += bool(probabilities)
        self._misses += not probabilities
        if not self._hits and (tokens is None or self._misses >= _MAX_MISSES):
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
        if (found := completion.answer.first_tokens) is None:
            raise self.server.refused("expected the probabilities of the first token, got none")
        return replace(completion, probabilities=found)

    async def _answer_in_text(self, request: ChatRequest, fields: Mapping[str, Any]) -> Completion:
        if request.schema is None or not self.takes_schema:
            return await self._complete(fields)
        schema = {"name": request.task, "strict": True, "schema": request.schema}
        try:
            return await self._complete({**fields, "response_format": {"type": "json_schema", "json_schema": schema}})
        except StatusError as refusal:
            is_of_picture = _has_pictures(request) and _REFUSED_PICTURE.search(str(refusal))
            if is_of_picture or refusal.status not in _REFUSED_OPTION:
                raise
            plain = await self._ask_without_option(refusal, self._complete(fields))
            self.takes_schema = False  # the same question without a schema was accepted
            return plain

    async def _ask_without_option(self, refusal: StatusError, question: Awaitable[Completion]) -> Completion:
        """Return the answer to a question without the option that the server may have refused.

        Raises:
            RefusedError: the question is refused too, or fails; in the latter case it is the first refusal.
            RefusedOrBusyError: the server is busy now.
        """
        try:
            return await question
        except BusyError as error:
            raise RefusedOrBusyError(refusal, error) from error
        except BackendError as error:
            raise refusal from error

    async def _complete(self, fields: Mapping[str, Any]) -> Completion:
        body = await self.server.post("chat/completions", {**self._fields, **fields}, max_bytes=MAX_REPLY_BYTES)
        try:
            return Completion(self, answer := read_answer(body), answer.usage)
        except UnreadableAnswerError as error:
            raise self.server.unexpected(error.expected, error.body) from error


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion of a server, with its usage."""

    endpoint: Endpoint
    answer: ChatAnswer
    usage: Counter[str]
    calls: int = 1
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def read(self) -> tuple[str, str]:
        """Return the answer and the reasoning.

        Raises:
            RefusedError: the model refuses to answer.
            ModelOutputError: the answer is truncated, empty or a call of a tool, or is all thinking.
        """
        server, answer = self.endpoint.server, self.answer
        if answer.refusal:
            raise server.refused(f"the model refused: {answer.refusal}")
        if answer.is_truncated:
            expected = "expected a complete answer, got one truncated at the token limit"
            raise server.unusable(f"{expected}; {REMEDY}" if answer.reasoning else expected)
        try:
            thought, text = part_thinking(answer.text)
        except UnfinishedThinkingError as error:
            raise server.unusable(
                f"expected an answer after the thinking, got its beginning {error}; {REMEDY}"
            ) from error
        if answer.tool and (not text.strip() or answer.finish_reason in ("tool_calls", "function_call")):
            raise server.unusable(f"expected an answer in words, got a call of {answer.tool}")
        if not text.strip():
            got = f"expected an answer, got an empty one (finish_reason {answer.finish_reason or 'unknown'})"
            raise server.unusable(f"{got}, after thinking; {REMEDY}" if answer.reasoning or thought else got)
        return text, answer.reasoning or thought

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
            BackendError: the servers failed, or sent something other than an answer.
            ModelOutputError: the answer is truncated or empty, or is all thinking.
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


def _probabilities_of(tokens: Mapping[str, float], words: tuple[str, ...]) -> dict[str, float]:
    """Return the probability of each word by the first token, summing to 1.

    A token counts for the word that it equals, or for the only word that it begins. Nothing is returned if the model
    was about to say something else.
    """
    found = dict.fromkeys(words, 0.0)
    for token, probability in tokens.items():
        text = token.strip(" \t\r\n*_\"'.,:\u2581\u0120").lower()
        matches = [word for word in words if word == text] or [
            word for word in words if len(text) > 1 and word.startswith(text)
        ]
        if len(matches) == 1:
            found[matches[0]] += probability
    total = sum(found.values())
    return {} if total < _MIN_MASS else {word: mass / total for word, mass in found.items()}


def _has_pictures(request: ChatRequest) -> bool:
    return any(isinstance(part, ImagePart) for message in request.messages for part in message.parts)


def without_pictures(request: ChatRequest) -> ChatRequest:
    """Return a request that says of each picture that it is not shown; one without pictures as it is."""
    if not _has_pictures(request):
        return request
    messages = [
        replace(message, parts=tuple(_NOT_SHOWN if isinstance(part, ImagePart) else part for part in message.parts))
        for message in request.messages
    ]
    return replace(request, messages=tuple(messages))


def message_fields(message: ChatMessage) -> dict[str, Any]:
    """Return one turn in the API's format: plain text if it has no picture, else its parts in order."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    if len(texts) == len(message.parts):
        return {"role": message.speaker, "content": "\n\n".join(texts)}
    return {"role": message.speaker, "content": [_part_fields(part) for part in message.parts]}


def _part_fields(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": part.data_url}}
