"""The words of a chat model, as each role parses them: the first byte chooses the role."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from actors.prompting import parse_json, parse_prompt
from gems_actors.errors import ModelOutputError


class _Shape(msgspec.Struct):
    prompt: str
    scores: list[float] = []
    links: dict[str, list[int]] = {}


def seeds() -> list[bytes]:
    """Return answers, bare, among words, in fences, with the mistakes of small models."""
    answers = ['{"prompt": "a fox", "scores": [0.5, 1], "links": {"a": [1]}}', '```json\n{"prompt": "a",}\n```']
    answers += [
        'Sure! {"prompt": "a\nb"} I hope [that] helps.',
        '{"prompt": "a"} or {"prompt": "b"}',
        '["a", "b",]',
        "7",
        "...",
    ]
    return [answer.encode() for answer in answers]


def check(data: bytes) -> None:
    """Parse an answer in each way that the roles do."""
    text = data.decode(errors="surrogateescape").encode(errors="replace").decode()
    for kind in (_Shape, list[str], dict[str, float], int):
        with suppress(ModelOutputError):
            parse_json(text, kind, "something")
    with suppress(ModelOutputError):
        parse_prompt(text)
