"""The body of a chat server's answer, and the thinking in its text."""

from __future__ import annotations

import json
import math
from contextlib import suppress

from gems_actors.backends.chat_answers import UnreadableAnswerError, read_answer
from gems_actors.backends.thinking import UnfinishedThinkingError, part_thinking


def seeds() -> list[bytes]:
    """Return answers of several servers."""
    first = {"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "yes", "logprob": -0.1}]}
    texts = ["a fox", "<think>hm</think>yes", "<|channel|>analysis<|message|>hm<|end|><|channel|>final<|message|>yes"]
    texts += ["[THINK]hm[/THINK]{}", '{"answer": "</think>"}', "<|begin_of_box|>yes<|end_of_box|>", "```json\n{}\n```"]
    answers = [
        {
            "choices": [{"message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": [first]}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": "4", "prompt_tokens_details": {"cached_tokens": 1e3}},
        }
        for text in texts
    ]
    parts = [
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": [{"text": "b"}]},
        {"type": "refusal", "refusal": "c"},
    ]
    answers.append({"choices": [{"message": {"content": parts, "tool_calls": [{"function": {"name": "f"}}]}}]})
    piece = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}
    stream = f"data: {json.dumps(piece)}\n\ndata: [DONE]\n".encode()
    return [*(json.dumps(answer).encode() for answer in answers), stream, b"<html>busy</html>"]


def check(data: bytes) -> None:
    """Read an answer as a backend does."""
    with suppress(UnreadableAnswerError, UnfinishedThinkingError):
        answer = read_answer(data)
        assert all(0 <= count <= 10**12 for count in answer.usage.values())
        chances = (answer.first_tokens or {}).values()
        assert all(math.isfinite(chance) and chance >= 0 for chance in chances)
        thinking, text = part_thinking(answer.text)
        assert len(thinking) + len(text) <= 2 * len(answer.text) + 100
