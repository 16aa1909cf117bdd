"""What is derived from the log so that questions need not read all of it: a database that may be deleted at any time.

It says where the records of each trajectory stand, which trajectories and runs there are and how they are, which words
the prompts of those have whose experiences can be recalled, and the checksums of what was read of the log. It follows
the log in memory and writes what has changed from time to time; what it has not written when its process is killed it
reads from the log again. Each page of it is under a checksum, too.
"""

from __future__ import annotations

import ctypes
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import structlog
from apsw import sqlite_extra

from actors.memory_store.full_text import split_words
from actors.memory_store.log import HEADER_BYTES, Identity
from actors.memory_store.replay import step_of
from gems_actors.errors import ConfigError, LogError
from protocol.messages import (
    AnyRecord,
    AttemptVerified,
    ListRuns,
    ListTrajectories,
    RunBegun,
    Runs,
    RunSummary,
    Trajectories,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
    TrajectoryRecord,
    TrajectoryStatus,
    TrajectorySummary,
)

OLDEST_SQLITE: Final = (3, 51, 3)
"""Older ones can lose what they have committed (the WAL-reset bug)."""
LIVE: Final = 0
"""Number of the file to which the log is written; archives have their own from 1."""

_FORMAT: Final = 1
_VFS: Final = "cksmvfs"
_EXTENT_BYTES: Final = 256 * 1024
_MAX_KNOWN: Final = 4096
"""Trajectories, and runs, held in memory; more than a conductor takes at once."""
_MAX_STORED_CHARS: Final = 200
_PLACE: Final = struct.Struct("<QIQI")
_TABLES: Final = ("position", "open_extents", "extents", "archives", "runs", "trajectories", "words")
_SCHEMA: Final = f"""
CREATE TABLE position (
    log_id BLOB NOT NULL, generation INTEGER NOT NULL, sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE extents (
    file INTEGER NOT NULL, offset INTEGER NOT NULL, end INTEGER NOT NULL, checksum INTEGER NOT NULL,
    after INTEGER NOT NULL, PRIMARY KEY (file, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE open_extents (
    file INTEGER PRIMARY KEY, offset INTEGER NOT NULL, end INTEGER NOT NULL, checksum INTEGER NOT NULL,
    after INTEGER NOT NULL
) STRICT;
CREATE TABLE archives (number INTEGER PRIMARY KEY, records INTEGER NOT NULL) STRICT;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, begun INTEGER, what TEXT NOT NULL, total INTEGER,
    running INTEGER NOT NULL, ended INTEGER NOT NULL, failed INTEGER NOT NULL, all_met INTEGER NOT NULL,
    images INTEGER NOT NULL, began_at REAL NOT NULL, last_at REAL NOT NULL
) STRICT;
CREATE TABLE trajectories (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, run INTEGER, line INTEGER NOT NULL, sample INTEGER NOT NULL,
    prompt TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT, failure TEXT NOT NULL, images INTEGER NOT NULL,
    rounds INTEGER NOT NULL, met INTEGER NOT NULL, requirements INTEGER NOT NULL, began_at REAL NOT NULL,
    last_at REAL NOT NULL, places BLOB NOT NULL
) STRICT;
CREATE INDEX trajectories_of_run ON trajectories (run, status, number);
CREATE INDEX trajectories_by_status ON trajectories (status, number);
CREATE VIRTUAL TABLE prompts USING fts5(
    words, content='', tokenize="porter unicode61 remove_diacritics 2"
);
CREATE VIRTUAL TABLE words USING fts5vocab(prompts, row);
PRAGMA user_version = {_FORMAT};
"""

_log = structlog.get_logger()


class IndexFailedError(LogError):
    """The derived database failed; it has been removed, and is whole again once it is opened anew."""


class Place(NamedTuple):
    """Where a record stands."""

    sequence: int
    file: int
    offset: int
    size: int


class Extent(NamedTuple):
    """A stretch of a file that was followed."""

    file: int
    offset: int
    end: int
    checksum: int
    """CRC-32 of its bytes."""
    after: int
    """Sequence of the record before it."""


@dataclass(slots=True)
class Run:
    """A run, and how its trajectories are."""

    number: int
    name: str
    began_at: float
    last_at: float
    begun: int | None = None
    """Sequence of the record with which it began."""
    what: str = ""
    total: int | None = None
    running: int = 0
    ended: int = 0
    failed: int = 0
    all_met: int = 0
    images: int = 0
    is_changed: bool = False


