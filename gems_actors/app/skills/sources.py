"""Reads the trajectories of a run, from the folder of a bulk or from memory, to learn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.memory.access import MemoryLocation, list_trajectories, locate_memory, open_memory
from gems_actors.app.options import DrawOptions
from gems_actors.errors import ConfigError, RefusedError, UsageError
from protocol.messages import DrawSettings, ReadTrajectory, TrajectoryState

MAX_TRAJECTORIES: Final = 4_000
"""Trajectories that are read of a run, the first ones: more evidence than a curator can be shown."""


async def read_run_states(
    run: str, options: DrawOptions, skill: str | None
) -> tuple[list[TrajectoryState], list[dict[str, Any]]]:
    """Return the trajectories of a run that ended, only those drawn with a skill if one is given, and their prompts.

    Raises:
        UsageError: there is no such run, or none of its trajectories fits.
        RequestError: memory failed.
    """
    config = options.read_config()
    folder = Path(run)
    is_folder = (folder / "run.json").is_file()
    own = MemoryLocation(msgspec.structs.replace(config, data_dir=str((folder / MESH_FOLDER).absolute())), None)
    try:
        location = (
            own if is_folder and own.folders else locate_memory(config, None, None)
        )  # a bulk may use another mesh
    except ConfigError as error:
        what = "a DIR of `gems bulk`, or a run in a memory"
        raise UsageError(f"--from: {run}: expected {what}, got neither; {config.data_path} has no memory") from error
    async with open_memory(location) as memory:
        if is_folder:
            ids = [row.trajectory for row in rows_of(folder) if row.trajectory]
        else:
            try:
                ids = [found.trajectory for found in await list_trajectories(memory, run, "ended")]
            except RefusedError as error:  # memory does not know the run
                what = "a DIR of `gems bulk`, or a run that `gems memory runs` lists"
                raise UsageError(f"--from: expected {what}, got {run!r}") from error
        states = []
        for trajectory in ids[:MAX_TRAJECTORIES]:
            state = await memory.ask(ReadTrajectory(trajectory=trajectory))
            if state.task is not None and state.ending is not None and (skill is None or _skill_of(state) == skill):
                states.append(state)
    if not states:
        what = "trajectories that ended" if skill is None else f"trajectories drawn with the skill {skill}"
        raise UsageError(f"--from: expected a run with {what}, got none in {run}")
    return states, [_record_of(state) for state in states]


def _skill_of(state: TrajectoryState) -> str | None:
    return state.plan.skill if state.plan else None


def _record_of(state: TrajectoryState) -> dict[str, Any]:
    """Return the prompt of a trajectory with the drawing fields that differ from the protocol's defaults."""
    task = state.task
    settings = task.settings if task else DrawSettings()
    record: dict[str, Any] = {"prompt": state.request_prompt}
    if (settings.width_px, settings.height_px) != (DrawSettings().width_px, DrawSettings().height_px):
        record["size"] = f"{settings.width_px}x{settings.height_px}"
    for name in ("steps", "guidance", "negative_prompt"):
        if (value := getattr(settings, name)) is not None:
            record[name] = value
    return record
