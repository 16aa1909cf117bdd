"""Learning finds what helps, rejects what does not, stays within its budget and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from actors.curator import Curator
from gems_actors.actor import Actor, answers
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.bulk.running.limits import ANYTHING, NOTHING
from gems_actors.app.skills.budget import Spending
from gems_actors.app.skills.learn_interface import LearnOptions
from gems_actors.app.skills.learning import run
from gems_actors.errors import BackendError, UsageError
from protocol.messages import ProposeSkill, SkillEdit, SkillProposal, Spent
from skills import check_skill, load_skill
from skills.editing import skill_text
from tests.gems_actors.app.skills.fast_mesh import FastConductor, open_fast_mesh
from tests.gems_actors.app.skills.laboratory import HARMFUL, HELPFUL, NEUTRAL, prompts

pytestmark = pytest.mark.slow

MOST_CALLS = 388
"""Calls that a picture of the evidence may cost where calls are limited."""
OWN = skill_text("counting", "Use for counts.", "- Draw plainly.", {})


class Scripted:
    """A curator that proposes rules from a list, and what it was asked."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.asked: list[ProposeSkill] = []
        scripted = self

        class ScriptedCurator(Actor):
            role = "curator"

            @answers
            async def propose(self, request: ProposeSkill) -> SkillProposal:
                await trio.lowlevel.checkpoint()
                scripted.asked.append(request)
                rule = rules[len(scripted.asked) - 1] if len(scripted.asked) <= len(rules) else ""
                edits = (SkillEdit(action="add", text=f"- {rule}"),) if rule else ()
                return SkillProposal(edits=edits, spent=Spent(calls=1))

        self.role: type[Actor] = ScriptedCurator


@asynccontextmanager
async def open_school(
    folder: Path, curator: type[Actor], *, count: int = 80, conductor: type[FastConductor] = FastConductor
) -> AsyncIterator[LearnOptions]:
    """Start a mesh with a curator, and yield the options of learning with it; learnt skills go to `mine`."""
    (folder / "mine").mkdir()
    (folder / "prompts.txt").write_text("\n".join(prompts(count)))
    skills = (folder / "mine", folder / "learn/skills")
    async with open_fast_mesh(folder, curator, skills=skills, conductor=conductor) as options:
        yield LearnOptions(
            out=folder / "learn",
            file=folder / "prompts.txt",
            options=replace(options, rounds=3),
            proposals=2,
            samples=4,
        )


def own_skill(folder: Path) -> None:
    (folder / "mine/counting").mkdir()
    (folder / "mine/counting/SKILL.md").write_text(OWN)


async def test_the_storyboard_curator_finds_the_rule_that_helps_without_knowing_it(tmp_path: Path) -> None:
    async with open_school(tmp_path, Curator) as options:
        result = await run(options)
        assert (result.outcome, result.skill) == ("accepted", "clear-counts"), result
        path = tmp_path / "mine/clear-counts"
        assert check_skill(path, for_gems=True) == ((), ())
        learnt = load_skill(path)
        assert "State every count in a clause of its own" in learnt.instructions
        text = (path / "SKILL.md").read_text()
        for key in ("learnt-parent", "learnt-from", "learnt-trial", "learnt-digest", "learnt-gain", "learnt-models"):
            assert f"  {key}: " in text
        split = json.loads((tmp_path / "learn/plan.json").read_text())
        train = {record["prompt"] for record in split["train"]}
        held_out = [{record["prompt"] for record in part} for part in split["slices"]]
        assert len(train) + sum(map(len, held_out)) == 80
        assert not train & held_out[0]
        assert not held_out[0] & held_out[1]
        judged = {row.prompt for path in (tmp_path / "learn/proposals").glob("*/with") for row in rows_of(path)}
        assert judged <= held_out[0] | held_out[1]
        assert {row.prompt for row in rows_of(tmp_path / "learn/evidence")} == train
        again = await run(options)
    assert again == result


async def test_harmful_and_neutral_edits_are_rejected_shown_to_the_curator_and_never_repeated(tmp_path: Path) -> None:
    curator = Scripted([HARMFUL, HARMFUL, NEUTRAL])
    async with open_school(tmp_path, curator.role) as options:
        own_skill(tmp_path)
        result = await run(replace(options, skill="counting"))
    assert (result.outcome, result.proposals, result.tried) == ("nothing_accepted", 3, 2)
    assert (tmp_path / "mine/counting/SKILL.md").read_text() == OWN
    rejected = [item.reason for item in curator.asked[2].rejected]
    assert "points of requirements met" in rejected[0]
    assert rejected[1] == "it was tried before"
    assert curator.asked[0].skill is not None
    assert curator.asked[0].skill.instructions == "- Draw plainly."
    assert {turn.kind for turn in curator.asked[0].turns} >= {"count", "position"}


async def test_an_edit_is_tried_against_its_parent_and_never_replaces_a_persons_file(tmp_path: Path) -> None:
    curator = Scripted([HELPFUL])
    async with open_school(tmp_path, curator.role) as options:
        own_skill(tmp_path)
        result = await run(replace(options, skill="counting"))
    assert (result.outcome, result.skill) == ("accepted", "counting-learnt")
    assert (tmp_path / "mine/counting/SKILL.md").read_text() == OWN
    assert load_skill(tmp_path / "mine/counting-learnt").instructions == f"- Draw plainly.\n- {HELPFUL}"
    rows = [*rows_of(tmp_path / "learn/proposals/1/without")]
    assert {row.skill for row in rows} == {"counting"}


