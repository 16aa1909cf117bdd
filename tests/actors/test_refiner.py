"""The refiner shows the model exactly what its memory mode says, and always what is met."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from actors.prompting import say
from actors.recalling import LESSON_RULES
from actors.refiner import ACTIONS, LESSON, RULES, Refiner, Wanted, parse_refined
from gems_actors.backends import ChatReply, ChatRequest
from gems_actors.blobs import BlobFolder
from gems_actors.config import MemoryConfig, MeshConfig
from gems_actors.errors import LogError, ModelOutputError
from protocol.messages import (
    AttemptPlace,
    Experience,
    MemoryMode,
    Plan,
    ReadTrajectory,
    RecallExperiences,
    Recollection,
    Refined,
    Refinement,
    RefinePrompt,
    Request,
    TrajectoryState,
)
from tests.actors.fakes import (
    TRAJECTORY,
    FakeChat,
    attempt,
    mesh_with,
    pictures_of,
    png,
    recollection,
    state_of,
    text_of,
)

PICTURES = {name: png(colour=name) for name in ("red", "lime", "blue", "gray")}
ANSWER = '{"diagnosis": "said too late", "prompt": "three owls"}'


async def refine(
    tmp_path: Path, state: TrajectoryState, round_: int, memory: MemoryMode, reply: str | ChatReply = ANSWER
) -> tuple[Refined, ChatRequest]:
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(state))
    refiner.chat = chat = FakeChat(reply)
    request = RefinePrompt(trajectory=TRAJECTORY, round=round_, memory=memory)
    return await refiner.refine(request), chat.requests[0]


async def refine_with_lessons(
    tmp_path: Path, state: TrajectoryState, lessons: Recollection, asked: list[Request[Any]]
) -> ChatRequest:
    """Return the chat request after round 3 with recall on."""
    config = MeshConfig(data_dir=str(tmp_path), memory=MemoryConfig(recall=True))
    refiner = Refiner(config, mesh_with(state, recalled=lessons, asked=asked))
    refiner.chat = chat = FakeChat(ANSWER)
    await refiner.refine(RefinePrompt(trajectory=TRAJECTORY, round=3, memory="full"))
    return chat.requests[0]


async def three_rounds(tmp_path: Path) -> TrajectoryState:
    """Return a trajectory of three rounds, the second with two candidates."""
    blobs = BlobFolder(tmp_path / "blobs")
    refs = {
        name: await blobs.put(data, media_type="image/png", width_px=32, height_px=16)
        for name, data in PICTURES.items()
    }
    return state_of(
        attempt(1, "muu", image=refs["red"]),
        attempt(2, "uuu", candidate=1, image=refs["gray"]),
        attempt(2, "mus", candidate=2, image=refs["lime"]),
        attempt(3, "mmu", image=refs["blue"]),
        plan=Plan(prompt="p", reasoning="thought 1"),
        refinements=[Refinement(round=round_, prompt="p", reasoning=f"thought {round_}") for round_ in (2, 3)],
        experiences=[Experience(round=round_, text=f"lesson {round_}") for round_ in (1, 2, 3)],
    )


SHOWN: dict[MemoryMode, tuple[list[int], list[str], list[str | None], list[str | None]]] = {
    "none": ([3], [], [None], [None]),
    "prompts": ([1, 2, 3], [], [None] * 3, [None] * 3),
    "images": ([1, 2, 3], ["red", "lime", "blue"], [None] * 3, [None] * 3),
    "thoughts": ([1, 2, 3], ["red", "lime", "blue"], [None] * 3, ["thought 1", "thought 2", "thought 3"]),
    "full": ([1, 2, 3], ["red", "lime", "blue"], ["lesson 1", "lesson 2", "lesson 3"], [None] * 3),
}


@pytest.mark.parametrize("memory", get_args(MemoryMode))
async def test_each_mode_shows_exactly_what_it_promises(tmp_path: Path, memory: MemoryMode) -> None:
    rounds, pictures, lessons, thoughts = SHOWN[memory]
    _, request = await refine(tmp_path, await three_rounds(tmp_path), 3, memory)
    attempts = request.fields["attempts"]
    assert request.fields["prompt"] == "the user's own prompt"
    assert [item["round"] for item in attempts] == rounds
    assert [item["experience"] for item in attempts] == lessons
    assert [item["reasoning"] for item in attempts] == thoughts
    assert pictures_of(request) == [PICTURES[name] for name in pictures]
    words = text_of(request)
    for round_ in (1, 2, 3):
        assert (f"prompt of round {round_}" in words) == (round_ in rounds)
        assert (f"lesson {round_}" in words) == (memory == "full")
        assert (f"thought {round_}" in words) == (memory == "thoughts")


async def test_the_best_attempt_of_a_round_is_shown_with_all_its_verdicts(tmp_path: Path) -> None:
    _, request = await refine(tmp_path, await three_rounds(tmp_path), 3, "prompts")
    second = request.fields["attempts"][1]
    assert (second["met"], second["unmet"], second["unsure"]) == (["r1?"], ["r2?"], ["r3?"])
    assert "- unmet: r2? (seen in round 2)\n- unsure: r3? (seen in round 2)" in text_of(request)


async def test_of_the_other_candidates_of_a_round_the_model_is_told_what_they_lacked(tmp_path: Path) -> None:
    state = await three_rounds(tmp_path)
    first, worse, best, last = state.attempts
    state = replace(state, attempts=(first, replace(worse, prompt="owls seen from above"), best, last))
    _, request = await refine(tmp_path, state, 3, "prompts")
    told = "was drawn from this prompt:\n<prompt>\nowls seen from above\n</prompt>\nIt lacked:\n- r1?\n- r2?\n- r3?"
    assert f"Another picture of round 2 {told}" in text_of(request)
    assert [item.get("others") for item in request.fields["attempts"]] == [
        None, [{"prompt": "owls seen from above", "missed": ["r1?", "r2?", "r3?"]}], None,
    ]  # fmt: skip
    _, request = await refine(tmp_path, await three_rounds(tmp_path), 2, "none")
    assert "Another picture of round 2 was drawn from the same prompt.\nIt lacked:\n- r1?" in text_of(request)


async def test_later_rounds_are_not_shown(tmp_path: Path) -> None:
    _, request = await refine(tmp_path, await three_rounds(tmp_path), 2, "full")
    assert [item["round"] for item in request.fields["attempts"]] == [1, 2]
    assert "Now decide on round 3." in text_of(request)


async def test_the_reasoning_is_that_of_the_model_or_else_its_diagnosis(tmp_path: Path) -> None:
    state = await three_rounds(tmp_path)
    refined, _ = await refine(tmp_path, state, 3, "none")
    assert (refined.prompt, refined.reasoning, refined.spent.calls) == ("three owls", "said too late", 1)
    refined, _ = await refine(tmp_path, state, 3, "none", ChatReply(ANSWER, reasoning="I see two owls, so"))
    assert refined.reasoning == "I see two owls, so"


async def test_lessons_from_other_trajectories_are_shown_if_recall_is_on(tmp_path: Path) -> None:
    asked: list[Request[Any]] = []
    state, lessons = await three_rounds(tmp_path), recollection("Count them in the first sentence.", "Say left twice.")
    request = await refine_with_lessons(tmp_path, state, lessons, asked)
    assert asked[1:] == [RecallExperiences(prompt="the user's own prompt")]
    assert request.fields["lessons"] == ["Count them in the first sentence.", "Say left twice."]
    *_, shown, closing = (getattr(part, "text", "") for part in request.messages[-1].parts)
    assert '- for "five owls on lamp 1": Count them in the first sentence. (met 1 of 5 before it' in shown
    assert closing == "Now decide on round 4."
    plain = text_of(await refine_with_lessons(tmp_path, state, recollection(), []))
    assert request.messages[0] == say("system", f"{plain.partition('<request>')[0].rstrip()}\n\n{LESSON_RULES}")


async def test_without_lessons_the_request_is_the_same_whether_memory_was_asked_or_not(tmp_path: Path) -> None:
    state = await three_rounds(tmp_path)
    _, unasked = await refine(tmp_path, state, 3, "full")
    assert await refine_with_lessons(tmp_path, state, recollection(), []) == unasked
    assert "lessons" not in unasked.fields
    assert text_of(unasked).startswith(RULES)


async def test_without_recall_memory_is_asked_only_for_the_trajectory(tmp_path: Path) -> None:
    asked: list[Request[Any]] = []
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(await three_rounds(tmp_path), asked=asked))
    refiner.chat = FakeChat(ANSWER)
    await refiner.refine(RefinePrompt(trajectory=TRAJECTORY, round=3, memory="full"))
    assert [type(request) for request in asked] == [ReadTrajectory]


async def test_a_trajectory_that_memory_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=f"expected trajectory {TRAJECTORY} in memory, got none"):
        await refine(tmp_path, TrajectoryState(), 1, "full")
    with pytest.raises(LogError, match="an attempt of round 4"):
        await refine(tmp_path, await three_rounds(tmp_path), 4, "full")


async def test_a_note_of_a_hook_is_shown_before_the_closing_words(tmp_path: Path) -> None:
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(await three_rounds(tmp_path)))
    refiner.chat = chat = FakeChat(ANSWER)
    await refiner.refine(RefinePrompt(trajectory=TRAJECTORY, round=3, memory="none", note="make it $redder"))
    (noted,) = chat.requests
    _, plain = await refine(tmp_path, await three_rounds(tmp_path), 3, "none")
    assert noted.fields == {**plain.fields, "note": "make it $redder"}
    note = "\nA note on the next attempt:\n<note>\nmake it $redder\n</note>"
    assert text_of(noted).replace(note, "") == text_of(plain)


async def test_the_prepared_prompt_of_a_hook_is_shown_in_place_of_the_users_own(tmp_path: Path) -> None:
    state = replace(await three_rounds(tmp_path), prepared="three owls")
    _, request = await refine(tmp_path, state, 3, "none")
    assert request.fields["prompt"] == "three owls"
    assert "the user's own prompt" not in text_of(request)


# ------------------------------------------------------------------------------------------------------------ decisions


async def decide(
    tmp_path: Path, *replies: str, prompts: int = 1, with_lesson: bool = False
) -> tuple[Refined, list[ChatRequest]]:
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(await three_rounds(tmp_path)))
    refiner.chat = chat = FakeChat(*replies)
    request = RefinePrompt(trajectory=TRAJECTORY, round=3, memory="full", prompts=prompts, with_lesson=with_lesson)
    return await refiner.refine(request), chat.requests


async def test_the_model_may_rewrite_resample_or_stop(tmp_path: Path) -> None:
    refined, (request,) = await decide(tmp_path, '{"diagnosis": "d", "action": "rewrite", "prompt": "three owls"}')
    assert (refined.action, refined.prompt, refined.others) == ("rewrite", "three owls", ())
    assert request.schema is not None
    assert request.schema["properties"]["action"]["enum"] == ["rewrite", "resample", "stop"]
    last = (await three_rounds(tmp_path)).attempts[-1].prompt
    for action in ("resample", "stop"):
        refined, _ = await decide(tmp_path, f'{{"diagnosis": "no words help", "action": "{action}", "prompt": ""}}')
        assert (refined.action, refined.prompt, refined.reasoning) == (action, last, "no words help")


async def test_an_action_that_nobody_can_take_is_asked_for_again(tmp_path: Path) -> None:
    refined, requests = await decide(
        tmp_path, '{"diagnosis": "d", "action": "edit", "prompt": "x"}', '{"diagnosis": "d", "action": "stop"}'
    )
    assert (refined.action, refined.spent.calls) == ("stop", 2)
    assert "expected the action rewrite, resample or stop, got 'edit'" in text_of(requests[1])
    with pytest.raises(ModelOutputError, match="expected the action rewrite, resample or stop, got 'redraw'"):
        await decide(tmp_path, *['{"diagnosis": "d", "action": "redraw", "prompt": "x"}'] * 2)


async def test_where_the_settings_say_so_the_model_must_rewrite(tmp_path: Path) -> None:
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(await three_rounds(tmp_path)))
    refiner.chat = chat = FakeChat('{"diagnosis": "d", "action": "stop", "prompt": ""}', ANSWER)
    refined = await refiner.refine(RefinePrompt(trajectory=TRAJECTORY, round=3, memory="full", actions="rewrite"))
    assert (refined.action, refined.prompt, refined.spent.calls) == ("rewrite", "three owls", 2)
    first, second = chat.requests
    assert ACTIONS not in text_of(first)
    assert first.schema is not None
    assert [*first.schema["properties"]] == ["diagnosis", "prompt"]
    assert "expected the action rewrite, got 'stop'" in text_of(second)


async def test_for_several_candidates_one_call_writes_prompts_that_differ(tmp_path: Path) -> None:
    answer = '{"diagnosis": "d", "action": "rewrite", "prompts": ["three owls", " owls, three "]}'
    refined, (request,) = await decide(tmp_path, answer, prompts=2)
    assert (refined.prompt, refined.others, refined.spent.calls) == ("three owls", ("owls, three",), 1)
    assert request.fields["prompts"] == 2
    assert "Write 2 prompts" in text_of(request)


async def test_prompts_that_are_equal_or_too_few_are_asked_for_again_and_then_accepted(tmp_path: Path) -> None:
    same = '{"diagnosis": "d", "action": "rewrite", "prompts": ["owls", "owls "]}'
    refined, requests = await decide(tmp_path, same, same, prompts=2)
    assert (refined.prompt, refined.others, len(requests)) == ("owls", (), 2)
    assert "expected 2 prompts that differ, got 1" in text_of(requests[1])
    with pytest.raises(ModelOutputError):
        await decide(tmp_path, *['{"diagnosis": "d", "action": "rewrite", "prompts": []}'] * 2, prompts=2)


async def test_the_lesson_of_the_round_is_written_in_the_same_call(tmp_path: Path) -> None:
    answer = '{"diagnosis": "d", "action": "rewrite", "lesson": "Say left twice.", "prompt": "three owls"}'
    refined, (request,) = await decide(tmp_path, answer, with_lesson=True)
    assert (refined.lesson, refined.prompt) == ("Say left twice.", "three owls")
    assert LESSON in text_of(request)
    missing = '{"diagnosis": "d", "action": "rewrite", "prompt": "three owls"}'
    with pytest.raises(ModelOutputError, match="a lesson in plain sentences"):
        await decide(tmp_path, missing, missing, with_lesson=True)


def test_a_lesson_that_is_too_long_is_cut_rather_than_asked_for_again() -> None:
    long = "One word. " * 80
    text = f'{{"diagnosis": "d", "action": "stop", "lesson": "{long}"}}'
    assert len(parse_refined(text, Wanted(with_lesson=True)).lesson.split()) == 100


# --------------------------------------------------------------------------------------------------------------- edits


async def state_with_an_edit(tmp_path: Path) -> TrajectoryState:
    """Return three rounds, the last of which is an edit of the second: the second is the best."""
    state = await three_rounds(tmp_path)
    first, _, second, last = state.attempts
    edited = replace(last, verdicts=first.verdicts, edited=AttemptPlace(round=2, candidate=2), prompt="Make it blue.")
    return replace(state, attempts=(first, second, edited))


async def decide_with_edits(
    tmp_path: Path, *replies: str, prompts: int = 1, memory: MemoryMode = "full"
) -> tuple[Refined, list[ChatRequest]]:
    refiner = Refiner(MeshConfig(data_dir=str(tmp_path)), mesh_with(await state_with_an_edit(tmp_path)))
    refiner.chat = chat = FakeChat(*replies)
    request = RefinePrompt(trajectory=TRAJECTORY, round=3, memory=memory, prompts=prompts, can_edit=True)
    return await refiner.refine(request), chat.requests


async def test_where_the_image_model_can_edit_the_best_picture_may_be_edited(tmp_path: Path) -> None:
    refined, (request,) = await decide_with_edits(
        tmp_path, '{"diagnosis": "d", "action": "edit", "prompt": "Make the owl blue. Keep the rest."}'
    )
    assert (refined.action, refined.prompt) == ("edit", "Make the owl blue. Keep the rest.")
    assert request.schema is not None
    assert request.schema["properties"]["action"]["enum"] == ["rewrite", "resample", "edit", "stop"]
    words = text_of(request)
    assert "an editor changes the picture of round 2, the best so far" in words
    assert '"action": "rewrite, resample, edit or stop"' in words
    assert "remembers none of the attempts; an editor can change one of them." in words
    assert "Only the prompt can change" not in words
    assert request.fields["edits_round"] == 2


async def test_what_was_drawn_by_an_edit_is_shown_with_its_instruction_and_what_it_edited(tmp_path: Path) -> None:
    _, (request,) = await decide_with_edits(tmp_path, '{"diagnosis": "d", "action": "stop"}')
    told = "Attempt of round 3, an edit of the picture of round 2. The instruction of the edit:\n<instruction>\n"
    assert f"{told}Make it blue.\n</instruction>" in text_of(request)
    assert "Attempt of round 2. Its prompt:\n<prompt>\nprompt of round 2\n</prompt>" in text_of(request)
    assert [item.get("edited") for item in request.fields["attempts"]] == [None, None, 2]


async def test_for_several_candidates_an_edit_has_instructions_that_differ(tmp_path: Path) -> None:
    refined, _ = await decide_with_edits(
        tmp_path, '{"diagnosis": "d", "action": "edit", "prompts": ["Make it blue.", "Paint it blue."]}', prompts=2
    )
    assert (refined.action, refined.prompt, refined.others) == ("edit", "Make it blue.", ("Paint it blue.",))


async def test_an_edit_without_an_instruction_is_asked_for_again(tmp_path: Path) -> None:
    refined, requests = await decide_with_edits(
        tmp_path, '{"diagnosis": "d", "action": "edit", "prompt": " "}', '{"diagnosis": "d", "action": "stop"}'
    )
    assert (refined.action, len(requests)) == ("stop", 2)
    assert "expected a prompt of at least one character" in text_of(requests[1])


async def test_a_picture_of_which_the_model_is_told_nothing_is_not_offered_for_an_edit(tmp_path: Path) -> None:
    stop = '{"diagnosis": "d", "action": "stop"}'
    modes: list[tuple[MemoryMode, bool]] = [("none", False), ("prompts", True)]
    for memory, is_offered in modes:
        _, (request,) = await decide_with_edits(tmp_path, stop, memory=memory)
        assert ("edits_round" in request.fields) == is_offered
        assert ("an editor changes the picture" in text_of(request)) == is_offered
