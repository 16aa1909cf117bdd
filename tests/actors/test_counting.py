"""What is counted of the records that memory keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from actors.counting import count_record
from gems_actors.client import Mesh
from protocol import messages as m
from protocol.identity import trajectory_id
from tests.actors.scripted import Script, open_loop

TRAJECTORY = trajectory_id("run", 0, 0)


def test_failures_are_counted_by_code_and_their_names_are_bounded() -> None:
    counts: dict[str, float] = {}
    for number in range(1000):
        failure = m.Failure(code=f"code{number}", message="", retryable=False)
        count_record(counts, m.TrajectoryFailed(trajectory=TRAJECTORY, failure=failure))
        count_record(counts, m.TrajectoryFailed(trajectory=TRAJECTORY, failure=failure))
    assert len(counts) == 500
    assert set(counts.values()) == {2.0}


def test_steps_are_counted_with_their_costs() -> None:
    counts: dict[str, float] = {}
    spent = m.Spent(seconds=1.5, calls=2, prompt_tokens=30, completion_tokens=4, cost=0.5)
    for _ in range(2):
        count_record(counts, m.PromptPlanned(trajectory=TRAJECTORY, prompt="a cat", spent=spent))
    assert counts == {
        "seconds/planner": 3.0, "calls/planner": 4.0, "tokens/planner/prompt": 60.0, "tokens/planner/completion": 8.0,
        "cost/planner": 1.0,
    }  # fmt: skip


async def totals_of(mesh: Mesh, role: str) -> dict[str, float]:
    """Return the totals of a role, as the router has them."""
    return next(it.totals for it in (await mesh.ask(m.ReadStatus())).roles if it.role == role)


@pytest.mark.slow
async def test_a_picture_is_counted_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Script()) as mesh:
        picture = await mesh.ask(m.DrawPicture(run="r", prompt="a red cat", seed=1))
        again = await mesh.ask(m.DrawPicture(run="r", prompt="a red cat", seed=1))
        assert again.attempts == picture.attempts
        while "images" not in (found := await totals_of(mesh, "memory")):  # noqa: ASYNC110
            await trio.sleep(0.05)  # with a heartbeat, of which no event tells
        assert found["images"] == len(picture.attempts)
        assert found[f"pictures/{picture.ending.outcome}"] == 1
        assert found["tokens/planner/prompt"] == 20
        assert (await totals_of(mesh, "conductor"))["calls"] == 2
        assert all(actor.figures.keys().isdisjoint(found) for actor in await actors_of(mesh))


async def actors_of(mesh: Mesh) -> list[m.ActorStatus]:
    return [actor for role in (await mesh.ask(m.ReadStatus())).roles for actor in role.actors]


def test_refinements_are_counted_by_what_was_decided() -> None:
    counts: dict[str, float] = {}
    actions: list[m.RefineAction] = ["rewrite", "stop", "rewrite"]
    for round_, action in enumerate(actions, 2):
        refinement = m.Refinement(round=round_, prompt="a cat", action=action)
        count_record(counts, m.PromptRefined(trajectory=TRAJECTORY, refinement=refinement))
    assert counts == {"refinements/rewrite": 2.0, "refinements/stop": 1.0}
