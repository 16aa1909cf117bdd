"""Trajectories as the page gets them, and as they are told elsewhere."""

from __future__ import annotations

from actors.memory_store.replay import assemble_state
from gems_actors.gateway.page.trees import trajectory_tree
from protocol.messages import LoggedRecord
from tests.actors.memory_store.records import edited_story


def test_an_edit_is_an_instruction_and_the_next_prompt_is_compared_with_the_last_description() -> None:
    state = assemble_state([LoggedRecord(sequence=1, at=0.0, record=record) for record in edited_story()])
    first, second, third = trajectory_tree("0" * 32, state)["rounds"]
    assert [first["edited"], second["edited"], third["edited"]] == [None, {"round": 1, "candidate": 2}, None]
    assert second["action"] == "edit"
    assert second["changes"] == [{"change": "kept", "text": "Make the fox blue."}]
    assert [change["text"] for change in third["changes"]] == ["a", "red fox, in oils", "blue fox"]


def test_the_prompt_of_an_edit_is_shown_as_one() -> None:
    state = assemble_state([LoggedRecord(sequence=1, at=0.0, record=record) for record in edited_story()])
    _, edit, last = state.attempts
    assert edit.shown_prompt == f"Edit of round 1: {edit.prompt}"
    assert last.shown_prompt == last.prompt
