"""The index: a database derived from the log, so that queries need not read all of it. It can be deleted at any time.

It knows where the records of each trajectory are, the status of all trajectories and runs, the words of prompts whose
experiences can be recalled, and the checksums of the log that was read. It follows the log in memory and writes changes
from time to time; what it had not written when its process was killed, it reads from the log again. Each of its pages
is under a checksum, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import structlog

from actors.memory_store import index_queries, index_rows, skill_rows
from actors.memory_store.full_text import split_words
from actors.memory_store.index_db import TABLES, check_library, create_database, open_existing, remove_index
from actors.memory_store.index_rows import IndexedRun, IndexedTrajectory, RecordLocation
from actors.memory_store.log import HEADER_BYTES, Identity
from actors.memory_store.log_folder import Extent
from actors.memory_store.replay import step_of
from actors.memory_store.run_tally import RunTally
from gems_actors.errors import ConfigError, LogError
from protocol import messages as m
from protocol.costs import costs_of

_MAX_STORED_CHARS: Final = 200
_MAX_SEARCHED_CHARS: Final = 4000
"""Length of the part of a prompt that a search in the history reads."""

_log = structlog.get_logger()


class IndexFailedError(LogError):
    """The database failed and was removed; it is rebuilt when the store is opened again."""


class StoreLimits(NamedTuple):
    """Sizes of a store and its index; only tests change them."""

    extent_bytes: int = 256 * 1024
    """Minimum size of an extent, which has one checksum."""
    max_cached: int = 4096
    """Maximum number of trajectories, and of runs, held in memory; more than one conductor draws at once."""
    verified_at_open_bytes: int = 1 << 30
    """Size of the newest part of the live file that opening verifies; the rest is verified in the background."""


DEFAULT_LIMITS: Final = StoreLimits()


class Index:
    """The open index of a log; create with `open_index`."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        read: Callable[[RecordLocation], m.AnyRecord],
        limits: StoreLimits,
    ) -> None:
        self.path = path
        self.connection = connection
        self._read = read
        self._limits = limits
        self._trajectories: OrderedDict[str, IndexedTrajectory] = OrderedDict()
        self._changed: list[IndexedTrajectory] = []
        self._runs: dict[str, IndexedRun] = {}
        self._changed_runs: list[IndexedRun] = []
        self._recallable: list[tuple[int, str]] = []
        self._begun: list[tuple[int, str]] = []
        self._is_changed = False
        self._is_writing = False
        (row,) = self._select("SELECT log_id, generation, sequence FROM position")
        self.identity = Identity(row[0], row[1])
        self.last: int = row[2]
        """Sequence of the newest record in any file."""
        self._open_extents = {row[0]: Extent(*row) for row in self._select("SELECT * FROM open_extents")}
        self._next_trajectory: int = self._select("SELECT coalesce(max(number), 0) + 1 FROM trajectories")[0][0]
        self._next_run: int = self._select("SELECT coalesce(max(number), 0) + 1 FROM runs")[0][0]

    # ------------------------------------------------------------------------------------------------ writing

    def trajectory(self, id_: str) -> IndexedTrajectory:
        """Return a trajectory; an empty one if the log has no record of it."""
        found = self._trajectories.get(id_)
        if found is not None:
            self._trajectories.move_to_end(id_)
            return found
        found = self._load(id_) or IndexedTrajectory(id_)
        self._trajectories[id_] = found
        if len(self._trajectories) > self._limits.max_cached:
            self.flush()
            while len(self._trajectories) > self._limits.max_cached * 3 // 4:
                self._trajectories.popitem(last=False)
        return found

    def run(self, name: str) -> IndexedRun | None:
        """Return a run, or None if no record names it."""
        if name not in self._runs:
            rows = self._select(f"SELECT {', '.join(index_rows.RUN_FIELDS)}, tally FROM runs WHERE name = ?", name)
            if not rows:
                return None
            *values, packed = rows[0]
            run = IndexedRun(**dict(zip(index_rows.RUN_FIELDS, values, strict=True)))
            run.tally = RunTally.unpack(packed)
            self._runs[name] = run
        return self._runs[name]

    def add(self, record: m.AnyRecord, step: str | None, at: float, location: RecordLocation) -> None:
        """Index the next record of the log.

        Raises:
            IndexFailedError: the database failed; the store must be opened again.
        """
        self.last = location.sequence
        self._is_changed = True
        if not isinstance(record, m.TrajectoryRecord):
            if isinstance(record, m.RunBegun):
                run = self._run_of(record.run, at)
                run.begun, run.what, run.total = location.sequence, record.what[:_MAX_STORED_CHARS], record.total
                self._change(run, at)
            elif isinstance(record, m.SkillTried):
                self._execute(skill_rows.PUT_TRIAL, location.sequence, index_rows.pack_location(location))
            return
        found = self.trajectory(record.trajectory)
        if not found.number:
            found.number, self._next_trajectory = self._next_trajectory, self._next_trajectory + 1
            found.began_at = found.last_at = at
        found.locations.append(location)
        if step is not None:
            found.steps[step] = location.sequence
        if not found.is_changed:
            found.is_changed = True
            self._changed.append(found)
        found.note(record)
        match record:
            case m.TrajectoryBegun():
                self._note_begin(found, record, at)
            case m.TrajectoryEnded():
                self._note_end(found, record, at)
            case m.TrajectoryReopened():
                self._set_status(found, "running", "", at)
                found.outcome = None
                found.images = found.rounds = found.met = found.requirements = 0
            case m.TrajectoryFailed() if found.status != "ended":  # as earlier versions did with other requests
                self._set_status(found, "failed", record.failure.code, at)
            case _ if found.status == "failed":
                self._set_status(found, "running", "", at)
        if found.run_name is not None and (costs := costs_of(record)):
            run = self._run_of(found.run_name, at)
            run.tally.add_costs(costs)
            self._mark(run)

    def extend(self, file: int, end: int, checksum: int) -> None:
        """Note that a file was read up to `end`, and the checksum of its open extent up to there.

        Raises:
            IndexFailedError: the database failed; the store must be opened again.
        """
        extent = self.open_extent(file)._replace(end=end, checksum=checksum)
        if end - extent.offset >= self._limits.extent_bytes:
            self._execute("INSERT INTO extents VALUES (?, ?, ?, ?, ?)", *extent)
            extent = Extent(file, end, end, 0, self.last)
        self._open_extents[file] = extent
        self._is_changed = True

    def open_extent(self, file: int) -> Extent:
        """Return the last extent of a file, which still grows."""
        return self._open_extents.get(file) or Extent(file, HEADER_BYTES, HEADER_BYTES, 0, 0)

    def add_archive(self, number: int, records: int) -> None:
        """Note that all records of an archive are indexed, and how many it has."""
        self._execute("INSERT INTO archives VALUES (?, ?)", number, records)
        self._is_changed = True

    def flush(self) -> None:
        """Make all added records visible to queries on the database.

        Raises:
            IndexFailedError: the database failed; the store must be opened again.
        """
        if not (self._changed or self._changed_runs or self._recallable or self._begun):
            return
        try:
            self._begin()
            self._put(index_rows.PUT_RUN, map(index_rows.run_row, self._changed_runs))
            self._put(index_rows.PUT_TRAJECTORY, map(index_rows.trajectory_row, self._changed))
            self._put("INSERT INTO prompts (rowid, words) VALUES (?, ?)", self._recallable)
            self._put("INSERT INTO history (rowid, words) VALUES (?, ?)", self._begun)
        except apsw.Error as error:
            raise self.fail(error) from error
        for found in self._changed:
            found.is_changed = False
        for run in self._changed_runs:
            run.is_changed = False
        self._changed.clear()
        self._changed_runs.clear()
        self._recallable.clear()
        self._begun.clear()
        if len(self._runs) > self._limits.max_cached:
            self._runs.clear()

    def commit(self) -> None:
        """Write all changes since the last commit to disk.

        Raises:
            IndexFailedError: the database failed; the store must be opened again.
        """
        if not self._is_changed:
            return
        self.flush()
        self._execute("UPDATE position SET sequence = ?", self.last)
        for extent in self._open_extents.values():
            self._execute("INSERT OR REPLACE INTO open_extents VALUES (?, ?, ?, ?, ?)", *extent)
        self._execute("COMMIT")
        self._is_writing = self._is_changed = False

    def fail(self, error: apsw.Error) -> IndexFailedError:
        """Remove the database so that it is rebuilt when opened again, and return the error to raise."""
        remove_index(self.path)
        return IndexFailedError(f"{self.path}: the index of memory failed and will be rebuilt: {error}")

    def close(self) -> None:
        """Close the database; uncommitted changes are read from the log again."""
        self.connection.close()

    # ------------------------------------------------------------------------------------------------ reading

    def locations(self, id_: str) -> list[RecordLocation]:
        """Return where the records of a trajectory are, in log order; empty if no record names it."""
        if id_ in self._trajectories:
            return list(self._trajectories[id_].locations)
        rows = self._select("SELECT places FROM trajectories WHERE id = ?", id_)
        return index_rows.unpack_locations(rows[0][0]) if rows else []

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of trajectories by row number."""
        return [self._select("SELECT id FROM trajectories WHERE number = ?", number)[0][0] for number in numbers]

    def list_trajectories(self, request: m.ListTrajectories) -> m.Trajectories:
        """Return one page of the trajectories that a request selects."""
        self.flush()
        return index_queries.read_trajectories(self._select, request)

    def summaries(self, numbers: Sequence[int], limit: int) -> m.Trajectories:
        """Return a page of trajectories by row number, in that order; one number more says that more follow."""
        return index_queries.read_summaries(self._select, numbers, limit)

    def list_runs(self, request: m.ListRuns) -> m.Runs:
        """Return one page of the runs, latest first."""
        self.flush()
        return index_queries.read_runs(self._select, request)

    def run_figures(self, name: str) -> m.RunFigures:
        """Return what a run achieved and cost."""
        run = self.run(name)
        if run is None:
            return m.RunFigures()
        self.flush()
        return run.tally.figures(index_queries.read_failures(self._select, run.number))

    def counts(self) -> dict[str, int]:
        """Return the number of runs, trajectories by status, recallable trajectories and archived records."""
        self.flush()
        return index_queries.read_counts(self._select)

    def skill_uses(self) -> tuple[m.SkillUse, ...]:
        """Return how often each version of each skill was used, those used last first."""
        self.flush()
        return skill_rows.read_uses(self._select)

    def skill_trials(self) -> list[RecordLocation]:
        """Return where the latest trials of skills are, oldest first."""
        return skill_rows.read_trial_places(self._select)

    def extents(self, file: int) -> list[Extent]:
        """Return the extents of a file that were read, in order; the last one still grows."""
        closed = [Extent(*row) for row in self._select("SELECT * FROM extents WHERE file = ? ORDER BY offset", file)]
        return [*closed, self.open_extent(file)]

    def extent_of(self, file: int, sequence: int) -> Extent:
        """Return the extent of a file in which the first record after a sequence would be."""
        rows = self._select(
            "SELECT * FROM extents WHERE file = ? AND after <= ? ORDER BY offset DESC LIMIT 1", file, sequence
        )
        last = self.open_extent(file)
        return last if last.after <= sequence or not rows else Extent(*rows[0])

    def archives(self) -> set[int]:
        """Return the numbers of the archives whose records are indexed."""
        return {number for (number,) in self._select("SELECT number FROM archives")}

    def contents(self) -> dict[str, list[Any]]:
        """Return the whole content, to compare it with that of another index."""
        self.commit()
        return {table: self._select(f"SELECT * FROM {table}") for table in TABLES}

    # ------------------------------------------------------------------------------------------------ internals

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return list(self.connection.execute(query, values))
        except apsw.Error as error:
            raise self.fail(error) from error

    def _execute(self, statement: str, *values: object) -> None:
        try:
            self._begin()
            self.connection.execute(statement, values)
        except apsw.Error as error:
            raise self.fail(error) from error

    def _begin(self) -> None:
        if not self._is_writing:
            self.connection.execute("BEGIN IMMEDIATE")
            self._is_writing = True

    def _put(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows; one that SQLite cannot hold is left out and named: it stops neither memory nor the other rows."""
        rows = list(rows)
        try:
            with self.connection:  # undone if it fails
                self.connection.executemany(statement, rows)
        except (OverflowError, ValueError, TypeError):
            for row in rows:
                try:
                    self.connection.execute(statement, row)
                except (OverflowError, ValueError, TypeError) as error:
                    _log.error("row_not_indexed", row=repr(row)[:500], reason=str(error))

    def _load(self, id_: str) -> IndexedTrajectory | None:
        fields = ", ".join(index_rows.TRAJECTORY_FIELDS)
        rows = self._select(f"SELECT {fields}, places FROM trajectories WHERE id = ?", id_)
        if not rows:
            return None
        *values, packed = rows[0]
        found = IndexedTrajectory(**dict(zip(index_rows.TRAJECTORY_FIELDS, values, strict=True)))
        found.locations = index_rows.unpack_locations(packed)
        for location in found.locations:
            try:
                record = self._read(location)
            except LogError as error:  # continue the trajectory without this step rather than not at all
                _log.error("record_unreadable", sequence=location.sequence, reason=str(error))
                continue
            if (step := step_of(record)) is not None:
                found.steps[step] = location.sequence
            found.note(record)
            if isinstance(record, m.TrajectoryEnded):
                found.result = found.result_of(record.ending)
        if found.begun is not None:
            found.run_name = found.begun.task.run
        return found

    def _run_of(self, name: str, at: float) -> IndexedRun:
        """Return a run, created on the first record that names it."""
        run = self.run(name)
        if run is None:
            run = self._runs[name] = IndexedRun(self._next_run, name, at, at)
            self._next_run += 1
        return run

    def _change(self, run: IndexedRun, at: float) -> None:
        run.last_at = at
        self._mark(run)

    def _mark(self, run: IndexedRun) -> None:
        if not run.is_changed:
            run.is_changed = True
            self._changed_runs.append(run)

    def _note_begin(self, found: IndexedTrajectory, record: m.TrajectoryBegun, at: float) -> None:
        task = record.task
        run = self._run_of(task.run, at)
        found.run, found.line, found.sample = run.number, task.line, task.sample
        found.prompt = task.prompt[:_MAX_STORED_CHARS]
        self._set_status(found, "running", "", at)  # counts nothing yet: the trajectory has no run so far
        found.run_name = task.run
        words = split_words(task.prompt[:_MAX_SEARCHED_CHARS])
        found.words = words if len(task.prompt) <= _MAX_SEARCHED_CHARS else ""
        self._begun.append((found.number, words))
        run.running += 1
        self._change(run, at)

    def _note_end(self, found: IndexedTrajectory, record: m.TrajectoryEnded, at: float) -> None:
        if found.status == "ended":  # nothing is counted twice
            self._set_status(found, "running", "", at)
        ending = record.ending
        found.outcome = ending.outcome
        found.images, found.rounds = len(found.judged), max((round_ for round_, _ in found.judged), default=0)
        met_ids, found.requirements = found.judged.get((ending.best_round, ending.best_candidate), ((), 0))
        found.met = len(met_ids)
        found.result = found.result_of(ending)
        self._set_status(found, "ended", "", at)
        if index_rows.is_recallable(ending) and found.begun is not None and found.recallable_endings == 1:
            known = "" if found.prepared else found.words  # splitting a prompt costs as much as indexing a record
            self._recallable.append((found.number, known or split_words(found.prepared or found.begun.task.prompt)))
        found.words = ""

    def _set_status(self, found: IndexedTrajectory, status: m.TrajectoryStatus, failure: str, at: float) -> None:
        if found.run_name is not None:
            run = self._run_of(found.run_name, at)
            for changed, difference in ((found.status, -1), (status, 1)):
                setattr(run, changed, getattr(run, changed) + difference)
                if changed == "ended":
                    run.images += difference * found.images
                    run.all_met += difference * (found.outcome == "all_met")
                    if found.result is not None:
                        run.tally.count(found.result, difference)
            self._change(run, at)
        found.status, found.failure, found.last_at = status, failure, at


def open_index(
    path: Path, identity: Identity, read: Callable[[RecordLocation], m.AnyRecord], limits: StoreLimits = DEFAULT_LIMITS
) -> Index:
    """Open the index of a log, or an empty one if it is missing, damaged, of another log, or of another format.

    Raises:
        ConfigError: the database cannot be created, or the SQLite library can lose data.
    """
    check_library()
    try:
        index = _open(path, read, limits)
        if index is not None and index.identity != identity:
            index.close()
            index = None
        if index is None:
            create_database(path, identity)
            index = _open(path, read, limits)
    except (apsw.Error, OSError) as error:
        raise ConfigError(f"{path}: expected to create or open the index of memory: {error}") from error
    if index is None:
        raise ConfigError(f"{path}: expected a disk that keeps the index of memory, got one that does not")
    return index


def _open(path: Path, read: Callable[[RecordLocation], m.AnyRecord], limits: StoreLimits) -> Index | None:
    connection = open_existing(path)
    if connection is None:
        return None
    try:
        return Index(connection, path, read, limits)
    except IndexFailedError:
        connection.close()
        return None
