"""Answers from any server with OpenAI's chat completions: SGLang, vLLM, Ollama, transformers serve, hosted models.

An answer that was cut, or that is empty, is a failure and never data. Thinking is kept apart from the answer, wherever
a server puts it: `reasoning_content` (SGLang, DeepSeek, Moonshot), `reasoning` (vLLM), or `<think>` before the answer.
What a server can do beyond answering is found out by asking, and remembered: probabilities of the first token, and
answers held to a JSON schema.

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
from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.backends.failover import FailoverPool
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ChatModelConfig, ChatServerConfig
from gems_actors.errors import RefusedError

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024

_THINKING: Final = ("<think>", "</think>")
_TOP_LOGPROBS: Final = 8
_MOST_LOGPROBS: Final = 20
"""Of OpenAI's API and of vLLM."""
_MIN_MASS: Final = 0.5
"""How probable the choices must be together; with less the model was about to say something else."""
_MISSES: Final = 3
"""After so many answers whose first token was no choice, and none where it was, it is not asked for any more."""


@asynccontextmanager
async def open_openai_chat(config: ChatModelConfig, table: str = "chat") -> AsyncIterator[OpenAIChatModel]:
    """Open the connections to the servers that the settings name; `table` is where these stand.

    Raises:
        ConfigError: there is no address, or a key is not where the settings say.
    """
    async with AsyncExitStack() as stack:
        endpoints = []
        for place, server in enumerate((config, *config.fallbacks)):
            where = f"{table}.fallbacks[{place - 1}]" if place else table
            connection = await stack.enter_async_context(open_model_server("chat", where, server))
            endpoints.append(Endpoint(connection, server, config))
        yield OpenAIChatModel(endpoints)


