"""What a chat model said, kept and said again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.factory import open_chat_model
from gems_actors.backends.record_replay import RecordingChatModel, ReplayChatModel, open_recording
from gems_actors.config import ChatConfig, MeshConfig
from gems_actors.errors import BackendError, ConfigError, RefusedError
from tests.actors.fakes import FakeChat


def question(text: str = "Is it red?", picture: bytes = b"a picture") -> ChatRequest:
    parts = (ImagePart(picture, "image/png"), TextPart(text))
    return ChatRequest("verify", {"question": text}, (ChatMessage("user", parts),))


def record(path: Path, chat: FakeChat, *requests: ChatRequest) -> list[ChatReply]:
    async def main() -> list[ChatReply]:
        with open_recording(path) as descriptor:
            model = RecordingChatModel(chat, descriptor)
            return [await model.chat(request) for request in requests]

    return trio.run(main)


def replay(path: Path, *requests: ChatRequest) -> list[ChatReply]:
    async def main() -> list[ChatReply]:
        model = ReplayChatModel(path)
        return [await model.chat(request) for request in requests]

    return trio.run(main)


def test_what_was_said_is_said_again_to_the_same_words_and_pictures(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    scored = ChatReply("yes", "I see red.", {"prompt_tokens": 9}, 2, 0.5, {"yes": 0.75, "no": 0.25, "unsure": 0.0})
    asked = [question(), question("Is it blue?"), question(picture=b"another")]
    said = record(path, FakeChat(scored, "no", "unsure"), *asked)
    assert replay(path, *reversed(asked)) == said[::-1]
    assert replay(path, replace(asked[0], interactive=True, fields={})) == said[:1], "known by what a model reads"
    assert b"a picture" not in path.read_bytes()


def test_a_question_asked_again_has_its_answers_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    record(path, FakeChat("yes", "no"), question(), question())
    assert [reply.text for reply in replay(path, *[question()] * 4)] == ["yes", "no", "no", "no"]


def test_a_recording_is_added_to_and_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    record(path, FakeChat("yes"), question())
    record(path, FakeChat("no"), question("Is it blue?"))
    path.write_bytes(path.read_bytes() + b'{"key": "abc", "ta')
    assert [reply.text for reply in replay(path, question(), question("Is it blue?"))] == ["yes", "no"]


def test_a_question_that_was_not_recorded_is_refused_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    record(path, FakeChat("yes"), question())
    with pytest.raises(
        RefusedError, match=r"chats\.jsonl: expected an answer to this verify, got none: 'Is it green\?'"
    ):
        replay(path, question("Is it green?"))


def test_a_failure_is_not_recorded(tmp_path: Path) -> None:
    def fail(request: ChatRequest) -> str:
        raise BackendError("down")

    path = tmp_path / "chats.jsonl"
    with pytest.raises(BackendError, match="down"):
        record(path, FakeChat(rule=fail), question())
    assert path.read_bytes() == b""


@pytest.mark.parametrize("line", ["no json", "{}", json.dumps({"key": 1, "task": "verify", "reply": {"text": "yes"}})])
def test_a_line_that_is_none_of_a_recording_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "chats.jsonl"
    record(path, FakeChat("yes"), question())
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ConfigError, match=r"chat\.replay: .*chats\.jsonl:2: expected a line of a recording"):
        ReplayChatModel(path)


def test_a_recording_that_is_not_there_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chat\.replay: .*none\.jsonl: expected a recording: No such file"):
        ReplayChatModel(tmp_path / "none.jsonl")
    with (
        pytest.raises(ConfigError, match=r"chat\.record: .*: expected a file that can be written"),
        open_recording(tmp_path),
    ):
        pass


def test_every_role_records_and_replays_by_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    decompose = ChatRequest("decompose", {"prompt": "a red cat"}, (ChatMessage("user", (TextPart("a red cat"),)),))

    async def ask(settings: ChatConfig) -> ChatReply:
        async with open_chat_model(MeshConfig(chat=settings), "decomposer") as model:
            return await model.chat(decompose)

    said = trio.run(ask, ChatConfig(record=str(path)))
    assert "cat" in said.text
    assert trio.run(ask, ChatConfig(backend="replay", replay=str(path))) == said
