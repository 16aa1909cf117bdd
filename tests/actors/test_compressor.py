"""The compressor reads a round and earlier rounds from memory, and keeps the lesson short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.compressor import Compressor
from gems_actors.config import MemoryConfig, MeshConfig
from gems_actors.errors import LogError, ModelOutputError
from protocol.messages import (
    AttemptPlace,
    CompressAttempt,
    Experience,
    Lesson,
    Plan,
    ReadTrajectory,
    Refinement,
    Request,
    TrajectoryState,
)
from tests.actors.fakes import PICTURE, TRAJECTORY, FakeChat, attempt, mesh_with, pictures_of, state_of, text_of


async def compress(
    tmp_path: Path,
    chat: FakeChat,
    state: TrajectoryState,
    round_: int,
    *,
    config: MeshConfig | None = None,
    asked: list[Request[Any]] | None = None,
) -> Lesson:
    compressor = Compressor(config or MeshConfig(data_dir=str(tmp_path)), mesh_with(state, asked=asked))
    compressor.chat = chat
    await compressor.blobs.put(PICTURE, media_type="image/png", width_px=32, height_px=16)
    return await compressor.compress(CompressAttempt(trajectory=TRAJECTORY, round=round_))


async def test_the_first_round_shows_the_reasoning_of_the_plan(tmp_path: Path) -> None:
    chat = FakeChat("Fine.")
    state = state_of(attempt(1, "u"), plan=Plan(prompt="p", reasoning="the lamp comes first"))
    await compress(tmp_path, chat, state, 1)
    assert chat.requests[0].fields["reasoning"] == "the lamp comes first"
    assert "<thinking>\nthe lamp comes first\n</thinking>" in text_of(chat.requests[0])


async def test_a_first_round_may_have_neither_reasoning_nor_experience(tmp_path: Path) -> None:
    chat = FakeChat(" Say it first. ")
    assert (await compress(tmp_path, chat, state_of(attempt(1, "mus")), 1)).text == "Say it first."
    (request,) = chat.requests
    assert request.task == "compress"
    assert request.fields == {
        "prompt": "prompt of round 1",
        "met": ["r1?"],
        "unmet": ["r2?"],
        "reasoning": "",
        "experiences": [],
    }
    assert "- unsure: r3? (seen in round 1)" in text_of(request)
    assert pictures_of(request) == [PICTURE]


async def test_a_later_round_shows_the_reasoning_before_it_and_earlier_lessons(tmp_path: Path) -> None:
    state = state_of(
        attempt(1, "mu"),
        attempt(2, "uu", candidate=1),
        attempt(2, "mu", candidate=2),
        attempt(3, "uu"),
        refinements=[Refinement(round=round_, prompt="p", reasoning=f"thought {round_}") for round_ in (2, 3)],
        experiences=[Experience(round=round_, text=f"lesson {round_}") for round_ in (1, 2)],
    )
    chat = FakeChat("Fine.")
    await compress(tmp_path, chat, state, 2)
    fields = chat.requests[0].fields
    assert (fields["reasoning"], fields["experiences"]) == ("thought 2", ["lesson 1"])
    assert fields["met"] == ["r1?"], "of the better candidate"


async def test_a_long_lesson_is_repaired_once_and_then_cut(tmp_path: Path) -> None:
    state = state_of(attempt(1, "u"))
    assert (await compress(tmp_path, FakeChat("word " * 101, "Short."), state, 1)).text == "Short."
    chat = FakeChat("word " * 101, "Say it first. " + "word " * 101)
    assert (await compress(tmp_path, chat, state, 1)).text == "Say it first."
    assert "at most 100 words, got 101" in text_of(chat.requests[1])


async def test_a_repaired_lesson_costs_two_calls(tmp_path: Path) -> None:
    state = state_of(attempt(1, "u"))
    assert (await compress(tmp_path, FakeChat("Short."), state, 1)).spent.calls == 1
    assert (await compress(tmp_path, FakeChat("word " * 101, "Short."), state, 1)).spent.calls == 2


async def test_lessons_from_other_trajectories_are_not_requested(tmp_path: Path) -> None:
    asked: list[Request[Any]] = []
    config = MeshConfig(data_dir=str(tmp_path), memory=MemoryConfig(recall=True))
    await compress(tmp_path, FakeChat("Fine."), state_of(attempt(1, "u")), 1, config=config, asked=asked)
    assert [type(request) for request in asked] == [ReadTrajectory]


async def test_an_empty_lesson_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelOutputError, match="expected a lesson"):
        await compress(tmp_path, FakeChat("", " "), state_of(attempt(1, "u")), 1)


async def test_a_round_that_memory_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"an attempt of round 1 in memory, got those of rounds \[\]"):
        await compress(tmp_path, FakeChat(), TrajectoryState(), 1)
    with pytest.raises(LogError, match=r"an attempt of round 3 in memory, got those of rounds \[1\]"):
        await compress(tmp_path, FakeChat(), state_of(attempt(1, "u")), 3)


async def test_an_edit_is_told_by_its_instruction_and_what_it_edited(tmp_path: Path) -> None:
    chat = FakeChat("Fine.")
    edited = replace(attempt(2, "m"), edited=AttemptPlace(round=1, candidate=1), prompt="Make it blue.")
    await compress(tmp_path, chat, state_of(attempt(1, "u"), edited), 2)
    told = "an edit of the picture of round 1. The instruction of the edit was:\n<instruction>\nMake it blue."
    assert told in text_of(chat.requests[0])
