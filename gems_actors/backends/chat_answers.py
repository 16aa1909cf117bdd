"""Read the answers of servers with OpenAI's chat completions: strict on what is needed, lenient on all else. Pure.

Needed is `choices[0].message.content`, as text or as a list of parts. Usage, probabilities and thinking are read where
they have the documented form and count as not given elsewhere, so that no odd optional field costs a good answer.

Source: platform.openai.com, POST /v1/chat/completions, and the answers that the documentation of vLLM, SGLang,
llama.cpp, Ollama, Mistral, DeepSeek, Moonshot, OpenRouter, LiteLLM and Azure shows.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_TRUNCATED: Final = frozenset(
    ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "content_length")
)
_REFUSED: Final = frozenset(
    (
        *("content_filter", "content_filtered", "safety", "image_safety", "prohibited_content", "blocklist", "spii"),
        *("recitation", "sensitive", "refusal", "guardrail_intervened"),
    )
)
_BROKEN: Final = frozenset(
    ("error", "abort", "aborted", "cancelled", "canceled", "network_error", "insufficient_system_resource")
)
"""Why an answer ended before its own end, in lower case: some gateways pass on the names of other APIs."""

_NEEDED: Final = 'JSON with an answer in "choices"'

_USAGE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "prompt_tokens": (("prompt_tokens",), ("input_tokens",)),
    "completion_tokens": (("completion_tokens",), ("output_tokens",)),
    "cached_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),
        ("cache_read_input_tokens",),
        ("cached_tokens",),
    ),
}
"""Where servers report each count, the first one found."""
_MAX_TOKENS: Final = 10**12
"""Largest plausible token count; larger ones count as not reported."""
_MAX_MASS: Final = 1.1
"""Largest total of the probabilities of different tokens, with some rounding; above it they are something else."""
_MAX_LOGPROB: Final = 0.01
"""Largest logarithm of a probability, with some rounding."""


class UnreadableAnswerError(ValueError):
    """A body has no answer; `expected` says what it lacks, and `body` is the part of it that shows this."""

    def __init__(self, expected: str, body: bytes) -> None:
        super().__init__(expected)
        self.expected, self.body = expected, body


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """One answer of a server, with nothing judged about its words yet."""

    text: str
    reasoning: str = ""
    """The thinking that the server parted from the text."""
    refusal: str = ""
    """Why the model or a filter refused to answer; empty if neither did."""
    is_truncated: bool = False
    """Whether the answer ended at the token limit."""
    finish_reason: str = ""
    tool: str = ""
    """Name of the tool that the model called instead of answering."""
    usage: Counter[str] = field(default_factory=Counter)
    """Token counts: `prompt_tokens`, `completion_tokens`, `cached_tokens`; those not reported are missing."""
    first_tokens: Mapping[str, float] | None = None
    """Probabilities of the likeliest first tokens, as the server spells them; None if it gave none that can be used."""


def read_answer(body: bytes) -> ChatAnswer:
    """Return the first answer in the body of a reply.

    Raises:
        UnreadableAnswerError: the body has no answer.
    """
    try:
        reply = _decode(body)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError among them
        raise error if isinstance(error, UnreadableAnswerError) else UnreadableAnswerError(_NEEDED, body) from error
    choice = _first(reply.get("choices"))
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UnreadableAnswerError(_NEEDED, body)
    reason = _text_of(choice.get("finish_reason")).strip()
    if reason.lower() in _BROKEN:
        raise UnreadableAnswerError(f"a whole answer, not one with finish_reason {reason}", body)
    if (read := _read_content(message.get("content"))) is None:
        raise UnreadableAnswerError("an answer in words", body)
    text, thoughts, refusals = read
    parted = (_text_of(message.get(key)) for key in ("reasoning_content", "reasoning", "thinking"))
    reasoning = next(filter(None, parted), thoughts)
    return ChatAnswer(
        text,
        reasoning,
        _refusal_of(message.get("refusal")) or refusals or (reason if reason.lower() in _REFUSED else ""),
        is_truncated=reason.lower() in _TRUNCATED,
        finish_reason=reason,
        tool=_tool_of(message),
        usage=_usage_of(reply.get("usage")),
        first_tokens=None if reasoning else _first_tokens_of(choice.get("logprobs")),  # else they are the thinking's
    )


def _decode(body: bytes) -> dict[str, Any]:
    """Return the reply in a body: JSON, or the events of a stream that was not asked for, put together."""
    text = body.decode("utf-8-sig").strip()
    if text.startswith(("data:", "event:", ":", "id:", "retry:")):
        return _join_events(text)
    reply = json.loads(text)  # unlike msgspec it reads -Infinity, which Python servers send for a logprob
    return reply if isinstance(reply, dict) else {}


def _join_events(text: str) -> dict[str, Any]:
    """Return the reply whose pieces the events of a stream carry."""
    content, reasoning, refusal, tokens = [], [], [], []
    reply: dict[str, Any] = {}
    finish_reason = None
    for event in _events_in(text):
        if event.get("error"):
            raise UnreadableAnswerError(_NEEDED, json.dumps(event).encode())
        reply["usage"] = event.get("usage") or reply.get("usage")
        choice = _first(event.get("choices"))
        finish_reason = choice.get("finish_reason") or finish_reason
        if isinstance(delta := choice.get("delta") or choice.get("message"), dict):
            content.append((_read_content(delta.get("content")) or ("",))[0])
            reasoning.append(_text_of(delta.get("reasoning_content")) or _text_of(delta.get("reasoning")))
            refusal.append(_text_of(delta.get("refusal")))
        if isinstance(logprobs := choice.get("logprobs"), dict) and isinstance(logprobs.get("content"), list):
            tokens += logprobs["content"]
    if finish_reason is None:
        raise UnreadableAnswerError("a whole answer, not a stream without its end", text[-300:].encode())
    message = {"content": "".join(content), "reasoning": "".join(reasoning), "refusal": "".join(refusal)}
    logprobs = {"content": tokens}
    return {**reply, "choices": [{"message": message, "finish_reason": finish_reason, "logprobs": logprobs}]}


def _events_in(text: str) -> Iterator[dict[str, Any]]:
    for line in text.split("\n"):  # not splitlines: JSON may contain other separators
        name, _, data = line.partition(":")
        if name == "data" and data.strip() not in ("", "[DONE]"):
            event = json.loads(data)
            if isinstance(event, dict):
                yield event


def _first(choices: object) -> dict[str, Any]:
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def _read_content(content: object) -> tuple[str, str, str] | None:
    """Return the text, the thinking and the refusal in the content of a message; None if it has another form."""
    if content is None or isinstance(content, str):
        return content or "", "", ""
    parts = content if isinstance(content, list) else [content]
    texts, thoughts, refusals = [], [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            return None
        elif part.get("type") in ("thinking", "reasoning", "redacted_thinking"):
            thoughts.append(_text_of(part.get("thinking")) or _text_of(part.get("text")))
        elif part.get("type") == "refusal":
            refusals.append(_refusal_of(part.get("refusal")))
        elif isinstance(text := part.get("text"), str):
            texts.append(text)
        elif not isinstance(content, list):
            return None
    return "".join(texts), "".join(thoughts), "".join(refusals)


def _text_of(value: object) -> str:
    """Return a text, or the texts of a list of parts; empty for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text_of(part.get("text")) for part in value if isinstance(part, dict))
    return ""