async def test_edits_that_do_not_fit_are_not_drawn_and_end_the_command_when_nothing_else_comes(tmp_path: Path) -> None:
    class Confused(Actor):
        role = "curator"

        @answers
        async def propose(self, request: ProposeSkill) -> SkillProposal:
            await trio.lowlevel.checkpoint()
            edit = SkillEdit(action="replace", line=f"- No such line {len(request.rejected)}.", text="- Better.")
            return SkillProposal(edits=(edit,))

    async with open_school(tmp_path, Confused) as options:
        own_skill(tmp_path)
        result = await run(replace(options, skill="counting"))
    assert (result.outcome, result.proposals, result.tried) == ("nothing_proposed", 4, 0)
    assert not [*(tmp_path / "learn/proposals").glob("*/with")]


async def test_the_budget_of_images_holds_and_more_of_it_goes_on(tmp_path: Path) -> None:
    curator = Scripted([NEUTRAL, HELPFUL])
    async with open_school(tmp_path, curator.role) as options:
        own_skill(tmp_path)
        small = replace(options, skill="counting", max_images=250)
        first = await run(small)
        assert first.outcome == "budget_spent"
        assert first.images <= 250
        assert (await run(small)).images == first.images
        result = await run(replace(small, max_images=1_000))
    assert result.outcome == "accepted"
    assert result.images > first.images


@pytest.mark.parametrize("max_calls", [400, 1_000, 2_500])
async def test_the_budget_of_calls_holds_whatever_single_pictures_cost(tmp_path: Path, max_calls: int) -> None:
    class DearConductor(FastConductor):
        dear = prompts(80)[7::9]

    curator = Scripted([HELPFUL])
    async with open_school(tmp_path, curator.role, conductor=DearConductor) as options:
        own_skill(tmp_path)
        limited = replace(options, skill="counting", max_calls=max_calls)
        first = await run(limited)
        assert first.outcome == "budget_spent"
        assert max_calls - MOST_CALLS < first.calls <= max_calls
        assert (await run(limited)).calls == first.calls, "the same command has nothing left to spend"
        assert json.loads((tmp_path / "learn/plan.json").read_text())["calls_before_last_round"] == 128
        result = await run(replace(limited, max_calls=100_000))
    assert result.outcome == "accepted"
    assert result.calls > first.calls


async def test_pictures_that_fail_count_as_the_most_that_one_may_cost(tmp_path: Path) -> None:
    class BrokenConductor(FastConductor):
        broken = prompts(80)[::2]

    curator = Scripted([HELPFUL])
    async with open_school(tmp_path, curator.role, conductor=BrokenConductor) as options:
        small = replace(options, max_calls=2_000, max_images=10_000)
        for _ in range(2):
            result = await run(small)
            assert result.outcome == "budget_spent"
            failures = (tmp_path / "learn/evidence/failed.jsonl").read_text().splitlines()
            assert failures
            assert result.calls + MOST_CALLS * len(failures) <= 2_000


async def test_a_curator_that_fails_is_asked_only_while_its_calls_are_left(tmp_path: Path) -> None:
    asked = 0

    class FailingCurator(Actor):
        role = "curator"

        @answers
        async def propose(self, request: ProposeSkill) -> SkillProposal:
            nonlocal asked
            await trio.lowlevel.checkpoint()
            asked += 1
            raise BackendError("no proposal here")

    async with open_school(tmp_path, FailingCurator) as options:
        with pytest.raises(BackendError, match="no proposal here"):
            await run(replace(options, max_calls=5_000))
        assert asked == 1
        calls = Spending(tmp_path / "learn", ANYTHING, {"evidence": NOTHING}).calls
        with pytest.raises(BackendError, match="no proposal here"):
            await run(replace(options, max_calls=calls + 5))
        assert (await run(replace(options, max_calls=calls + 5))).outcome == "budget_spent"
        assert asked == 2, "two failures may have cost four calls"


async def test_fewer_calls_than_a_picture_may_cost_are_refused(tmp_path: Path) -> None:
    curator = Scripted([])
    async with open_school(tmp_path, curator.role) as options:
        with pytest.raises(UsageError, match=r"--calls: expected at least 388, which a picture with 64 requirements"):
            await run(replace(options, max_calls=387))


async def test_a_folder_of_another_task_is_refused(tmp_path: Path) -> None:
    curator = Scripted([])
    async with open_school(tmp_path, curator.role) as options:
        assert (await run(replace(options, max_images=400))).outcome == "nothing_proposed"
        (tmp_path / "learn/result.json").unlink()
        with pytest.raises(UsageError, match="expected a new folder or samples 4 as before, got 2"):
            await run(replace(options, samples=2))


async def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    curator = Scripted([])
    async with open_school(tmp_path, curator.role, count=10) as options:
        with pytest.raises(UsageError, match=r"^--prompts: expected at least 40 different prompts, got 10"):
            await run(options)


async def test_a_mistyped_skill_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cow\n")
    with pytest.raises(UsageError, match=r"^--skill: expected one of the skills .*, got 'hats'"):
        await run(LearnOptions(out=tmp_path / "out", file=tmp_path / "prompts.txt", skill="hats"))
    assert not (tmp_path / "out").exists()
