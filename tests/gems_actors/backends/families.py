"""Answers of families of chat servers, as their documentation shows them, with one answer in words in each."""

from __future__ import annotations

from typing import Any, Final

ANSWER: Final = "yes, there is one left of the tree"
THOUGHT: Final = "No tree at first sight. Wait, there is one."

_USAGE: Final = {"prompt_tokens": 812, "completion_tokens": 9, "total_tokens": 821}


def _reply(message: dict[str, Any], choice: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a reply with one choice and what all servers send."""
    first = {"index": 0, "message": {"role": "assistant", "content": ANSWER, **message}, "finish_reason": "stop"}
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1764374400, "model": "m", "usage": _USAGE}
    return {**reply, "choices": [{**first, **choice}], **more}


FAMILIES: Final[dict[str, dict[str, Any]]] = {
    "vLLM": _reply(
        {
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [],
            "reasoning": None,
        },
        {"logprobs": None, "stop_reason": None, "token_ids": None},
        service_tier=None,
        system_fingerprint=None,
        prompt_logprobs=None,
        kv_transfer_params=None,
        usage={**_USAGE, "prompt_tokens_details": None},
    ),
    "SGLang": _reply(
        {"reasoning_content": None, "tool_calls": None},
        {"logprobs": None, "matched_stop": 151645},
        usage={**_USAGE, "prompt_tokens_details": None, "reasoning_tokens": 0},
        metadata={"weight_version": "default"},
    ),
    "llama.cpp": _reply(
        {},
        {},
        system_fingerprint="b6800-a1b2c3d",
        timings={"cache_n": 236, "prompt_n": 1, "prompt_ms": 30.958, "predicted_per_second": 33.42},
    ),
    "Ollama": _reply({}, {}, system_fingerprint="fp_ollama"),
    "OpenAI": _reply(
        {"refusal": None, "annotations": []},
        {"logprobs": None},
        usage={
            **_USAGE,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0},
        },
        service_tier="default",
        system_fingerprint="fp_44709d6fcb",
    ),
    "Azure": _reply(
        {"refusal": None},
        {"logprobs": None, "content_filter_results": {"violence": {"filtered": False, "severity": "safe"}}},
        prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {"jailbreak": {"detected": False}}}],
    ),
    "LiteLLM before Anthropic": _reply(
        {
            "tool_calls": None,
            "function_call": None,
            "provider_specific_fields": {"citations": None},
            "reasoning_content": THOUGHT,
            "thinking_blocks": [{"type": "thinking", "thinking": THOUGHT, "signature": "EqoBCkgIARABGAIiQL"}],
        },
        {},
        usage={
            **_USAGE,
            "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 0, "text_tokens": None},
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    ),
    "Mistral": _reply(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}], "closed": True},
                {"type": "text", "text": ANSWER},
            ],
            "tool_calls": None,
            "prefix": False,
        },
        {},
    ),
    "DeepSeek": _reply(
        {"reasoning_content": THOUGHT},
        {"logprobs": None},
        usage={**_USAGE, "prompt_cache_hit_tokens": 512, "prompt_cache_miss_tokens": 300},
    ),
    "OpenRouter": _reply(
        {"refusal": None, "reasoning": THOUGHT, "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]},
        {"native_finish_reason": "STOP", "logprobs": None},
        provider="Google",
        usage={**_USAGE, "cost": 0.00014, "is_byok": False},
    ),
}

LOGPROBS: Final[dict[str, Any]] = {
    "content": [
        {
            "token": "yes",
            "logprob": -0.05,
            "bytes": [121, 101, 115],
            "top_logprobs": [
                {"token": "yes", "logprob": -0.05, "bytes": [121, 101, 115]},
                {"token": "no", "logprob": -3.2, "bytes": None},
                {"token": "Un", "logprob": -9999.0, "bytes": None},
            ],
        }
    ],
    "refusal": None,
}
"""Probabilities of the first token of `ANSWER`."""
