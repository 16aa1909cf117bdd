"""A role of your own: translates prompts into English, before they are planned and for everyone who asks."""

from __future__ import annotations

from typing import ClassVar

from gems_actors import Actor, BeforePlan, PreparedPrompt, Reply, Request, answers

WORDS = {"ein": "a", "eine": "a", "rote": "red", "roter": "red", "und": "and", "fuchs": "fox", "katze": "cat"}


class Translation(Reply, frozen=True, kw_only=True):
    """An English text."""

    text: str


class TranslatePrompt(Request[Translation], frozen=True, kw_only=True):
    """Asks for a text in English."""

    role: ClassVar[str] = "translator"
    text: str


class Translator(Actor):
    """Answers from a dictionary; a real one would ask a model that it opens in `open`."""

    role = "translator"
    default_capacity = 16

    @answers
    async def translate(self, request: TranslatePrompt) -> Translation:
        """Return the text in English."""
        return Translation(text=in_english(request.text))

    @answers
    async def before_plan(self, request: BeforePlan) -> PreparedPrompt:
        """Return the prompt that the loop works with; the record of the picture keeps the user's own."""
        return PreparedPrompt(prompt=in_english(request.prompt), version="1")


def in_english(text: str) -> str:
    """Return a text with every word replaced that the dictionary has."""
    return " ".join(WORDS.get(word.lower(), word) for word in text.split())
