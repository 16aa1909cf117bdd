"""How often skills are chosen, what trials say of them, and when they were last used: from all known memories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from actors.memory_store.scatter_gather import merge_skill_uses, merge_uses
from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.memory.access import MemoryLocation, open_memory
from gems_actors.app.run_history import read_history
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError, RequestError
from protocol.messages import CountSkills, SkillTrial, SkillUse, SkillUses
from skills import Skill


class SkillReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one version of a skill."""

    skill: str
    digest: str
    """Digest of the version; empty for records of earlier versions of this package."""
    is_offered: bool
    """Whether planners are offered this version now."""
    chosen: int
    """Pictures for which a planner chose it."""
    fixed: int
    """Pictures for which it was named, as by `--skill` or in a trial."""
    last_at: float | None
    """When it was used last, in Unix time; None if never."""
    trials: int
    latest: SkillTrial | None
    """Its latest trial."""


def locations(config: MeshConfig, router: str | None, folders: Sequence[Path]) -> Iterator[MemoryLocation]:
    """Yield the memories to read: that of a running mesh, those of folders, or all that this user's runs have left."""
    if router is not None:
        yield MemoryLocation(config, router)
        return
    seen: set[Path] = set()
    paths = [_memory_of(folder) for folder in folders]
    if not folders:
        runs = (Path(row.entry.where) for row in read_history() if row.entry.kind == "bulk")
        paths = [config.data_path, *map(_memory_of, runs)]
    for path in paths:
        if path is not None and path not in seen:
            seen.add(path)
            location = MemoryLocation(msgspec.structs.replace(config, data_dir=str(path)), None)
            if location.folders:
                yield location
            elif folders:
                raise ConfigError(f"{path}: expected a memory log, got none")


def _memory_of(folder: Path) -> Path | None:
    """Return the folder of the memory of a bulk: its own, or that of the trial or learning that it is part of."""
    folder = folder.absolute()
    for owner in (folder, *folder.parents[:3]):
        if MemoryLocation(MeshConfig(data_dir=str(owner / MESH_FOLDER)), None).folders:
            return owner / MESH_FOLDER
    return folder


async def read_uses(found: Iterable[MemoryLocation]) -> tuple[SkillUses, list[str]]:
    """Return what the memories say together, and why some of them could not be read."""
    parts, problems = [SkillUses(uses=(), trials=())], []
    for location in found:
        try:
            async with open_memory(location) as memory:
                parts.append(await memory.ask(CountSkills()))
        except (ConfigError, RequestError) as error:
            if location.router is not None:
                raise
            problems.append(str(error))
    return merge_skill_uses(parts), problems


def report_of(uses: SkillUses, offered: Sequence[Skill]) -> list[SkillReport]:
    """Return a report for each version that was chosen, tried or is offered: those chosen most often first."""
    current = {skill.id: skill.digest for skill in offered}
    ids = {item.trial.digest: item.trial.skill for item in uses.trials} | {d: id_ for id_, d in current.items()}
    used: dict[tuple[str, str], SkillUse] = {}
    for use in (use for use in uses.uses if use.skill):
        key = (ids.get(use.digest, use.skill), use.digest)  # a candidate has another id while it is tried
        used[key] = merge_uses(used[key], use) if key in used else use
    trials: dict[tuple[str, str], dict[str, SkillTrial]] = {}
    for item in uses.trials:
        key = (ids[item.trial.digest], item.trial.digest)
        trials.setdefault(key, {})[item.trial.trial] = item
    reports = [
        _report_of(key, used.get(key), list(trials.get(key, {}).values()), is_offered=current.get(key[0]) == key[1])
        for key in dict.fromkeys([*used, *trials, *current.items()])
    ]
    return sorted(reports, key=lambda item: (-item.chosen, -item.fixed, item.skill, not item.is_offered))


def _report_of(
    key: tuple[str, str], use: SkillUse | None, trials: Sequence[SkillTrial], *, is_offered: bool
) -> SkillReport:
    return SkillReport(
        skill=key[0],
        digest=key[1],
        is_offered=is_offered,
        chosen=use.chosen if use else 0,
        fixed=use.fixed if use else 0,
        last_at=use.last_at if use else None,
        trials=len(trials),
        latest=max(trials, key=lambda item: item.at, default=None),
    )


def never_chosen(reports: Sequence[SkillReport]) -> list[str]:
    """Return the ids of skills that planners are offered, but have chosen in no version: a silent bypass."""
    used = {item.skill for item in reports if item.chosen}
    return sorted({item.skill for item in reports if item.is_offered} - used)
