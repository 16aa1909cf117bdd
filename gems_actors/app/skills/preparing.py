"""Prepares learning: reads the prompts, divides them, and keeps the plan and the skill that is to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import write_whole
from gems_actors.app.skills.budget import CALLS_BEFORE_LAST_ROUND, most_of
from gems_actors.app.skills.evidence import distil
from gems_actors.app.skills.learn_files import read_json, write_json
from gems_actors.app.skills.learn_interface import LearnOptions
from gems_actors.app.skills.plan import Plan, Record, split
from gems_actors.app.skills.sources import read_run_states
from gems_actors.app.skills.trial import NONE, read_prompts
from gems_actors.app.skills.workbench import SKILLS_FOLDER
from gems_actors.errors import UsageError
from protocol.messages import TrajectoryState
from skills import Skill, load_skill
from skills.parsing import FILE_NAME


async def plan_of(options: LearnOptions, skill: Skill | None) -> Plan:
    """Return the plan of a folder, made at the first call.

    Raises:
        UsageError: the folder is that of another task, or there are too few prompts.
    """
    path = options.out / "plan.json"
    wanted = Plan(
        source=options.run if options.run is not None else str(options.file),
        source_kind="prompts" if options.run is None else "run",
        skill=options.skill,
        parent=NONE if skill is None else f"{skill.id}@{skill.digest}",
        seed=options.options.seed or 0,
        samples=options.samples,
        confidence=options.confidence,
        settings=msgspec.json.decode(msgspec.json.encode(options.options.settings())),
        calls_before_last_round=_calls_of_rounds(options),
    )
    if (known := read_json(path, Plan)) is not None:
        for name in ("source", "skill", "seed", "samples", "confidence", "settings"):
            if (before := getattr(known, name)) != (got := getattr(wanted, name)):
                expected = f"expected a new folder or {name} {before} as before"
                raise UsageError(f"--out: {options.out}: {expected}, got {got}")
        return known
    states: Sequence[TrajectoryState] = ()
    records: Sequence[Record]
    if options.run is not None:
        states, records = await read_run_states(options.run, options.options, skill.id if skill else None)
    else:
        records = read_prompts(options.file or Path(), "--prompts")
    plan = _divided(wanted, records, options)
    if options.run is not None:
        prompts = {record["prompt"] for record in plan.train}
        write_json(options.out / "evidence.json", distil(s for s in states if s.request_prompt in prompts))
    write_json(path, plan)
    return plan


def _divided(plan: Plan, records: Sequence[Record], options: LearnOptions) -> Plan:
    """Return a plan with the prompts divided: at most half of the images go into evidence, the others into trials."""
    limit, max_train, left = options.max_images, None, options.max_images
    if limit is not None and left is not None and options.run is None:
        each = int(most_of(options.options).images)
        max_train = max(1, limit // 2 // each)
        left -= min(len(records), max_train) * each
    each = int(most_of(of_one_round(options.options)).images)
    max_slice = None if left is None else max(0, left // (2 * options.samples * each))
    train, slices = split(
        records,
        seed=plan.seed,
        proposals=options.proposals,
        max_train=max_train,
        max_slice=max_slice,
        what="--prompts" if options.run is None else "--from",
    )
    parts = tuple(tuple(map(dict, part)) for part in slices)
    return msgspec.structs.replace(plan, train=tuple(map(dict, train)), slices=parts)


def _calls_of_rounds(options: LearnOptions) -> int | None:
    """Return after how many calls no picture begins another round; None where calls are not limited."""
    own = options.options.read_config().budget.max_calls_per_trajectory
    return None if options.max_calls is None else min(own or CALLS_BEFORE_LAST_ROUND, CALLS_BEFORE_LAST_ROUND)


def of_one_round(options: DrawOptions, skill: str | None = None) -> DrawOptions:
    """Return how the pictures of a trial are drawn, with a skill."""
    return replace(options, skill=skill, rounds=1, images=None)


def keep_parent(out: Path, skill: Skill | None) -> Skill | None:
    """Copy the skill to change into the folder, and return the copy: the user's file may change meanwhile.

    Raises:
        OutputError: it cannot be written.
    """
    if skill is None:
        return None
    path = out / SKILLS_FOLDER / skill.id
    if not (path / FILE_NAME).exists():
        path.mkdir(parents=True, exist_ok=True)
        write_whole(path / FILE_NAME, (skill.path / FILE_NAME).read_bytes())
    return load_skill(path)
