"""How a role uses a chat model: render a prompt, ask, parse the answer, and let the model repair it once.

What has one meaning is read: JSON among words or in fences, a trailing comma, a line break within a string. Anything
else is an error. Nothing here knows what any role asks.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
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

REMEDY: Final = (
    "asked twice; use a larger model, or a server that follows JSON schemas; a model that thinks aloud needs the "
    "reasoning parser of its server"
)

MAX_REASONING_CHARS: Final = 16_000
"""Maximum length of the reasoning that is kept, because all rounds of a trajectory travel in one message."""

_MAX_QUOTED_CHARS = 200
_MAX_VALUES = 100
"""Maximum brackets in an answer at which JSON may begin."""
_NONE_WORDS: Final = frozenset(("", "null", "none", "nil", "undefined", "n/a", "-"))
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_COMMA: Final = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_OPENING: Final = re.compile(r"[{\[]")
_BRACKET: Final = re.compile(rf"{_STRING}|[{{}}\[\]]", re.DOTALL)
_log = structlog.get_logger()


class ModelAnswer(NamedTuple, Generic[T]):
    """The parsed answer of a chat model."""

    value: T
    reasoning: str
    """The end of the model's reasoning, which has the conclusion; empty if the model returns none."""
    spent: Spent
    """Cost of one call, or of two if the answer had to be repaired."""
    probabilities: Mapping[str, float] = {}
    """Probability of each of the request's choices; empty if the model returns none."""


class ChatActor(Actor):
    """An actor with an open chat model."""

    default_capacity = 64  # more than most servers take at once: the backend applies their limit
    chat: ChatModel
    _is_open = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep the role's chat model open."""
        async with open_chat_model(self.config, self.role) as self.chat:
            self._is_open = True
            yield

    def figures(self) -> dict[str, float]:
        """Return the figures of the chat model."""
        return self.chat.figures()

    def note(self) -> str:
        """Return what is currently wrong with the chat model."""
        return self.chat.note() if self._is_open else ""


async def ask_model(
    chat: ChatModel,
    request: ChatRequest,
    parse: Callable[[str], T],
    parse_repaired: Callable[[str], T] | None = None,
) -> ModelAnswer[T]:
    """Ask a chat model and parse its answer; if it is unusable, show the model the problem and ask once more.

    The second request also asks for another temperature than 0, and is the last.

    Args:
        chat: the chat model.
        request: the request.
        parse: parses the answer; its `ModelOutputError` names what was expected and what the model answered.
        parse_repaired: parses the second answer, if a role accepts less then; by default `parse`.

    Raises:
        BackendError: the model could not be asked.
        ModelOutputError: the second answer is unusable too; the message says what helps.
    """
    if is_interactive():
        request = replace(request, interactive=True)
    said, spent = "", Spent()
    try:
        reply, spent = await _call(chat, request)
        said = _replace_surrogates(reply.text)
        return _read(reply, parse, spent)
    except ModelOutputError as error:
        problem = str(error)
    repair = (
        say("assistant", said if said.strip() else "(no words)"),  # servers refuse an empty turn
        say("user", render(REPAIR, problem=problem)),
    )
    try:
        reply, again = await _call(chat, replace(request, messages=(*request.messages, *repair), vary=True))
        answer = _read(reply, parse_repaired or parse, sum_spent(spent, again))
    except ModelOutputError as error:
        raise ModelOutputError(
            f"{error} ({REMEDY if 'reasoning parser' not in str(error) else 'asked twice'})"
        ) from error
    _log.warning("model_output_repaired", task=request.task, problem=problem)
    return answer


def render(template: str, **values: str) -> str:
    """Fill in the `$names` of a template; `$` and braces within values have no meaning."""
    return string.Template(template).substitute(values)