@dataclass(slots=True)
class Trajectory:
    """A trajectory, and what is needed to take up its next record."""

    id: str
    number: int = 0
    """0 while no record of it is kept."""
    run: int | None = None
    line: int = 0
    sample: int = 0
    prompt: str = ""
    status: TrajectoryStatus = "running"
    outcome: str | None = None
    failure: str = ""
    images: int = 0
    rounds: int = 0
    met: int = 0
    requirements: int = 0
    began_at: float = 0.0
    last_at: float = 0.0
    places: list[Place] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    """Sequence of each step that stands once."""
    judged: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """Requirements met, and asked, of the attempt of a round and candidate."""
    begun: TrajectoryBegun | None = None
    of_run: str | None = None
    """Name of its run."""
    is_changed: bool = False


_RUN_FIELDS: Final = (
    "number", "name", "begun", "what", "total", "running", "ended", "failed", "all_met", "images", "began_at",
    "last_at",
)  # fmt: skip
_TRAJECTORY_FIELDS: Final = (
    "number", "id", "run", "line", "sample", "prompt", "status", "outcome", "failure", "images", "rounds", "met",
    "requirements", "began_at", "last_at",
)  # fmt: skip
_row_of_run: Callable[[Run], tuple[Any, ...]] = attrgetter(*_RUN_FIELDS)
_row_of_trajectory: Callable[[Trajectory], tuple[Any, ...]] = attrgetter(*_TRAJECTORY_FIELDS)


