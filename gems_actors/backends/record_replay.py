"""Chat models that write down what they are asked and answer, and one that answers from what was written down.

One question is one line of JSON, so that a recording can be read, cut and joined with the usual tools. A question is
known by its words and by the digests of its pictures: whatever asks the same is answered the same, without a server.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gems_actors.backends import ChatModel, ChatReply, ChatRequest, TextPart
from gems_actors.errors import ConfigError, RefusedError


class _Recorded(msgspec.Struct, frozen=True):
    """One line."""

    key: str
    task: str
    reply: ChatReply
    messages: list[Any] = []
    """For people; only the key decides."""


class RecordingChatModel:
    """A chat model whose answers are kept."""

    def __init__(self, model: ChatModel, descriptor: int) -> None:
        """Add lines to an open file; several processes may have the same one."""
        self._model, self._descriptor = model, descriptor

    def figures(self) -> dict[str, float]:
        """Return what the model reports."""
        return self._model.figures()

    def note(self) -> str:
        """Return what the model says."""
        return self._model.note()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer, once it is in the file.

        Raises:
            RequestError: the model's own failure, which is not kept.
        """
        reply = await self._model.chat(request)
        line = _Recorded(key_of(request), request.task, reply, _turns_of(request))
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")  # one write, so that lines stay whole
        return reply


@contextmanager
def open_recording(path: Path) -> Iterator[int]:
    """Open a recording to add to.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"chat.record: {path}: expected a file that can be written: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class ReplayChatModel:
    """Answers from a recording; a question asked more often than it was recorded has its last answer again."""

    def __init__(self, path: Path) -> None:
        """Read the recording.

        Raises:
            ConfigError: it is not there, or a line is none of a recording.
        """
        self._path = path
        self._answers: dict[str, list[ChatReply]] = {}
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.endswith(b"\n"):  # else the end of one that was cut off when its writer was killed
                        recorded = _read_line(path, number, line)
                        self._answers.setdefault(recorded.key, []).append(recorded.reply)
        except OSError as error:
            raise ConfigError(f"chat.replay: {path}: expected a recording: {error.strerror}") from error

    def figures(self) -> dict[str, float]:
        """Return how many questions it can answer."""
        return {"recorded": len(self._answers)}

    def note(self) -> str:
        """Return nothing: there is no server."""
        return ""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the answer that was recorded.

        Raises:
            RefusedError: there is none.
        """
        answers = self._answers.get(key_of(request))
        if answers is None:
            said = " ".join(part.text for part in request.messages[-1].parts if isinstance(part, TextPart))
            raise RefusedError(f"{self._path}: expected an answer to this {request.task}, got none: {said[:200]!r}")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def key_of(request: ChatRequest) -> str:
    """Return what tells a question from all others: the SHA-256 of its task, words and pictures."""
    return hashlib.sha256(msgspec.json.encode([request.task, _turns_of(request)])).hexdigest()


def _turns_of(request: ChatRequest) -> list[Any]:
    return [
        [
            message.speaker,
            *(
                part.text if isinstance(part, TextPart) else {"sha256": hashlib.sha256(part.data).hexdigest()}
                for part in message.parts
            ),
        ]
        for message in request.messages
    ]


def _read_line(path: Path, number: int, line: bytes) -> _Recorded:
    try:
        return msgspec.json.decode(line, type=_Recorded)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"chat.replay: {path}:{number}: expected a line of a recording: {error}") from error
