"""Reads a log without its lock: all records in order, the pictures that they name, and what the index knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import apsw

from actors.memory_store import log_folder
from actors.memory_store.index_db import open_reader
from actors.memory_store.log import Damage, Identity, LogEntry, LogFile, Tail, open_log_file
from actors.memory_store.log_folder import INDEX_NAME, LIVE, LOG_NAME
from gems_actors.errors import ConfigError, LogError
from protocol import messages as m


@contextmanager
def open_files(folder: Path) -> Iterator[tuple[LogFile, dict[int, LogFile]]]:
    """Open a log and its archives for reading, up to where they end now.

    Raises:
        ConfigError: the folder has no log, or one of its files is not a memory log.
    """
    check_has_log(folder)
    with ExitStack() as stack:
        live = open_log_file(folder / LOG_NAME)
        stack.callback(live.close)
        yield live, log_folder.open_archives(stack, folder, live.identity.id)


def check_has_log(folder: Path) -> None:
    """Check that a folder has a log.

    Raises:
        ConfigError: it has none.
    """
    if not (folder / LOG_NAME).exists():
        raise ConfigError(f"{folder}: expected a memory log, got none")


def is_unfinished(number: int, found: Damage | Tail, last_indexed: int) -> bool:
    """Return whether it is a commit at the end of the live file that was never acknowledged."""
    return number == LIVE and isinstance(found, Tail) and found.after >= last_indexed


def index_position(folder: Path) -> tuple[Identity, int] | None:
    """Return the live file that the index belongs to and the last sequence in it, or None if it cannot be read."""
    path = folder / INDEX_NAME
    if not path.exists():
        return None
    try:
        with closing(open_reader(path)) as connection:
            ((id_, generation, last),) = connection.execute("SELECT log_id, generation, sequence FROM position")
    except (apsw.Error, ValueError):
        return None
    return Identity(id_, generation), last


def last_indexed(folder: Path) -> int:
    """Return the last sequence in the index, or 0 if the index cannot be read."""
    position = index_position(folder)
    return position[1] if position else 0


def indexed_trajectories(folder: Path) -> Iterator[str]:
    """Yield the trajectories in the index; none if the index cannot be read."""
    with suppress(apsw.Error, ValueError), closing(open_reader(folder / INDEX_NAME)) as connection:
        for (id_,) in connection.execute("SELECT id FROM trajectories"):
            yield id_


def indexed_archives(folder: Path) -> list[int]:
    """Return the numbers of the archives in the index; none if the index cannot be read."""
    try:
        with closing(open_reader(folder / INDEX_NAME)) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM archives")]
    except apsw.Error:
        return []


def export_records(folder: Path, *, run: str | None = None) -> Iterator[m.LoggedRecord | str]:
    """Yield all records of a log and its archives in order, or those of one run; damage is yielded as a line of text.

    Raises:
        ConfigError: the folder has no log, or one of its files is not a memory log.
    """
    with open_files(folder) as (live, archives):
        trajectories: set[str] = set()
        last = 0
        indexed = last_indexed(folder)
        for number, found in log_folder.merge_files(archives, live):
            file = live if number == LIVE else archives[number]
            if not isinstance(found, LogEntry):
                if not is_unfinished(number, found, indexed):
                    yield f"{file.path}: {log_folder.describe_damage(found)}"
            elif found.sequence > last:
                last = found.sequence
                try:
                    logged = log_folder.logged_record(file, found)
                except LogError as error:
                    yield str(error)
                    continue
                if run is None or _is_of_run(logged.record, run, trajectories):
                    yield logged


class NamedImages(NamedTuple):
    """The pictures that records name, by digest."""

    drawn: dict[str, m.ImageRef]
    given: dict[str, m.ImageRef]
    """Those that runs and tasks refer to and that were not drawn for a record of the same log."""


def named_images(folder: Path, problems: list[str]) -> NamedImages:
    """Return the pictures that records name, and add each unreadable record to `problems`."""
    drawn, given = dict[str, m.ImageRef](), dict[str, m.ImageRef]()
    for found in export_records(folder):
        if isinstance(found, str):
            problems.append(found)
            continue
        match found.record:
            case m.TrajectoryBegun(task=task) | m.TrajectoryReopened(task=task):
                given |= {image.digest: image for image in task.references}
            case m.RunBegun(references=references):
                given |= {image.digest: image for image in references}
            case m.AttemptVerified(attempt=attempt):
                drawn[attempt.image.digest] = attempt.image
                given |= {image.digest: image for image in attempt.references}
    return NamedImages(drawn, {digest: image for digest, image in given.items() if digest not in drawn})


def _is_of_run(record: m.AnyRecord, run: str, trajectories: set[str]) -> bool:
    """Return whether a record belongs to a run, and add the run's trajectories to the set as they begin."""
    if isinstance(record, m.TrajectoryBegun) and record.task.run == run:
        trajectories.add(record.trajectory)
    if isinstance(record, m.TrajectoryRecord):
        return record.trajectory in trajectories
    return isinstance(record, m.RunBegun) and record.run == run
