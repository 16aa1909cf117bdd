"""What turned an unmet requirement into a met one counts only where the wording of a prompt did it."""

from __future__ import annotations

from msgspec.structs import replace

from gems_actors.app.skills.evidence import distil
from protocol.messages import AttemptPlace
from tests.actors.fakes import attempt, state_of


def test_what_an_edit_put_right_is_no_evidence_of_wording() -> None:
    rounds = [attempt(1, "mu"), attempt(2, "mm"), attempt(3, "mu"), attempt(4, "mm")]
    edited = replace(rounds[1], edited=AttemptPlace(round=1, candidate=1))
    assert [turn.after for turn in distil([state_of(*rounds)]).turns] == ["prompt of round 2", "prompt of round 4"]
    assert [turn.after for turn in distil([state_of(rounds[0], edited, *rounds[2:])]).turns] == ["prompt of round 4"]
