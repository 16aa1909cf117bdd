"""Recording chat replies to a file, and replaying them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from actors.prompting import ask_model
from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.factory import open_chat_model
from gems_actors.backends.record_replay import RecordingChatModel, ReplayChatModel, open_recording
from gems_actors.config import ChatConfig, MeshConfig
from gems_actors.errors import BackendError, ConfigError, ModelOutputError, RefusedError
from tests.actors.fakes import FakeChat


def question(text: str = "Is it red?", picture: bytes = b"a picture") -> ChatRequest:
    parts = (ImagePart(picture, "image/png"), TextPart(text))
    return ChatRequest("verify", {"question": text}, (ChatMessage("user", parts),))


async def record(path: Path, chat: FakeChat, *requests: ChatRequest) -> list[ChatReply]:
    with open_recording(path) as descriptor:
        model = RecordingChatModel(chat, descriptor)
        return [await model.chat(request) for request in requests]


async def replay(path: Path, *requests: ChatRequest) -> list[ChatReply]:
    model = ReplayChatModel(path)
    return [await model.chat(request) for request in requests]


async def test_the_same_text_and_pictures_get_the_recorded_reply(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    scored = ChatReply("yes", "I see red.", {"prompt_tokens": 9}, 2, 0.5, {"yes": 0.75, "no": 0.25, "unsure": 0.0})
    requests = [question(), question("Is it blue?"), question(picture=b"another")]
    recorded = await record(path, FakeChat(scored, "no", "unsure"), *requests)
    assert await replay(path, *reversed(requests)) == recorded[::-1]
    assert await replay(path, replace(requests[0], interactive=True, fields={})) == recorded[:1], (
        "only what a model reads counts"
    )
    assert b"a picture" not in path.read_bytes()


async def test_repeated_requests_get_their_replies_in_order(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    await record(path, FakeChat("yes", "no"), question(), question())
    assert [reply.text for reply in await replay(path, *[question()] * 4)] == ["yes", "no", "no", "no"]


async def test_recordings_are_appended_to_and_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    await record(path, FakeChat("yes"), question())
    await record(path, FakeChat("no"), question("Is it blue?"))
    path.write_bytes(path.read_bytes() + b'{"key": "abc", "ta')
    assert [reply.text for reply in await replay(path, question(), question("Is it blue?"))] == ["yes", "no"]


async def test_a_request_that_was_not_recorded_is_refused_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    await record(path, FakeChat("yes"), question())
    with pytest.raises(RefusedError, match=r"chats\.jsonl: expected a recorded verify request, got 'Is it green\?'"):
        await replay(path, question("Is it green?"))


async def test_a_failure_is_not_recorded(tmp_path: Path) -> None:
    def fail(request: ChatRequest) -> str:
        raise BackendError("down")

    path = tmp_path / "chats.jsonl"
    with pytest.raises(BackendError, match="down"):
        await record(path, FakeChat(rule=fail), question())
    assert path.read_bytes() == b""


@pytest.mark.parametrize("line", ["no json", "{}", json.dumps({"key": 1, "task": "verify", "reply": {"text": "yes"}})])
async def test_an_invalid_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "chats.jsonl"
    await record(path, FakeChat("yes"), question())
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ConfigError, match=r"chat\.replay: .*chats\.jsonl:2: expected a line of a recording"):
        ReplayChatModel(path)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chat\.replay: .*none\.jsonl: expected a recording: No such file"):
        ReplayChatModel(tmp_path / "none.jsonl")
    with (
        pytest.raises(ConfigError, match=r"chat\.record: .*: expected a writable file"),
        open_recording(tmp_path),
    ):
        pass


async def test_the_settings_switch_recording_and_replay_on(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    decompose = ChatRequest("decompose", {"prompt": "a red cat"}, (ChatMessage("user", (TextPart("a red cat"),)),))

    async def ask(settings: ChatConfig) -> ChatReply:
        async with open_chat_model(MeshConfig(chat=settings), "decomposer") as model:
            return await model.chat(decompose)

    recorded = await ask(ChatConfig(record=str(path)))
    assert "cat" in recorded.text
    assert await ask(ChatConfig(backend="replay", replay=str(path))) == recorded


async def test_unusable_output_is_recorded_so_that_the_second_try_is_replayed(tmp_path: Path) -> None:
    def answer(request: ChatRequest) -> str:
        if not request.vary:
            raise ModelOutputError("expected an answer, got an empty one")
        return "7"

    path = tmp_path / "chats.jsonl"
    with open_recording(path) as descriptor:
        recorded = await ask_model(RecordingChatModel(FakeChat(rule=answer), descriptor), question(), str)
    replayed = await ask_model(ReplayChatModel(path), question(), str)
    assert (recorded.value, replayed.value) == ("7", "7")
    assert len(path.read_text().splitlines()) == 2
