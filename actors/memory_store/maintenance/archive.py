"""Moving the records of finished runs from the live file to an archive."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from actors.memory_store.log import Damage, LogEntry
from actors.memory_store.log_folder import LOG_NAME, archive_path, damage_error, decode_entry, describe_damage
from actors.memory_store.maintenance.log_reader import check_has_log
from actors.memory_store.maintenance.rewriter import LogRewriter, check_room, rebuild_index
from actors.memory_store.store import MemoryStore, open_memory_store
from protocol import messages as m


class Archived(NamedTuple):
    """Runs that were moved to an archive, or would be in a dry run."""

    path: Path | None
    """The new archive; None if nothing was moved."""
    runs: list[str]
    records: int
    kept: list[str]
    """Older runs that stay in the live file, each with the reason."""
    live_bytes_before: int
    live_bytes_after: int


def unfinished_runs(folder: Path, before: float) -> set[str]:
    """Return the runs of a log that are not finished, or have records since the Unix time `before`.

    Raises:
        ConfigError: the folder cannot be used, another process holds it, or the log is damaged.
    """
    check_has_log(folder)
    with open_memory_store(folder) as store:
        finished, _ = _finished_runs(store, before)
        return {run.run for run in _all_runs(store)} - finished


def archive_runs(
    folder: Path, before: float, *, is_dry_run: bool, excluded: AbstractSet[str] = frozenset()
) -> Archived:
    """Move the records of finished runs without records since `before` from the live file to a new archive.

    A crash at any moment leaves every record in the live file, in the archive, or in both; running it again resumes.
    `excluded` runs stay, such as those that another shard has not finished; a dry run returns what would be moved.

    Raises:
        ConfigError: the folder cannot be used, another process holds it, the log is damaged, or the disk is too full.
    """
    check_has_log(folder)
    with open_memory_store(folder) as store:
        finished, kept = _finished_runs(store, before)
        sorter = _Sorter(store, finished - excluded)
        moved: set[str] = set()
        records = duplicates = 0
        for found in store.live.scan():
            _, run, is_staying = sorter.sort(found)
            if run is not None:
                records += 1
                moved.add(run)
            elif not is_staying:
                duplicates += 1
        runs, size = sorted(moved), store.live.end
        if is_dry_run or not (records or duplicates):
            return Archived(None, runs, records, kept, size, size)
        check_room(folder, size)
        path = archive_path(folder, max(store.archives, default=0) + 1)
        path.parent.mkdir(exist_ok=True)
        identity = store.live.identity
        archive = LogRewriter(path.with_suffix(".part"), identity)
        live = LogRewriter(folder / f"{LOG_NAME}.part", identity._replace(generation=identity.generation + 1))
        for found in store.live.scan():
            entry, run, is_staying = sorter.sort(found)
            if run is not None:
                archive.add(entry)
            elif is_staying:
                live.add(entry)
        archive.finish(path if records else None)
        live.finish(store.live.path)  # in this order every record is always in one of the two files
    rebuild_index(folder)
    return Archived(path if records else None, runs, records, kept, size, (folder / LOG_NAME).stat().st_size)


class _Sorter:
    """Decides which records of the live file move to the archive."""

    def __init__(self, store: MemoryStore, finished: set[str]) -> None:
        self._store = store
        self._finished = finished
        self._runs: dict[str, str] = {}
        """Run of each trajectory that has begun and not ended so far."""
        self._archived = {
            found.sequence for file in store.archives.values() for found in file.scan() if isinstance(found, LogEntry)
        }
        """Sequences that are in an archive; an interrupted move leaves them in the live file, too."""

    def sort(self, found: LogEntry | Damage) -> tuple[LogEntry, str | None, bool]:
        """Return a record, the run with which it moves, and whether it stays; neither if an archive has it already."""
        live = self._store.live
        if isinstance(found, Damage):
            raise damage_error(live, describe_damage(found))
        run = self._run_of(decode_entry(live, found))
        if found.sequence in self._archived:
            return found, None, False
        return (found, run, False) if run in self._finished else (found, None, True)

    def _run_of(self, record: m.AnyRecord) -> str | None:
        if isinstance(record, m.TrajectoryBegun):
            self._runs[record.trajectory] = record.task.run
        if isinstance(record, m.TrajectoryRecord):
            run = self._runs.get(record.trajectory)
            if run is None:
                run = self._store.index.trajectory(record.trajectory).run_name
            if isinstance(record, m.TrajectoryEnded):
                self._runs.pop(record.trajectory, None)
            return run
        return record.run if isinstance(record, m.RunBegun) else None


def _finished_runs(store: MemoryStore, before: float) -> tuple[set[str], list[str]]:
    """Return the finished runs without records since `before`, and the unfinished older ones with the reason."""
    finished: set[str] = set()
    kept: list[str] = []
    for run in _all_runs(store):
        if run.last_at < before and run.running:
            kept.append(f"{run.run}: {run.running} trajectories are not finished")
        elif run.last_at < before:
            finished.add(run.run)
    return finished, kept


def _all_runs(store: MemoryStore) -> Iterator[m.RunSummary]:
    page = m.Runs(runs=(), next=2**62)
    while page.next is not None:
        page = store.index.list_runs(m.ListRuns(before=page.next, limit=1000))
        yield from page.runs
