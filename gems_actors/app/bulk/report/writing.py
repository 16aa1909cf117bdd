"""Writes the report of a run into its folder, with what the folder or a running mesh remembers of its trajectories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from gems_actors.app.bulk.folder_files import MESH_FOLDER, inspect_folder, run_of
from gems_actors.app.bulk.report.page import ReportPage, Stories, Survey, read_failures
from gems_actors.app.bulk.rows import Row
from gems_actors.app.bulk.run_spec import RunSpec
from gems_actors.app.memory.access import MemoryLocation, open_memory
from gems_actors.app.picture_files import write_whole
from gems_actors.blobs import blob_folder
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError
from gems_actors.terminal_text import printable_lines
from protocol.identity import trajectory_id
from protocol.messages import ListRuns, ReadTrajectory


async def write_report(folder: Path, spec: RunSpec, shown: int, router: str | None) -> Path:
    """Write `report.html` into the folder of a run, which may be running, and return its path.

    The page shows up to `shown` trajectories, those with unmet requirements first. If the folder has no memory, they
    are read from the mesh at `router`, or from the log in the run's data_dir.

    Raises:
        OutputError: the folder cannot be read or written.
        ConfigError: the memory log is damaged.
        RequestError: the mesh does not answer.
    """
    path = folder / "report.html"
    try:
        config = spec.read_config()
    except ConfigError:  # the configuration file of a run from another host may be missing
        config = MeshConfig()
    location = MemoryLocation(msgspec.structs.replace(config, data_dir=str((folder / MESH_FOLDER).absolute())), None)
    if not location.folders:
        location = MemoryLocation(config, router)
    survey = Survey(shown)
    state = inspect_folder(folder, survey.add)
    page = ReportPage(
        spec=spec,
        state=state,
        folder=folder,
        blobs=blob_folder(location.config),
        survey=survey,
        stories=await _read_stories(location, run_of(folder), survey.shown),
        failures=read_failures(folder, shown),
    )
    write_whole(path, printable_lines("".join(page.pieces())).encode())
    return path


async def _read_stories(location: MemoryLocation, run: str, rows: Iterable[Row]) -> Stories:
    """Return the trajectories of rows, as far as memory has them."""
    if location.router is None and not location.folders:
        return {}
    async with open_memory(location) as memory:
        runs = [run]
        if location.router is None:  # the name of a run comes from the folder's first path; the folder may have moved
            runs += [found.run for found in (await memory.ask(ListRuns())).runs if found.run != run]
        stories = {}
        for row in rows:
            ids = [trajectory_id(run_, row.index, row.sample, row.key) for run_ in runs]
            for id_ in [row.trajectory] if row.trajectory else ids:
                if (state := await memory.ask(ReadTrajectory(trajectory=id_))).attempts:
                    stories[row.index, row.sample] = state
                    break
        return stories
