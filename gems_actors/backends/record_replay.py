"""A chat model that records requests and replies to a file, and one that replays them without a server.

A recording is JSON lines, one per request, so that the usual tools can read, cut and join it. A request is identified
by its text and the digests of its pictures: the same request gets the same reply.
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
from gems_actors.errors import BackendError, ConfigError, ModelOutputError, RefusedError
from gems_actors.files import open_regular, os_reason


class _Recorded(msgspec.Struct, frozen=True):
    """One line of a recording."""

    key: str
    task: str
    reply: ChatReply
    messages: list[Any] = []
    """Messages for people to read; replay looks only at the key."""
    failure: str = ""
    """Why the model's output was unusable; the model was asked again in other words."""


class RecordingChatModel:
    """Wraps a chat model and records its replies."""

    def __init__(self, model: ChatModel, descriptor: int) -> None:
        """Append lines to an open file, which several processes may share."""
        self._model, self._descriptor = model, descriptor

    def figures(self) -> dict[str, float]:
        """Return the model's measurements."""
        return self._model.figures()

    def note(self) -> str:
        """Return the model's note."""
        return self._model.note()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer after writing it to the file.

        Raises:
            RequestError: the model failed; only failures that the role answers by another request are recorded.
            BackendError: the recording cannot be written.
        """
        try:
            reply = await self._model.chat(request)
        except ModelOutputError as error:
            self._record(request, ChatReply(""), str(error))
            raise
        self._record(request, reply)
        return reply

    def _record(self, request: ChatRequest, reply: ChatReply, failure: str = "") -> None:
        line = _Recorded(key_of(request), request.task, reply, _turns_of(request), failure)
        data = msgspec.json.encode(line) + b"\n"
        try:
            written = os.write(self._descriptor, data)  # one write keeps the line whole
        except OSError as error:
            raise BackendError(f"chat.record: expected to append {len(data)} bytes: {os_reason(error)}") from error
        if written != len(data):
            raise BackendError(f"chat.record: expected to append {len(data)} bytes, got {written}: its disk is full")


@contextmanager
def open_recording(path: Path) -> Iterator[int]:
    """Open a recording for appending; the descriptor is closed on exit.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # else a named pipe would block
        descriptor = os.open(path, flags, 0o660)  # without the bits of the umask
    except OSError as error:
        raise ConfigError(f"chat.record: {path}: expected a writable file: {os_reason(error)}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class ReplayChatModel:
    """Answers from a recording; a request repeated more often than recorded gets its last answer again."""

    def __init__(self, path: Path) -> None:
        """Read the recording.

        Raises:
            ConfigError: the file cannot be read, or a line does not belong to a recording.
        """
        self._path = path
        self._answers: dict[str, list[_Recorded]] = {}
        try:
            with open_regular(path) as lines:
                for number, line in enumerate(lines, 1):
                    if line.endswith(b"\n"):  # otherwise its writer was killed in the middle of the line
                        recorded = _read_line(path, number, line)
                        self._answers.setdefault(recorded.key, []).append(recorded)
        except OSError as error:
            raise ConfigError(f"chat.replay: {path}: expected a recording: {os_reason(error)}") from error

    def figures(self) -> dict[str, float]:
        """Return the number of distinct requests in the recording."""
        return {"recorded": len(self._answers)}

    def note(self) -> str:
        """Return nothing: there is no server."""
        return ""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the recorded answer.

        Raises:
            RefusedError: the request was not recorded.
            ModelOutputError: the recorded output was unusable.
        """
        answers = self._answers.get(key_of(request))
        if answers is None:
            text = " ".join(part.text for part in request.messages[-1].parts if isinstance(part, TextPart))
            raise RefusedError(f"{self._path}: expected a recorded {request.task} request, got {text[:200]!r}")
        recorded = answers.pop(0) if len(answers) > 1 else answers[0]
        if recorded.failure:
            raise ModelOutputError(recorded.failure)
        return recorded.reply


def key_of(request: ChatRequest) -> str:
    """Return the identity of a request: the SHA-256 of its task, text and pictures."""
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