class Endpoint:
    """One server, asked once at a time, and what is known of it."""

    def __init__(self, server: ModelServer, config: ChatServerConfig, model: ChatModelConfig) -> None:
        """Ask a server.

        Args:
            server: stays open meanwhile.
            config: its own settings.
            model: those that it shares with its fallbacks.
        """
        self.server = server
        self.takes_schema = model.structured
        """Until it has refused one."""
        self.tells_probabilities = not model.thinking
        """Until it has not."""
        self.prices = config.prices
        self._fields = _set_fields(config, model)
        self._hits = self._misses = 0

    @property
    def name(self) -> str:
        """Where it is."""
        return self.server.name

    @property
    def pace(self) -> AdaptiveLimit:
        """What it may be asked now."""
        return self.server.pace

    async def answer(self, request: ChatRequest) -> Said:
        """Return what the server says, after it was asked for the probabilities of the choices where it may tell them.

        Raises:
            BusyError, RefusedError, BackendError: there is none.
        """
        fields: dict[str, Any] = {"messages": [message_fields(message) for message in request.messages]}
        if request.temperature is not None:
            fields["temperature"] = request.temperature
        if not request.choices or not self.tells_probabilities:
            return await self._answer_in_words(request, fields)
        try:
            scored = await self._ask({**fields, "max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_LOGPROBS})
        except RefusedError:
            said = await self._answer_in_words(request, fields)
            self.tells_probabilities = False  # for it is not the question that it refuses
            return said
        probabilities, are_told = _probabilities_of(scored.choice, request.choices)
        self._hits += bool(probabilities)
        self._misses += not probabilities
        if not are_told or (not self._hits and self._misses >= _MISSES):
            self.tells_probabilities = False
        if probabilities:
            return replace(scored, probabilities=probabilities)
        said = await self._answer_in_words(request, fields)
        return replace(said, usage=scored.usage + said.usage, calls=scored.calls + said.calls)

    async def first_tokens(self, request: ChatRequest) -> Said:
        """Return how probable each of the likeliest first tokens of an answer is, as the server spells them.

        Raises:
            BusyError, RefusedError, BackendError: the server does not answer, or tells no probabilities.
        """
        asked = {"max_tokens": 1, "logprobs": True, "top_logprobs": _MOST_LOGPROBS}
        messages = [message_fields(message) for message in request.messages]
        said = await self._ask({"messages": messages, **asked})
        if (found := _first_tokens_of(said.choice)) is None:
            raise self.server.refused("expected the probabilities of the first token, got none")
        return replace(said, probabilities=found)

    async def _answer_in_words(self, request: ChatRequest, fields: Mapping[str, Any]) -> Said:
        if request.schema is None or not self.takes_schema:
            return await self._ask(fields)
        wanted = {"name": request.task, "strict": True, "schema": request.schema}
        try:
            return await self._ask({**fields, "response_format": {"type": "json_schema", "json_schema": wanted}})
        except RefusedError:
            said = await self._ask(fields)
            self.takes_schema = False  # for it is not the question that it refuses
            return said

    async def _ask(self, fields: Mapping[str, Any]) -> Said:
        body = await self.server.post("chat/completions", {**self._fields, **fields}, max_bytes=MAX_REPLY_BYTES)
        try:
            reply = msgspec.json.decode(body, type=_Reply)
            choice = reply.choices[0]
        except (ValueError, IndexError, RecursionError) as error:
            raise self.server.unexpected('JSON with an answer in "choices"', body) from error
        return Said(self, choice, _usage_of(reply.usage))


@dataclass(frozen=True, slots=True)
class Said:
    """What a server said, and what it took."""

    endpoint: Endpoint
    choice: _Choice
    usage: Counter[str]
    calls: int = 1
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def read(self) -> tuple[str, str]:
        """Return answer and reasoning.

        Raises:
            RefusedError: the model will not answer.
            BackendError: the answer is cut, or empty.
        """
        server, choice = self.endpoint.server, self.choice
        message = choice.message
        text = message.content if isinstance(message.content, str) else _joined(message.content)
        reasoning = message.reasoning_content or message.reasoning or ""
        opening, closing = _THINKING
        if text.lstrip().startswith(opening) or (closing in text and opening not in text):  # some templates begin it
            thought, is_closed, text = text.partition(closing)
            if not is_closed:
                raise server.failed("expected an answer behind the thinking, got the end of the reply")
            reasoning = reasoning or thought.strip().removeprefix(opening).strip()
        if choice.finish_reason == "length":
            raise server.failed("expected a whole answer, got one cut at the cap of tokens")
        if message.refusal or choice.finish_reason == "content_filter":
            raise server.refused(f"the model refused: {message.refusal or 'content_filter'}")
        if not text.strip():
            raise server.failed(f"expected an answer, got an empty one (finish_reason {choice.finish_reason})")
        return text, reasoning

    @property
    def cost(self) -> float:
        """What it cost, by the server's prices."""
        prices, usage = self.endpoint.prices, self.usage
        cached = min(usage["cached_tokens"], usage["prompt_tokens"])
        fresh = usage["prompt_tokens"] - cached
        price_cached = prices.prompt if prices.cached is None else prices.cached
        return (fresh * prices.prompt + cached * price_cached + usage["completion_tokens"] * prices.completion) / 1e6


class OpenAIChatModel:
    """Asks for one answer a request; safe to call from many tasks at once."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """Use servers that stay open meanwhile, in the order of preference."""
        self._servers = FailoverPool(tuple(endpoints))

    def figures(self) -> dict[str, float]:
        """Return how hard the servers are pressed, and how many cannot be reached."""
        return self._servers.figures()

    def note(self) -> str:
        """Return which servers cannot be reached."""
        return self._servers.note()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer to one request, waiting for busy and for absent servers within the deadline.

        Raises:
            OverloadedError: the servers had too much to do all the time.
            RefusedError: the server or the model will never answer this; in its words.
            BackendError: the servers failed, or the answer is cut, empty or none.
        """
        said = await self._servers.ask(lambda endpoint: endpoint.answer(request), interactive=request.interactive)
        if said.probabilities:
            text, reasoning = max(said.probabilities.items(), key=lambda item: item[1])[0], ""
        else:
            text, reasoning = said.read()
        return ChatReply(text, reasoning, said.usage, said.calls, said.cost, said.probabilities)

    async def first_tokens(self, request: ChatRequest) -> ChatReply:
        """Return the probabilities of the likeliest first tokens, as the server spells them.

        Raises:
            OverloadedError: the servers had too much to do all the time.
            RefusedError: the server will never answer this, or tells no probabilities.
            BackendError: the servers failed.
        """
        said = await self._servers.ask(lambda endpoint: endpoint.first_tokens(request))
        return ChatReply("", "", said.usage, said.calls, said.cost, said.probabilities)


def _set_fields(config: ChatServerConfig, model: ChatModelConfig) -> dict[str, Any]:
    """Return what the settings ask for; what is not set is not sent, because some servers refuse it."""
    fields: dict[str, Any] = {
        "model": config.model,
        "temperature": model.temperature,
        "max_tokens": model.max_tokens,
    }
    if model.thinking is not None:  # the first is Qwen3's name for it, the second Kimi's and DeepSeek's
        fields["chat_template_kwargs"] = {"enable_thinking": model.thinking, "thinking": model.thinking}
    return {name: value for name, value in fields.items() if value is not None} | model.extra


def _probabilities_of(choice: _Choice, words: tuple[str, ...]) -> tuple[dict[str, float], bool]:
    """Return how probable each word was as the first token, together 1, and whether the server tells such things.

    A token counts for the word that it is, or that it alone begins. None is returned where the model was about to say
    something else.
    """
    if (seen := _first_tokens_of(choice)) is None:
        return {}, False
    found = dict.fromkeys(words, 0.0)
    for token, chance in seen.items():
        text = token.strip(" \t\r\n*_\"'.,:\u2581\u0120").lower()
        meant = [word for word in words if word == text] or [
            word for word in words if len(text) > 1 and word.startswith(text)
        ]
        if len(meant) == 1:
            found[meant[0]] += chance
    total = sum(found.values())
    if total < _MIN_MASS:
        return {}, True
    return {word: mass / total for word, mass in found.items()}, True


def _first_tokens_of(choice: _Choice) -> dict[str, float] | None:
    """Return the probabilities of first tokens that the server told; None where it told none."""
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
