"""The most that a picture may cost: a bound for the worst of models, and for the loop that asks them."""

from __future__ import annotations

import json

import msgspec
import pytest
import trio

from actors.prompting import REPAIR
from actors.verifier import verify_picture
from gems_actors.app.bulk.running.limits import Cost
from gems_actors.app.options import DrawOptions
from gems_actors.app.skills.budget import check_calls, most_calls_to_verify, most_of
from gems_actors.backends import ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.config import VerifyConfig, load_config
from gems_actors.errors import UsageError
from protocol.limits import MAX_REQUIREMENTS
from protocol.messages import Claim, Requirement
from tests.actors.fakes import png

LIMITED = DrawOptions(overrides=("budget.max_calls_per_trajectory=128",))


class WorstChat:
    """A model that must be asked for each answer twice, reports no probabilities, and is never sure."""

    def figures(self) -> dict[str, float]:
        return {}

    def note(self) -> str:
        return ""

    async def chat(self, request: ChatRequest) -> ChatReply:
        await trio.lowlevel.checkpoint()
        calls = 2 if request.choices else 1
        last = request.messages[-1].parts[0]
        if not isinstance(last, TextPart) or not last.text.startswith(REPAIR.partition(" cannot")[0]):
            return ChatReply("Well.", calls=calls)
        if request.task == "verify":
            return ChatReply("unsure, it is dark", calls=calls)
        if request.task == "list_evidence":
            return ChatReply(json.dumps({"things": [], "pairs": [], "texts": []}), calls=calls)
        answers = [{"id": item["id"], "answer": "unsure", "reason": ""} for item in request.fields["questions"]]
        return ChatReply(json.dumps({"answers": answers}), calls=calls)


@pytest.mark.parametrize("mode", ["score", "words", "batch", "evidence"])
@pytest.mark.parametrize("votes", [1, 3])
@pytest.mark.parametrize("has_second", [False, True])
async def test_no_model_costs_more_calls_to_verify_an_image_than_the_bound(
    mode: str, votes: int, has_second: bool
) -> None:
    second = {"second_opinion": {"backend": "storyboard"}} if has_second else {}
    settings = msgspec.convert({"mode": mode, "votes": votes, "vote_on": "all", **second}, VerifyConfig)
    claim = Claim(type="relation", subject="dog", object="cat", value="left of")
    requirements = [
        Requirement(id=f"r{at}", question=f"Question {at}?", kind="position", claim=claim)
        for at in range(MAX_REQUIREMENTS)
    ]
    picture, worst = ImagePart(png(8, 8), "image/png"), WorstChat()
    found = await verify_picture(worst, picture, requirements, settings, worst if has_second else None)
    assert found.spent.calls == most_calls_to_verify(settings)


def test_a_picture_costs_its_planning_and_each_of_its_rounds_at_most() -> None:
    one, five = most_of(DrawOptions(rounds=1)), most_of(DrawOptions(rounds=5))
    assert (one, five) == (Cost(1, 266), Cost(5, 1306))
    words = DrawOptions(rounds=1, overrides=("verify.mode=words", "draw.candidates=3"))
    assert most_of(words) == Cost(3, 10 + 3 * 128)


def test_a_limit_of_calls_bounds_all_rounds_but_the_one_before_which_it_was_not_reached() -> None:
    assert most_of(LIMITED) == Cost(5, 128 + 4 + 256)


def test_a_bound_needs_roles_that_are_known() -> None:
    check_calls(None, Cost(1, 266), load_config(None))
    check_calls(266, Cost(1, 266), load_config(None))
    with pytest.raises(UsageError, match="expected at least 266, which a picture with 64 requirements may cost"):
        check_calls(265, Cost(1, 266), load_config(None))
    own = ('roles.planner.actor="mine:Planner"', 'roles.generator.actor="mine:Generator"')
    with pytest.raises(UsageError, match=r"without roles of your own.*got roles\.planner mine:Planner$"):
        check_calls(10_000, Cost(1, 266), load_config(None, settings=own))