class Index:
    """The derived database, held open; made by `open_index`."""

    def __init__(self, connection: apsw.Connection, path: Path, read: Callable[[Place], AnyRecord]) -> None:
        self.path = path
        self.connection = connection
        self._read = read
        self._trajectories: OrderedDict[str, Trajectory] = OrderedDict()
        self._changed: list[Trajectory] = []
        self._runs: dict[str, Run] = {}
        self._changed_runs: list[Run] = []
        self._recallable: list[tuple[int, str]] = []
        self._is_changed = False
        self._is_writing = False
        (row,) = self._select("SELECT log_id, generation, sequence FROM position")
        self.identity = Identity(row[0], row[1])
        self.last: int = row[2]
        """Sequence of the newest record, whatever file it is in."""
        self._open_extents = {row[0]: Extent(*row) for row in self._select("SELECT * FROM open_extents")}
        self._next_trajectory: int = self._select("SELECT coalesce(max(number), 0) + 1 FROM trajectories")[0][0]
        self._next_run: int = self._select("SELECT coalesce(max(number), 0) + 1 FROM runs")[0][0]

    # ------------------------------------------------------------------------------------------------ following

    def trajectory(self, id_: str) -> Trajectory:
        """Return what is known of a trajectory; of one that no record names, nothing yet."""
        found = self._trajectories.get(id_)
        if found is not None:
            self._trajectories.move_to_end(id_)
            return found
        found = self._load(id_) or Trajectory(id_)
        self._trajectories[id_] = found
        if len(self._trajectories) > _MAX_KNOWN:
            self.flush()
            while len(self._trajectories) > _MAX_KNOWN * 3 // 4:
                self._trajectories.popitem(last=False)
        return found

    def run(self, name: str) -> Run | None:
        """Return what is known of a run, or None where no record names it."""
        if name not in self._runs:
            rows = self._select(f"SELECT {', '.join(_RUN_FIELDS)} FROM runs WHERE name = ?", name)
            if not rows:
                return None
            self._runs[name] = Run(**dict(zip(_RUN_FIELDS, rows[0], strict=True)))
        return self._runs[name]

    def take(self, record: AnyRecord, step: str | None, at: float, place: Place) -> None:
        """Take in a record that is in the log; they come in their order.

        Raises:
            IndexFailedError: the database failed; it must be opened anew.
        """
        self.last = place[0]
        self._is_changed = True
        if not isinstance(record, TrajectoryRecord):
            if isinstance(record, RunBegun):
                self._begin_run(record, at, place[0])
            return
        found = self.trajectory(record.trajectory)
        if not found.number:
            found.number, self._next_trajectory = self._next_trajectory, self._next_trajectory + 1
            found.began_at = found.last_at = at
        found.places.append(place)
        if step is not None:
            found.steps[step] = place[0]
        if not found.is_changed:
            found.is_changed = True
            self._changed.append(found)
        _note_step(found, record)
        match record:
            case TrajectoryBegun():
                self._note_begin(found, record, at)
            case TrajectoryEnded():
                self._note_end(found, record, at)
            case TrajectoryFailed():
                self._set_status(found, "failed", record.failure.code, at)
            case _ if found.status == "failed":
                self._set_status(found, "running", "", at)

    def extend(self, file: int, end: int, checksum: int) -> None:
        """Note how far a file was followed, and the checksum up to there as `open_extent` would have it.

        Raises:
            IndexFailedError: the database failed; it must be opened anew.
        """
        extent = self.open_extent(file)._replace(end=end, checksum=checksum)
        if end - extent.offset >= _EXTENT_BYTES:
            self._execute("INSERT INTO extents VALUES (?, ?, ?, ?, ?)", *extent)
            extent = Extent(file, end, end, 0, self.last)
        self._open_extents[file] = extent
        self._is_changed = True

    def open_extent(self, file: int) -> Extent:
        """Return the last stretch of a file, which still grows."""
        return self._open_extents.get(file) or Extent(file, HEADER_BYTES, HEADER_BYTES, 0, 0)

    def add_archive(self, number: int, records: int) -> None:
        """Note that all records of an archive are in here, and how many they are."""
        self._execute("INSERT INTO archives VALUES (?, ?)", number, records)
        self._is_changed = True

    def flush(self) -> None:
        """Let all that was taken in be found by queries.

        Raises:
            IndexFailedError: the database failed; it must be opened anew.
        """
        if not (self._changed or self._changed_runs or self._recallable):
            return
        try:
            self._begin()
            self.connection.executemany(_PUT_RUN, map(_row_of_run, self._changed_runs))
            rows = ((*_row_of_trajectory(found), _pack_places(found.places)) for found in self._changed)
            self.connection.executemany(_PUT_TRAJECTORY, rows)
            self.connection.executemany("INSERT INTO prompts (rowid, words) VALUES (?, ?)", self._recallable)
        except apsw.Error as error:
            raise self.fail(error) from error
        for found in self._changed:
            found.is_changed = False
        for run in self._changed_runs:
            run.is_changed = False
        self._changed.clear()
        self._changed_runs.clear()
        self._recallable.clear()
        if len(self._runs) > _MAX_KNOWN:
            self._runs.clear()

    def commit(self) -> None:
        """Write what was taken in since the last time.

        Raises:
            IndexFailedError: the database failed; it must be opened anew.
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
        """Let the index be derived anew when it is opened again, and return the error that says why."""
        remove_index(self.path)
        return IndexFailedError(f"{self.path}: the index of memory failed and is derived anew: {error}")

    def close(self) -> None:
        """Close the database; what was not committed is read from the log again."""
        self.connection.close()

    # ------------------------------------------------------------------------------------------------ looking up

    def places(self, id_: str) -> list[Place]:
        """Return where the records of a trajectory stand, in their order; none where no record names it."""
        if id_ in self._trajectories:
            return list(self._trajectories[id_].places)
        rows = self._select("SELECT places FROM trajectories WHERE id = ?", id_)
        return _unpack_places(rows[0][0]) if rows else []

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of trajectories by their numbers."""
        return [self._select("SELECT id FROM trajectories WHERE number = ?", number)[0][0] for number in numbers]

    def list_trajectories(self, request: ListTrajectories) -> Trajectories:
        """Return a page of the trajectories that a request asks for."""
        self.flush()
        conditions: list[str] = ["t.number > ?"]
        values: list[object] = [request.after]
        if request.of_run is not None:
            conditions.append("t.run = (SELECT number FROM runs WHERE name = ?)")
            values.append(request.of_run)
        if request.status is not None:
            conditions.append("t.status = ?")
            values.append(request.status)
        if request.prefix:
            conditions.append("t.id BETWEEN ? AND ?")
            values += (request.prefix, request.prefix + "g")  # the letter behind the last hexadecimal digit
        rows = self._select(
            "SELECT t.number, t.id, coalesce(r.name, ''), t.line, t.sample, t.prompt, t.status, t.outcome, t.failure, "
            "t.images, t.rounds, t.met, t.requirements, t.began_at, t.last_at FROM trajectories t "
            f"LEFT JOIN runs r ON r.number = t.run WHERE {' AND '.join(conditions)} ORDER BY t.number LIMIT ?",
            *values,
            request.limit + 1,
        )
        names = TrajectorySummary.__struct_fields__
        found = [TrajectorySummary(**dict(zip(names, row[1:], strict=True))) for row in rows[: request.limit]]
        following = rows[request.limit - 1][0] if len(rows) > request.limit else None
        return Trajectories(trajectories=tuple(found), next=following)

    def list_runs(self, request: ListRuns) -> Runs:
        """Return a page of the runs, the latest first."""
        self.flush()
        condition = "number < ?"
        values: list[object] = [2**62 if request.before is None else request.before]
        if request.named is not None:
            condition += f" AND name IN ({', '.join('?' * len(request.named))})"
            values += request.named
        rows = self._select(
            "SELECT number, name, what, total, running, ended, failed, all_met, images, began_at, last_at FROM runs "
            f"WHERE {condition} ORDER BY number DESC LIMIT ?",
            *values,
            request.limit + 1,
        )
        names = RunSummary.__struct_fields__
        found = [RunSummary(**dict(zip(names, row[1:], strict=True))) for row in rows[: request.limit]]
        following = rows[request.limit - 1][0] if len(rows) > request.limit else None
        return Runs(runs=tuple(found), next=following)

    def counts(self) -> dict[str, int]:
        """Return how many runs, trajectories and archived records there are."""
        self.flush()
        names = ("runs", "running", "ended", "failed", "recallable", "archived")
        (row,) = self._select(
            "SELECT count(*), coalesce(sum(running), 0), coalesce(sum(ended), 0), coalesce(sum(failed), 0), "
            "(SELECT count(*) FROM prompts_docsize), (SELECT coalesce(sum(records), 0) FROM archives) FROM runs"
        )
        return dict(zip(names, row, strict=True))

    def extents(self, file: int) -> list[Extent]:
        """Return the stretches of a file that were followed, in their order."""
        whole = [Extent(*row) for row in self._select("SELECT * FROM extents WHERE file = ? ORDER BY offset", file)]
        return [*whole, self.open_extent(file)]

    def extent_of(self, file: int, sequence: int) -> Extent:
        """Return the stretch of a file in which the first record behind a sequence would stand."""
        rows = self._select(
            "SELECT * FROM extents WHERE file = ? AND after <= ? ORDER BY offset DESC LIMIT 1", file, sequence
        )
        last = self.open_extent(file)
        return last if last.after <= sequence or not rows else Extent(*rows[0])

    def archives(self) -> set[int]:
        """Return the numbers of the archives whose records are in here."""
        return {number for (number,) in self._select("SELECT number FROM archives")}

    def contents(self) -> dict[str, list[Any]]:
        """Return all that the index says, for comparing it with another."""
        self.commit()
        return {table: self._select(f"SELECT * FROM {table}") for table in _TABLES}

    # ------------------------------------------------------------------------------------------------ inside

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

    def _load(self, id_: str) -> Trajectory | None:
        fields = ", ".join(_TRAJECTORY_FIELDS)
        rows = self._select(f"SELECT {fields}, places FROM trajectories WHERE id = ?", id_)
        if not rows:
            return None
        *values, packed = rows[0]
        found = Trajectory(**dict(zip(_TRAJECTORY_FIELDS, values, strict=True)), places=_unpack_places(packed))
        for place in _unpack_places(packed):
            try:
                record = self._read(place)
            except LogError as error:  # the trajectory goes on without that step rather than not at all
                _log.error("record_unreadable", sequence=place.sequence, reason=str(error))
                continue
            if (step := step_of(record)) is not None:
                found.steps[step] = place.sequence
            _note_step(found, record)
        if found.begun is not None:
            found.of_run = found.begun.task.run
        return found

    def _begin_run(self, record: RunBegun, at: float, sequence: int) -> None:
        run = self._run_of(record.run, at)
        run.begun, run.what, run.total = sequence, record.what[:_MAX_STORED_CHARS], record.total
        self._change(run, at)

    def _run_of(self, name: str, at: float) -> Run:
        """Return a run, which is made with the first record that names it."""
        run = self.run(name)
        if run is None:
            run = self._runs[name] = Run(self._next_run, name, at, at)
            self._next_run += 1
        return run

    def _change(self, run: Run, at: float) -> None:
        run.last_at = at
        if not run.is_changed:
            run.is_changed = True
            self._changed_runs.append(run)

    def _note_begin(self, found: Trajectory, record: TrajectoryBegun, at: float) -> None:
        task = record.task
        run = self._run_of(task.run, at)
        found.run, found.line, found.sample = run.number, task.line, task.sample
        found.prompt = task.prompt[:_MAX_STORED_CHARS]
        self._set_status(found, "running", "", at)
        found.of_run = task.run
        run.running += 1
        self._change(run, at)

    def _note_end(self, found: Trajectory, record: TrajectoryEnded, at: float) -> None:
        ending = record.ending
        found.outcome = ending.outcome
        found.images = len(found.judged)
        found.rounds = max((round_ for round_, _ in found.judged), default=0)
        found.met, found.requirements = found.judged.get((ending.best_round, ending.best_candidate), (0, 0))
        self._set_status(found, "ended", "", at)
        has_lessons = any(step.startswith("experience") for step in found.steps)
        if ending.outcome == "all_met" and found.begun is not None and has_lessons:
            self._recallable.append((found.number, split_words(found.begun.task.prompt)))

    def _set_status(self, found: Trajectory, status: TrajectoryStatus, failure: str, at: float) -> None:
        if found.of_run is not None:
            run = self._run_of(found.of_run, at)
            setattr(run, found.status, getattr(run, found.status) - 1)
            setattr(run, status, getattr(run, status) + 1)
            if status == "ended":
                run.images += found.images
                run.all_met += found.outcome == "all_met"
            self._change(run, at)
        found.status, found.failure, found.last_at = status, failure, at


