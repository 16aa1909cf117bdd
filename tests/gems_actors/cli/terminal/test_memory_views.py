"""How records are shown, one per line."""

from __future__ import annotations

import pytest

from gems_actors.cli.terminal.memory_views import record_line
from protocol.messages import Hook, LoggedRecord
from tests.actors.memory_store.records import story

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
