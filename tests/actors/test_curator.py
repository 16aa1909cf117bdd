"""The curator shows a model the evidence, and takes only answers within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.curator.asking import MAX_TURNS, propose_request, shown_turns
from actors.curator.parsing import parse_edits, parse_new
from gems_actors.backends.storyboard.rules import answer
from gems_actors.errors import ModelOutputError
from gems_actors.roles import OPTIONAL_ROLES
from protocol.limits import MAX_EDITS
from protocol.messages import KindCount, ProposeSkill, RejectedProposal, SkillEdit, SkillVersion, Turn

COUNT = Turn(
    question="Are there exactly three cats in the image?",
    kind="count",
    before="three cats",
    after="three cats\n\nMake sure: there are exactly three cats",
)
PLACE = Turn(
    question="Is the cat to the left of the dog?",
    kind="position",
    before="a cat left of a dog",
    after="a cat left of a dog\n\nMake sure: the cat is to the left of the dog!",
    lesson="Say it in a clause.",
)
SKILL = SkillVersion(id="counts", description="Use for counts.", instructions="- Draw plainly.")


def request(**more: Any) -> ProposeSkill:
    counts = (
        KindCount(kind="count", asked=9, unmet=5, turned=4),
        KindCount(kind="position", asked=4, unmet=2, turned=1),
    )
    return ProposeSkill(counts=counts, turns=(COUNT, COUNT, PLACE), **more)


def text_of(asked: ProposeSkill) -> str:
    return "\n".join(str(part) for message in propose_request(asked).messages for part in message.parts)


def test_the_curator_may_ask_no_other_role() -> None:
    spec = OPTIONAL_ROLES["curator"]
    assert (spec.may_ask, spec.may_publish, spec.reads_blobs, spec.writes_blobs) == ((), (), False, False)


def test_the_model_sees_skill_counts_turns_and_what_was_rejected() -> None:
    rejected = RejectedProposal(edits=(SkillEdit(action="add", text="- Shout."),), reason="-3.0 points")
    shown = text_of(request(skill=SKILL, rejected=(rejected,)))
    for words in ("- Draw plainly.", "count: 9 asked, 5 unmet", "Say it in a clause.", "add - Shout. (-3.0 points)"):
        assert words in shown
    assert "There is no skill yet" in text_of(request())


def test_turns_of_all_kinds_are_shown_where_there_are_too_many() -> None:
    asked = ProposeSkill(counts=request().counts, turns=(COUNT,) * 50 + (PLACE,) * 3)
    shown = shown_turns(asked)
    assert len(shown) == MAX_TURNS
    assert [turn.kind for turn in shown].count("position") == 3


def test_edits_are_parsed_within_bounds() -> None:
    edit = {"action": "add", "line": "", "text": "- Say every count."}
    found = parse_edits(json.dumps({"edits": [edit], "reasoning": " because "}))
    assert (found.edits, found.reasoning) == ((SkillEdit(action="add", text="- Say every count."),), "because")
    assert parse_edits('{"edits": []}').edits == ()
    wrong: dict[str, Any]
    for wrong in (
        {"edits": [edit] * (MAX_EDITS + 1)},
        {"edits": [{**edit, "action": "move"}]},
        {"edits": [{**edit, "text": "x" * 3_000}]},
        {"rules": []},
    ):
        with pytest.raises(ModelOutputError):
            parse_edits(json.dumps(wrong))


def test_a_new_skill_is_whole_or_none() -> None:
    new = {"id": "clear-counts", "description": "Use for\ncounts.", "instructions": "- Say every count."}
    found = parse_new(json.dumps(new))
    assert (found.id, found.description, found.instructions) == (
        "clear-counts",
        "Use for counts.",
        "- Say every count.",
    )
    assert parse_new('{"id": "", "description": "", "instructions": ""}').id == ""
    for wrong in ({**new, "instructions": ""}, {**new, "id": "x" * 60}, {**new, "description": "x" * 2_000}):
        with pytest.raises(ModelOutputError):
            parse_new(json.dumps(wrong))


def proposal(asked: ProposeSkill) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer("propose_skill", propose_request(asked).fields).text)
    return found


def test_the_storyboard_generalises_the_wording_that_was_turned_most_often() -> None:
    first = proposal(request(skill=SKILL))
    assert first["edits"] == [
        {
            "action": "add",
            "line": "",
            "text": "- State every count in a clause of its own, such as: there are exactly three cats.",
        }
    ]
    rejected = RejectedProposal(edits=(SkillEdit(**first["edits"][0]),), reason="no gain")
    assert "every position" in proposal(request(skill=SKILL, rejected=(rejected,)))["edits"][0]["text"]
    new = proposal(request())
    assert (new["id"], "every count" in new["instructions"]) == ("clear-counts", True)
    assert parse_new(json.dumps(new)).id == "clear-counts"


def test_the_storyboard_proposes_nothing_without_evidence_or_when_all_is_tried() -> None:
    assert proposal(ProposeSkill(skill=SKILL))["edits"] == []
    unhelped = Turn(question=COUNT.question, kind="count", before=COUNT.after, after=COUNT.after)
    assert proposal(ProposeSkill(skill=SKILL, turns=(unhelped,)))["edits"] == [], "the wording made no difference"