_PUT_RUN: Final = f"""
INSERT OR REPLACE INTO runs ({", ".join(_RUN_FIELDS)}) VALUES ({", ".join("?" * len(_RUN_FIELDS))})
"""
_PUT_TRAJECTORY: Final = f"""
INSERT OR REPLACE INTO trajectories ({", ".join(_TRAJECTORY_FIELDS)}, places)
    VALUES ({", ".join("?" * (len(_TRAJECTORY_FIELDS) + 1))})
"""


def open_index(path: Path, identity: Identity, read: Callable[[Place], AnyRecord]) -> Index:
    """Open the index of a log; one that is missing, damaged or of another log or format is begun anew, empty.

    Args:
        path: of the database.
        identity: of the live file.
        read: returns the record that stands at a place.

    Raises:
        ConfigError: it cannot be made, or the SQLite library is one that can lose data.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        raise ConfigError(
            f"SQLite: expected 3.51.3 or later, which keeps what it has committed, got {apsw.sqlite_lib_version()}"
        )
    try:
        index = _open(path, read)
        if index is not None and index.identity != identity:
            index.close()
            index = None
        if index is None:
            remove_index(path)
            _create(path, identity)
            index = _open(path, read)
    except (apsw.Error, OSError) as error:
        raise ConfigError(f"{path}: expected a place for the index of memory: {error}") from error
    if index is None:
        raise ConfigError(f"{path}: expected a disk that keeps the index of memory, got one that does not")
    return index


def open_reader(path: Path) -> apsw.Connection:
    """Open a second connection to an index that is open already, for questions from another thread."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=_vfs())
    connection.set_busy_timeout(5000)
    return connection


