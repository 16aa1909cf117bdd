"""All records of a log in order, with those of its archives, and the pictures that they name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from actors.memory_store.log import LogEntry
from actors.memory_store.log_folder import LIVE, describe_damage, logged_record, merge_files
from actors.memory_store.maintenance.log_reader import is_unfinished, last_indexed, open_files
from gems_actors.errors import LogError
from protocol import messages as m


def export_records(folder: Path, *, run: str | None = None) -> Iterator[m.LoggedRecord | str]:
    """Yield all records of a log and its archives in order, or those of one run; damage is yielded as a line of text.

    Raises:
        ConfigError: the folder has no log, or one of its files is not a memory log.
    """
    with open_files(folder) as (live, archives):
        trajectories: set[str] = set()
        last = 0
        indexed = last_indexed(folder)
        for number, found in merge_files(archives, live):
            file = live if number == LIVE else archives[number]
            if not isinstance(found, LogEntry):
                if not is_unfinished(number, found, indexed):
                    yield f"{file.path}: {describe_damage(found)}"
            elif found.sequence > last:
                last = found.sequence
                try:
                    logged = logged_record(file, found)
                except LogError as error:
                    yield str(error)
                    continue
                if run is None or _is_of_run(logged.record, run, trajectories):
                    yield logged


def named_images(folder: Path, problems: list[str]) -> dict[str, m.ImageRef]:
    """Return the pictures that records name, by digest, and add each unreadable record to `problems`."""
    images: dict[str, m.ImageRef] = {}
    for found in export_records(folder):
        if isinstance(found, str):
            problems.append(found)
        elif isinstance(found.record, m.AttemptVerified):
            image = found.record.attempt.image
            images[image.digest] = image
    return images


def _is_of_run(record: m.AnyRecord, run: str, trajectories: set[str]) -> bool:
    """Return whether a record belongs to a run, and add the run's trajectories to the set as they begin."""
    if isinstance(record, m.TrajectoryBegun) and record.task.run == run:
        trajectories.add(record.trajectory)
    if isinstance(record, m.TrajectoryRecord):
        return record.trajectory in trajectories
    return isinstance(record, m.RunBegun) and record.run == run
