"""Part a model's thinking from its answer, where the server leaves both in one text.

Servers part them if they are started with the reasoning parser of the model; many are not. All formats are in one
table. Pure.

Source: the reasoning parsers of vLLM (docs.vllm.ai, Reasoning Outputs) and SGLang (docs.sglang.ai, Reasoning Parser);
the harmony format of gpt-oss (cookbook.openai.com/articles/openai-harmony); the chat templates of the models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

REMEDY: Final = (
    "start the server with the reasoning parser of its model (vLLM and SGLang: --reasoning-parser, llama.cpp: "
    "--reasoning-format auto), allow more tokens, or set thinking = false for this model"
)


class UnfinishedThinkingError(ValueError):
    """A text begins to think and never comes to an answer."""


@dataclass(frozen=True, slots=True)
class _Format:
    """Marks of one format; the first mark is matched where the text begins, the second anywhere after it."""

    models: str
    opening: str
    closing: str
    label: str = ""
    """What some models write first within the marks."""
    may_begin_inside: bool = True
    """Whether chat templates open the thinking, so that the text has the closing mark alone."""


_FORMATS: Final = (
    _Format("Qwen3, QwQ, DeepSeek, GLM, MiniMax, EXAONE 4, Hunyuan, ERNIE, Step3, Nemotron", "<think>", "</think>"),
    _Format("Kimi-VL Thinking, Kimi Thinking", "◁think▷", "◁/think▷"),
    _Format("Kimi K3", "<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    _Format("Magistral, Ministral", "[THINK]", "[/THINK]"),
    _Format("Seed-OSS", "<seed:think>", "</seed:think>"),
    _Format("MiniMax M3", "<mm:think>", "</mm:think>"),
    _Format("LongCat", "<longcat_think>", "</longcat_think>"),
    _Format("Gemma 4", "<|channel>", "<channel|>", label="thought"),
    _Format("MedGemma", "<unused94>", "<unused95>", label="thought"),
    _Format("openPangu", "[unused16]", "[unused17]"),
    _Format("Command A Reasoning", "<|START_THINKING|>", "<|END_THINKING|>"),
    _Format("Apertus", "<|inner_prefix|>", "<|inner_suffix|>"),
    _Format("Solar Open", "<|think|>", "<|end|><|begin|>assistant<|content|>"),
    _Format("EXAONE Deep", "<thought>", "</thought>"),
    _Format("models told to think in a tag", "<thinking>", "</thinking>"),
    _Format("models told to think in a tag", "<reasoning>", "</reasoning>"),
    _Format("Keye-VL", "<analysis>", "</analysis>"),
    _Format("Granite 3.2", "Here is my thought process:", "Here is my response:", may_begin_inside=False),
    _Format("Granite 3.2, quantized", "Here's my thought process:", "Here's my response:", may_begin_inside=False),
    _Format("gpt-oss without its special tokens", "analysis", "assistantfinal", may_begin_inside=False),
)
_WORDS: Final = ("analysis",)
"""Openings that are also ordinary words, so that a text without the closing mark may well be an answer."""

_WRAPPERS: Final = (
    ("<answer>", "</answer>"),  # Hunyuan, GLM-4.1V
    ("<response>", "</response>"),  # Granite 3.3
    ("<|begin_of_box|>", "<|end_of_box|>"),  # GLM-V
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|START_TEXT|>", "<|END_TEXT|>"),
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
)
"""Marks around an answer, by which some models tell it from their thinking."""

_ENDS: Final = (
    *(
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|endoftext|>",
        "<|end_of_text|>",
    ),
    *("<|END_OF_TURN_TOKEN|>", "<|user|>", "<|close|>message<|sep|>", "<end_of_turn>", "<eos>", "</s>"),
)
"""Special tokens that some servers leave at the end of a text."""
_MAX_ENDS: Final = 8

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_MAX_PARTS: Final = 64
"""Maximum pieces of thinking before an answer."""

_HARMONY: Final = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
"""A message of gpt-oss: its channel and its text."""


def part_thinking(text: str) -> tuple[str, str]:
    """Return the thinking in a text, empty if there is none, and the answer.

    Marks within JSON are part of the answer: a prompt may ask for a sign that reads `</think>`.

    Raises:
        UnfinishedThinkingError: the thinking does not end, so there is no answer.
    """
    thoughts: list[str] = []
    for _ in range(_MAX_PARTS):
        if not _is_json(text) and (said := _HARMONY.findall(text)):
            begin = text.partition("<|channel|>")[0].removesuffix("<|start|>assistant").removesuffix("<|end|>")
            thoughts += [begin, *(words for channel, words in said if channel != "final")]
            if not (final := [words for channel, words in said if channel == "final"]):
                raise UnfinishedThinkingError(_quote(said[-1][1]))
            return _join(thoughts), _unwrap("".join(final))
        marks = _STRING.sub(lambda string: "-" * len(string[0]), text) if _is_json(text) else text
        if (format_ := _format_of(marks)) is None:
            return _join(thoughts), _unwrap(text)
        if (end := marks.find(format_.closing)) < 0:
            raise UnfinishedThinkingError(_quote(text))
        thought = text[:end].strip().removeprefix(format_.opening).strip()
        thoughts.append(thought.removeprefix(format_.label))
        text = text[end + len(format_.closing) :]
    raise UnfinishedThinkingError(_quote(text))


def _format_of(text: str) -> _Format | None:
    """Return the format in which a text thinks; None if it does not."""
    begin = text.lstrip()
    for format_ in _FORMATS:
        if begin.startswith(format_.opening) and (format_.closing in text or format_.opening not in _WORDS):
            return format_
    marked = [
        (at, format_)
        for format_ in _FORMATS
        for mark in (format_.opening, format_.closing)
        if format_.may_begin_inside and (at := text.find(mark)) >= 0
    ]
    return min(marked, key=lambda found: found[0])[1] if marked else None


def _unwrap(text: str) -> str:
    text = _cut_ends(text)
    for opening, closing in _WRAPPERS:
        if (begin := text.lstrip()).startswith(opening):
            text = _cut_ends(begin.removeprefix(opening).partition(closing)[0])
    return text


def _cut_ends(text: str) -> str:
    for _ in range(_MAX_ENDS):
        if (end := next(filter(text.rstrip().endswith, _ENDS), None)) is None:
            break
        text = text.rstrip().removesuffix(end)
    return text


def _is_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "[{", "[]", "```"))


def _join(thoughts: Iterable[str]) -> str:
    return "\n\n".join(filter(None, (thought.strip() for thought in thoughts)))


def _quote(text: str) -> str:
    return repr(text.strip()[:100])
