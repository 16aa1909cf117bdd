"""How records are shown, one per line."""

from __future__ import annotations

import pytest
from msgspec import structs
from rich.console import Console
from rich.text import Text

from actors.memory_store.replay import assemble_state
from gems_actors.cli.terminal.draw_view import ASCII
from gems_actors.cli.terminal.memory_views import record_line, trajectory_view
from protocol.messages import (
    AnyRecord,
    Failure,
    Hook,
    LoggedRecord,
    TrajectoryEnded,
)
from tests.actors.memory_store.records import edited_story, ended_again, reopened, story

RECORDS = story(answers=("mu", "mm"), hook=Hook(role="critic", version="2"))


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (1, "prompt prepared by critic 2: a red fox prepared"),
        (5, "round 1, reviewed by critic 2: 1 of 2 met"),
        (7, "round 1, note by critic 2: redder"),
    ],
)
def test_the_reply_of_a_hook_is_shown_with_its_role_and_version(place: int, line: str) -> None:
    assert record_line(LoggedRecord(sequence=1, at=0.0, record=RECORDS[place])).endswith(f"  {line}")


REFUSAL = Failure(code="refused", message="image server: answered 400: safety")
REFUSED = ended_again(outcome="refused")


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (reopened(rounds=8), "reopened, for up to 8 rounds"),
        (
            structs.replace(REFUSED, ending=structs.replace(REFUSED.ending, failure=REFUSAL)),
            "ended, refused by image server: answered 400: safety: most met",
        ),
        (ended_again(outcome="rounds_spent"), "ended, rounds spent: most met"),
    ],
)
def test_why_a_trajectory_ended_and_that_it_continues_is_shown(record: AnyRecord, line: str) -> None:
    assert record_line(LoggedRecord(sequence=1, at=0.0, record=record)).endswith(f"  {line}")


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ([], ["refused", "chosen", "ended by    refused: image server: answered 400: safety"]),
        ([reopened(rounds=8)], ["reopened"]),
    ],
)
def test_a_trajectory_is_told_with_the_failure_that_ended_it(more: list[AnyRecord], shown: list[str]) -> None:
    *steps, ended = story(answers=("mu",), outcome="refused")
    assert isinstance(ended, TrajectoryEnded)
    ended = structs.replace(ended, ending=structs.replace(ended.ending, failure=REFUSAL))
    logged = [LoggedRecord(sequence=1, at=0.0, record=record) for record in (*steps, ended, *more)]
    state, console = assemble_state(logged), Console(width=100)
    assert state.task is not None
    view = trajectory_view(state, state.task, console, glyphs=ASCII, has_reasoning=False, locate=str)
    lines = [line.plain if isinstance(line, Text) else f"{line.label:<12}{line.text.plain}" for line in view]
    assert all(any(words in line for line in lines) for words in shown)
    assert any("chosen" in line for line in lines) == (not more)


def test_an_edit_is_told_with_the_round_that_it_edits_and_later_prompts_are_compared_with_descriptions() -> None:
    logged = [LoggedRecord(sequence=1, at=0.0, record=record) for record in edited_story()]
    lines = [record_line(item) for item in logged]
    assert ", line 1, 1 picture given)" in lines[0]
    assert lines[-4].endswith("round 2: edit of round 1, candidate 2: Make the fox blue.")
    assert lines[-3].endswith("round 2, edit of round 1: 1 of 2 met")
    state, console = assemble_state(logged), Console(width=100)
    assert state.task is not None
    view = trajectory_view(state, state.task, console, glyphs=ASCII, has_reasoning=False, locate=str)
    shown = [(line.label, line.text.plain) for line in view if not isinstance(line, Text)]
    assert ("given", state.task.references[0].digest) in shown
    prompts = [text for label, text in shown if label == "prompt"]
    assert prompts[1:] == ["edit of round 1, candidate 2: Make the fox blue.", "a [-red fox, in oils-] {+blue fox+}"]
