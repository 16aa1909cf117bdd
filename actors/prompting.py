"""How a role talks with a chat model: fill in a prompt, ask, read the answer strictly, and let it repair itself once.

It does not know what any role asks.
"""

from __future__ import annotations

import string
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec
import structlog
import trio

from gems_actors.actor import Actor, is_interactive
from gems_actors.backends import ChatMessage, ChatModel, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.factory import open_chat_model
from gems_actors.errors import ModelOutputError
from protocol.costs import sum_spent
from protocol.limits import MAX_PROMPT_CHARS
from protocol.messages import Spent

T = TypeVar("T")

REPAIR: Final = """\
That answer cannot be used: $problem

Give the answer once more, the whole of it, in exactly the form you were asked for. Write nothing before or after it, \
and no apology."""

MAX_REASONING_CHARS: Final = 16_000
"""What is kept of a model's thinking: all rounds of a trajectory travel in one message."""

_MAX_QUOTED_CHARS = 200
_log = structlog.get_logger()


class ModelAnswer(NamedTuple, Generic[T]):
    """What a chat model answered, read."""

    value: T
    reasoning: str
    """The end of its thinking, where its conclusion is; empty where the model does not show any."""
    spent: Spent
    """Of one call, or of two where the answer had to be repaired."""
    probabilities: Mapping[str, float] = {}
    """Of the request's choices, where the model tells them."""


class ChatActor(Actor):
    """An actor that asks a chat model, which is open while the actor is."""

    default_capacity = 64  # more than a server may take at once: the backend knows how many that is
    chat: ChatModel
    _is_open = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep the role's chat model open."""
        async with open_chat_model(self.config, self.role) as self.chat:
            self._is_open = True
            yield

    def figures(self) -> dict[str, float]:
        """Return what the chat model reports."""
        return self.chat.figures()

    def note(self) -> str:
        """Return what is wrong with the chat model just now."""
        return self.chat.note() if self._is_open else ""


async def ask_model(
    chat: ChatModel,
    request: ChatRequest,
    parse: Callable[[str], T],
    parse_repaired: Callable[[str], T] | None = None,
) -> ModelAnswer[T]:
    """Ask a chat model and read its answer; shown what was wrong with an unreadable one, it may answer once more.

    Args:
        chat: the model.
        request: what it is asked.
        parse: reads the answer; its `ModelOutputError` says what was expected and what was found.
        parse_repaired: reads the second answer, where a role is content with less by then.

    Raises:
        BackendError: the model could not be asked.
        ModelOutputError: the second answer cannot be read either.
    """
    request = replace(request, interactive=is_interactive())
    reply, spent = await _call(chat, request)
    try:
        return _read(reply, parse, spent)
    except ModelOutputError as error:
        problem = str(error)
    said = _replace_half_characters(reply.text)
    repair = (
        say("assistant", said if said.strip() else "(no words)"),  # servers refuse a turn without any
        say("user", render(REPAIR, problem=problem)),
    )
    reply, spent_again = await _call(chat, replace(request, messages=(*request.messages, *repair)))
    answer = _read(reply, parse_repaired or parse, sum_spent(spent, spent_again))
    _log.warning("model_output_repaired", task=request.task, problem=problem)
    return answer


def render(template: str, **values: str) -> str:
    """Fill in the `$names` of a prompt; a `$` or a brace within a value is only itself."""
    return string.Template(template).substitute(values)


def say(speaker: Literal["system", "user", "assistant"], *parts: str | ImagePart) -> ChatMessage:
    """Return one turn of a chat."""
    return ChatMessage(speaker, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def list_lines(lines: tuple[str, ...]) -> str:
    """Return texts as a list for a prompt, one on a line; an empty one says so."""
    return "\n".join(f"- {line}" for line in lines) or "(none)"


def object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with these keys and no others."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def parse_json(text: str, kind: type[T], expected: str) -> T:
    """Read an answer that is JSON, bare or within one pair of ``` fences, with nothing before or after.

    Args:
        text: the answer.
        kind: what it must be; keys beyond those are skipped.
        expected: the same in words, for the model that has to repair it.

    Raises:
        ModelOutputError: it is anything else.
    """
    try:
        return msgspec.json.decode(_strip_fence(text), type=kind)
    except (ValueError, RecursionError) as error:  # what msgspec raises, and half a character in the text
        raise unexpected(f"{expected} ({error})", text) from error


def parse_prompt(prompt: str) -> str:
    """Return a prompt that a model wrote, without the space around it.

    Raises:
        ModelOutputError: it is empty, or longer than a prompt may be.
    """
    if not (prompt := prompt.strip()):
        raise unexpected("a prompt of at least one character", prompt)
    if len(prompt) > MAX_PROMPT_CHARS:
        raise ModelOutputError(f"expected a prompt of at most {MAX_PROMPT_CHARS} characters, got {len(prompt)}")
    return prompt


def unexpected(expected: str, text: str) -> ModelOutputError:
    """Return the error that says what was expected, and quotes how the answer began."""
    quoted = repr(text[:_MAX_QUOTED_CHARS]) + (" and more" if len(text) > _MAX_QUOTED_CHARS else "")
    return ModelOutputError(f"expected {expected}, got {quoted}")


async def _call(chat: ChatModel, request: ChatRequest) -> tuple[ChatReply, Spent]:
    """Return the model's reply and what it cost; what the server does not count stays 0."""
    begun = trio.current_time()
    reply = await chat.chat(request)
    return reply, Spent(
        seconds=trio.current_time() - begun,
        calls=reply.calls,
        prompt_tokens=reply.usage.get("prompt_tokens", 0),
        cached_tokens=reply.usage.get("cached_tokens", 0),
        completion_tokens=reply.usage.get("completion_tokens", 0),
        cost=reply.cost,
    )


def _read(reply: ChatReply, parse: Callable[[str], T], spent: Spent) -> ModelAnswer[T]:
    """Read a reply; half a character, which JSON can hold and no message can carry, makes it unreadable."""
    if _replace_half_characters(reply.text) != reply.text:
        raise unexpected("text in whole characters", reply.text)
    reasoning = _replace_half_characters(reply.reasoning[-MAX_REASONING_CHARS:])
    return ModelAnswer(parse(reply.text), reasoning, spent, reply.probabilities)


def _replace_half_characters(text: str) -> str:
    return text.encode(errors="replace").decode()


def _strip_fence(text: str) -> str:
    text = text.strip()
    if len(text) > 6 and text.startswith("```") and text.endswith("```"):
        info, _, body = text[3:-3].partition("\n")
        if info.strip().lower() in ("", "json"):
            return body
    return text
