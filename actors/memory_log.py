"""The append-only log on disk: one writer, one file, durable before it is acknowledged.

SQLite through apsw, because the interpreter's own SQLite may be one that can lose committed data (the WAL-reset bug,
fixed in 3.51.3). The store itself refuses to change or remove a record. What is needed to find a trajectory's records
is kept beside it in memory and built anew from the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw

from gems_actors.errors import ConfigError, LogError
from gems_actors.locks import LockHeldError, hold_lock
from protocol.codec import decode_record, encode_body
from protocol.errors import ProtocolError
from protocol.messages import (
    AnyRecord,
    AttemptVerified,
    ExperienceKept,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
)

OLDEST_SQLITE = (3, 51, 3)
_FORMAT = 1

_SCHEMA = f"""
CREATE TABLE log (
    sequence INTEGER PRIMARY KEY, trajectory TEXT NOT NULL, step TEXT, body BLOB NOT NULL
) STRICT;
CREATE TRIGGER log_is_never_changed BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_is_never_cut BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
PRAGMA user_version = {_FORMAT};
"""


def step_of(record: AnyRecord) -> str | None:
    """Return the name under which a step stands once in its trajectory, or None for what may happen again."""
    match record:
        case TrajectoryBegun():
            return "begun"
        case PromptPlanned():
            return "planned"
        case PromptDecomposed():
            return "decomposed"
        case AttemptVerified(attempt=attempt):
            return f"attempt {attempt.round}.{attempt.candidate}"
        case ExperienceKept(experience=experience):
            return f"experience {experience.round}"
        case PromptRefined(refinement=refinement):
            return f"refined {refinement.round}"
        case TrajectoryEnded():
            return "ended"
        case TrajectoryFailed():
            return None


class MemoryLog:
    """All records of all trajectories; made by `open_memory_log`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._sequences: dict[str, list[int]] = {}
        self._steps: dict[tuple[str, str], int] = {}
        self._last = 0
        for sequence, trajectory, step in connection.execute("SELECT sequence, trajectory, step FROM log"):
            self._remember(sequence, trajectory, step)

    def append(self, records: Sequence[AnyRecord]) -> list[tuple[int, bool]]:
        """Keep records in one transaction and return, for each, its place and whether it is new; all are durable then.

        A step that stands in its trajectory already is kept as it was.

        Raises:
            LogError: nothing was kept; says why.
        """
        rows: list[tuple[int, str, str | None, bytes]] = []
        places: list[tuple[int, bool]] = []
        fresh: dict[tuple[str, str], int] = {}
        for record in records:
            step = step_of(record)
            key = (record.trajectory, step or "")
            known = None if step is None else self._steps.get(key, fresh.get(key))
            if known is None:
                known = self._last + len(rows) + 1
                rows.append((known, record.trajectory, step, encode_body(record)))
                fresh[key] = known
                places.append((known, True))
            else:
                places.append((known, False))
        try:
            with self._connection:
                self._connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
        except apsw.Error as error:
            raise LogError(f"memory could not write {len(rows)} records: {error}") from error
        for sequence, trajectory, step, _ in rows:
            self._remember(sequence, trajectory, step)
        return places

    def read(self, trajectory: str) -> list[AnyRecord]:
        """Return the records of a trajectory in the order in which they were kept.

        Raises:
            LogError: a record cannot be read.
        """
        records = []
        for sequence in self._sequences.get(trajectory, ()):
            try:
                rows = self._connection.execute("SELECT body FROM log WHERE sequence = ?", (sequence,))
                records += [decode_record(body) for (body,) in rows]
            except (apsw.Error, ProtocolError) as error:
                raise LogError(f"memory could not read record {sequence}: {error}") from error
        return records

    def __len__(self) -> int:
        return self._last

    def _remember(self, sequence: int, trajectory: str, step: str | None) -> None:
        self._sequences.setdefault(trajectory, []).append(sequence)
        if step is not None:
            self._steps[trajectory, step] = sequence
        self._last = sequence


@contextmanager
def open_memory_log(path: Path) -> Iterator[MemoryLog]:
    """Open a log, made anew where there is none.

    Raises:
        ConfigError: the folder cannot be written, another process writes this log, the file is no log of ours, or the
            SQLite library is one that can lose data.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        raise ConfigError(f"SQLite: expected 3.51.3 or later, which keeps what it has committed, came {version}")
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path.with_suffix(".lock")))
        except LockHeldError as error:
            raise ConfigError(f"{path}: expected a log that nobody writes, came one {error}") from error
        except OSError as error:
            raise ConfigError(f"{path.parent}: expected a writable folder for memory: {error.strerror}") from error
        connection = _connect(path)
        stack.callback(connection.close)
        yield MemoryLog(connection)


def _connect(path: Path) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path))
        for pragma in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            connection.execute(f"PRAGMA {pragma}")
        found = connection.pragma("user_version")
        if found == 0 and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            with connection:
                connection.execute(_SCHEMA)
            found = _FORMAT
    except apsw.Error as error:
        raise ConfigError(f"{path}: expected a memory log that can be opened: {error}") from error
    if found != _FORMAT:
        raise ConfigError(f"{path}: expected a memory log of format {_FORMAT}, came format {found}")
    return connection