def remove_index(path: Path) -> None:
    """Delete an index; it is derived anew when it is opened."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _open(path: Path, read: Callable[[Place], AnyRecord]) -> Index | None:
    """Open an index, or return None where there is none that can be used."""
    if not path.exists():
        return None
    connection = None
    try:
        connection = _connect(path)
        if connection.pragma("user_version") == _FORMAT:
            return Index(connection, path, read)
    except (apsw.Error, IndexFailedError):
        pass  # what is derived is not worth a question
    if connection is not None:
        connection.close()
    return None


def _create(path: Path, identity: Identity) -> None:
    connection = _connect(path)
    try:
        with connection:
            connection.execute(_SCHEMA)
            connection.execute("INSERT INTO position VALUES (?, ?, 0)", identity)
    finally:
        connection.close()


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=_vfs())
    connection.set_busy_timeout(5000)  # somebody may be reading it just then, as `gems memory export` does
    if not path.stat().st_size:
        reserve = ctypes.c_int(8)  # where the checksum of each page stands; it must be set before the first table
        connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(reserve))
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 4000", "cache_size = -16000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _vfs() -> str | None:
    """Return the layer below SQLite that keeps a checksum of each page; none where the wheel of a platform lacks it."""
    if _VFS not in apsw.vfs_names():
        try:
            with apsw.Connection(":memory:") as connection:
                sqlite_extra.load(connection, "cksumvfs")
        except (sqlite_extra.NotAvailable, apsw.Error):
            return None
    return _VFS


def _note_step(found: Trajectory, record: AnyRecord) -> None:
    """Note what is needed when the trajectory ends."""
    if isinstance(record, AttemptVerified):
        attempt = record.attempt
        met = sum(verdict.answer == "met" for verdict in attempt.verdicts)
        found.judged[attempt.round, attempt.candidate] = met, len(attempt.verdicts)
    elif isinstance(record, TrajectoryBegun):
        found.begun = record


def _pack_places(places: Iterable[Place]) -> bytes:
    return b"".join(_PLACE.pack(*place) for place in places)


def _unpack_places(packed: bytes) -> list[Place]:
    return [Place(*found) for found in _PLACE.iter_unpack(packed)]