def _refusal_of(value: object) -> str:
    return "no reason is given" if value is True else _text_of(value).strip()


def _tool_of(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else None
    called = call.get("function") if isinstance(call, dict) else message.get("function_call")
    if not isinstance(called, dict):
        return "a tool" if call else ""
    return _text_of(called.get("name"))[:100] or "a tool"


def _usage_of(usage: object) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, paths in _USAGE.items():
        for path in paths:
            if (count := _count_at(usage, path)) is not None:
                found[name] = count
                break
    return found


def _count_at(tree: object, path: tuple[str, ...]) -> int | None:
    """Return the count at a path, rounded; None if there is no number of tokens."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    if (number := _number_of(tree)) is None or not 0 <= number <= _MAX_TOKENS:
        return None
    return round(number)


def _number_of(value: object) -> float | None:
    """Return a number, also one that is written as text; None for anything else, NaN among it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _first_tokens_of(logprobs: object) -> dict[str, float] | None:
    """Return the probabilities of the first tokens; None if they are missing or cannot be probabilities."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    top = first.get("top_logprobs") if isinstance(first, dict) else None
    if not isinstance(top, list) or not (found := dict(_chances_of(top))):
        return None
    found.update(_chances_of([first]))
    return found if 0.0 < sum(found.values()) <= _MAX_MASS else None


def _chances_of(entries: Iterable[object]) -> Iterator[tuple[str, float]]:
    """Yield tokens with their probabilities, infinity where a number cannot be the logarithm of one."""
    for entry in entries:
        token, logprob = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if isinstance(token, str) and not isinstance(logprob, str) and (number := _number_of(logprob)) is not None:
            yield token, math.exp(min(number, 0.0)) if number <= _MAX_LOGPROB else math.inf
