"""Learning from a run reads what its memory has, and draws nothing for evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gems_actors.app.bulk import BulkOptions, spec_of
from gems_actors.app.bulk import run as run_bulk
from gems_actors.app.skills.evidence import distil
from gems_actors.app.skills.learn_interface import LearnOptions
from gems_actors.app.skills.preparing import plan_of
from gems_actors.app.skills.sources import read_run_states
from gems_actors.errors import UsageError
from tests.gems_actors.app.skills.fast_mesh import open_fast_mesh
from tests.gems_actors.app.skills.laboratory import prompts

pytestmark = pytest.mark.slow


async def test_the_trajectories_of_a_bulk_give_evidence_and_held_out_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(prompts(60)))
    (tmp_path / "learn").mkdir()
    async with open_fast_mesh(tmp_path) as options:
        spec = spec_of(tmp_path / "prompts.txt", replace(options, rounds=3, skill="none"))
        bulk = BulkOptions(spec=spec, file=tmp_path / "prompts.txt", out=tmp_path / "night", router=options.router)
        await run_bulk(bulk)
        states, records = await read_run_states(str(tmp_path / "night"), options, None)
        assert [record["prompt"] for record in records] == prompts(60)
        found = distil(states)
        assert found.trajectories == 60
        assert {count.kind for count in found.counts} == {"object", "count", "position"}
        assert all(count.turned <= count.unmet <= count.asked for count in found.counts)
        assert all(turn.question and turn.before != turn.after for turn in found.turns)

        learn = LearnOptions(out=tmp_path / "learn", run=str(tmp_path / "night"), options=options)
        plan = await plan_of(learn, None)
        assert (tmp_path / "learn/evidence.json").exists()
        assert not (tmp_path / "learn/evidence").exists()
        assert len(plan.train) + sum(map(len, plan.slices)) == 60
        assert await plan_of(learn, None) == plan
        with pytest.raises(UsageError, match="expected a run with trajectories drawn with the skill hats, got none"):
            await read_run_states(str(tmp_path / "night"), options, "hats")
        with pytest.raises(
            UsageError, match=r"^--from: expected a DIR of `gems bulk`, or a run that .*, got 'nowhere'"
        ):
            await read_run_states("nowhere", options, None)