def say(speaker: Literal["system", "user", "assistant"], *parts: str | ImagePart) -> ChatMessage:
    """Return one turn of a chat."""
    return ChatMessage(speaker, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def list_lines(lines: tuple[str, ...]) -> str:
    """Return texts as a list for a prompt, one per line; `(none)` if it is empty."""
    return "\n".join(f"- {line}" for line in lines) or "(none)"


def object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with exactly these keys, all required."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def parse_json(text: str, kind: type[T], expected: str) -> T:
    """Parse an answer that is JSON, bare or within ``` fences, or that has one JSON object or list among its words.

    Args:
        text: the answer.
        kind: expected type; unknown keys are ignored.
        expected: description of that type, for the model that has to repair the answer.

    Raises:
        ModelOutputError: the answer has no such JSON, or several that differ.
    """
    try:
        return _decode(_strip_fence(text), kind)
    except (ValueError, RecursionError) as error:  # errors of msgspec, and lone surrogates in the text
        problem = error
    found: list[T] = []
    for candidate in _values_in(text):
        try:
            found.append(_decode(candidate, kind))
        except (ValueError, RecursionError):
            if candidate.startswith("{"):  # which of them is meant, nobody can tell
                raise unexpected(f"{expected} ({problem})", text) from problem
    if not found or any(value != found[0] for value in found):
        reason = f"{len(found)} of them differ" if found else problem
        raise unexpected(f"{expected} ({reason})", text) from problem
    return found[0]


def parse_prompt(prompt: str) -> str:
    """Return a prompt that a model wrote, without surrounding white space.

    Raises:
        ModelOutputError: the prompt is empty or too long, or the `...` of the instructions.
    """
    if not (prompt := prompt.strip()):
        raise unexpected("a prompt of at least one character", prompt)
    if not prompt.strip(".… "):
        raise repeated_example(prompt)
    if len(prompt) > MAX_PROMPT_CHARS:
        raise ModelOutputError(f"expected a prompt of at most {MAX_PROMPT_CHARS} characters, got {len(prompt)}")
    return prompt


def is_none_word(text: str) -> bool:
    """Return whether a text is a word for nothing that models write in place of null."""
    return text.strip().lower() in _NONE_WORDS


def repeated_example(text: str) -> ModelOutputError:
    """Return the error for an answer that repeats the example of the instructions, which models too small do."""
    return unexpected("an answer about the request, not one that repeats the example of the instructions", text)


def unexpected(expected: str, text: str) -> ModelOutputError:
    """Return an error that says what was expected and quotes the beginning of the answer."""
    quoted = repr(text[:_MAX_QUOTED_CHARS]) + (" and more" if len(text) > _MAX_QUOTED_CHARS else "")
    return ModelOutputError(f"expected {expected}, got {quoted}")


async def _call(chat: ChatModel, request: ChatRequest) -> tuple[ChatReply, Spent]:
    """Return the model's reply and its cost; tokens that the server does not count are 0."""
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
    """Parse a reply; lone surrogates, which JSON can contain and messages cannot carry, are an error."""
    if _replace_surrogates(reply.text) != reply.text:
        raise unexpected("text in whole characters", reply.text)
    reasoning = _replace_surrogates(reply.reasoning[-MAX_REASONING_CHARS:])
    return ModelAnswer(parse(reply.text), reasoning, spent, reply.probabilities)


def _replace_surrogates(text: str) -> str:
    return text.encode(errors="replace").decode()


def _decode(text: str, kind: type[T]) -> T:
    """Parse JSON; if it is malformed, without its trailing commas and with the line breaks in its strings."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        bare = _COMMA.sub(lambda part: "" if part[0] == "," else part[0], text)
        try:
            return msgspec.convert(json.loads(bare, strict=False, parse_constant=_refuse_constant), type=kind)
        except json.JSONDecodeError:
            pass
        raise


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected a number, got {name}")


def _values_in(text: str) -> Iterator[str]:
    """Yield what may be the outermost JSON objects and lists in a text, up to some number; the last may be cut."""
    position = 0
    for _ in range(_MAX_VALUES):
        if (start := _OPENING.search(text, position)) is None:
            return
        position = _end_of_value(text, start.start())
        yield text[start.start() : position]


def _end_of_value(text: str, start: int) -> int:
    """Return where the bracket at a position is closed, or the end of the text."""
    depth = 0
    for part in _BRACKET.finditer(text, start):
        if part[0] in "{[":
            depth += 1
        elif part[0] in "}]":
            depth -= 1
            if not depth:
                return part.end()
    return len(text)


def _strip_fence(text: str) -> str:
    text = text.strip()
    if len(text) > 6 and text.startswith("```") and text.endswith("```"):
        info, _, body = text[3:-3].partition("\n")
        if info.strip().lower() in ("", "json"):
            return body
    return text
