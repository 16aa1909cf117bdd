"""Answers that many pages ask for again and again: each is computed once in a while, for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

AnswerT = TypeVar("AnswerT")


class _Entry(Generic[AnswerT]):
    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.answer: AnswerT | None = None
        self.until = 0.0


class SharedAnswers(Generic[AnswerT]):
    """The latest answers by what was asked for, and on whose behalf."""

    def __init__(self, kept_s: float) -> None:
        """Start empty; an answer is given for `kept_s` seconds after it was computed."""
        self._kept_s = kept_s
        self._entries: dict[Hashable, _Entry[AnswerT]] = {}

    def forget(self) -> None:
        """Have everything computed again."""
        self._entries.clear()

    async def get(self, key: Hashable, compute: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Return the answer for a key, computed now unless that was done a moment ago or is being done."""
        entry = self._entries.get(key)
        if entry is None:
            now = trio.current_time()
            for old in [old for old, known in self._entries.items() if known.until < now and not known.lock.locked()]:
                del self._entries[old]
            entry = self._entries[key] = _Entry()
        async with entry.lock:
            if entry.answer is None or entry.until < trio.current_time():
                entry.answer = None
                entry.answer = await compute()
                entry.until = trio.current_time() + self._kept_s
            return entry.answer
