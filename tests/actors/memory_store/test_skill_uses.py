"""Memory counts how often each version of a skill is chosen or named, and keeps trials."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from actors.memory_store.queries import answer
from actors.memory_store.scatter_gather import merge_skill_uses
from actors.memory_store.store import open_memory_store
from protocol.messages import (
    CountSkills,
    DrawPicture,
    DrawSettings,
    PromptPlanned,
    SkillTried,
    SkillUse,
    SkillUses,
    TrajectoryBegun,
)

OLD, NEW = "0" * 16, "1" * 16
TRIED = SkillTried(
    trial="a" * 16, skill="counts", digest=NEW, against="none", prompts=24, pictures=96, verdict="helps",
    change=0.05, low=0.01, high=0.09, confidence=0.95,
)  # fmt: skip


def begun(line: int, skill: str | None = None) -> TrajectoryBegun:
    task = DrawPicture(run="r", line=line, prompt="three cats", seed=1, settings=DrawSettings(skill=skill))
    return TrajectoryBegun(trajectory=task.trajectory, task=task)


def planned(line: int, skill: str | None, digest: str) -> PromptPlanned:
    return PromptPlanned(trajectory=begun(line).trajectory, prompt="three cats", skill=skill, skill_digest=digest)


def fill(folder: Path) -> SkillUses:
    clock = iter(range(100, 200)).__next__
    with open_memory_store(folder, clock=lambda: float(clock())) as store:
        for line, (wanted, skill, digest) in enumerate(
            [(None, "counts", OLD), (None, "counts", NEW), ("counts", "counts", NEW), (None, None, "")]
        ):
            store.append([begun(line, wanted)])
            store.append([planned(line, skill, digest)])
        store.append([begun(9)])  # not planned yet
        store.append([TRIED])
        return answer(store, CountSkills())


def test_choices_of_the_planner_are_told_from_skills_that_were_named(tmp_path: Path) -> None:
    found = fill(tmp_path)
    assert {(use.skill, use.digest): (use.chosen, use.fixed) for use in found.uses} == {
        ("counts", OLD): (1, 0),
        ("counts", NEW): (1, 1),
        ("", ""): (1, 0),
    }
    assert [use.last_at for use in found.uses] == sorted((use.last_at for use in found.uses), reverse=True)
    assert [item.trial for item in found.trials] == [TRIED]


def test_the_index_finds_the_same_after_it_was_lost(tmp_path: Path) -> None:
    found = fill(tmp_path)
    (tmp_path / "index.db").unlink()
    with open_memory_store(tmp_path) as store:
        assert answer(store, CountSkills()) == found


def test_shards_add_up() -> None:
    use = SkillUse(skill="counts", digest=NEW, chosen=2, fixed=1, last_at=5.0)
    one = SkillUses(uses=(use,), trials=())
    two = SkillUses(uses=(replace(use, chosen=3, last_at=9.0), replace(use, digest=OLD, last_at=1.0)), trials=())
    assert merge_skill_uses([one, two]).uses == (
        replace(use, chosen=5, fixed=2, last_at=9.0),
        replace(use, digest=OLD, last_at=1.0),
    )
