"""The SQLite file below the index: its schema, how it is opened, and the layer that puts each page under a checksum."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

import apsw
from apsw import sqlite_extra

from actors.memory_store.log import Identity
from gems_actors.errors import ConfigError

OLDEST_SQLITE: Final = (3, 51, 3)
"""Oldest SQLite version that is accepted; earlier ones can lose committed data (the WAL-reset bug)."""
TABLES: Final = (
    "position", "open_extents", "extents", "archives", "runs", "trajectories", "skill_trials", "words",
    "history_words",
)  # fmt: skip

_FORMAT: Final = 4
"""2: no row exceeds the bounds of messages, so that every row can be listed. 3: tallies of runs, and the words of
all prompts. 4: the skill of each trajectory, and trials."""
_VFS: Final = "cksmvfs"
_BUSY_TIMEOUT_MS: Final = 5000
"""How long to wait for another process that reads the index, such as `gems memory export`."""
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
    images INTEGER NOT NULL, began_at REAL NOT NULL, last_at REAL NOT NULL, tally BLOB NOT NULL
) STRICT;
CREATE TABLE trajectories (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, run INTEGER, line INTEGER NOT NULL, sample INTEGER NOT NULL,
    prompt TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT, failure TEXT NOT NULL, images INTEGER NOT NULL,
    rounds INTEGER NOT NULL, met INTEGER NOT NULL, requirements INTEGER NOT NULL, began_at REAL NOT NULL,
    last_at REAL NOT NULL, skill TEXT, skill_digest TEXT NOT NULL,
    is_skill_fixed INTEGER NOT NULL, places BLOB NOT NULL
) STRICT;
CREATE TABLE skill_trials (sequence INTEGER PRIMARY KEY, place BLOB NOT NULL) STRICT;
CREATE INDEX trajectories_of_run ON trajectories (run, status, number);
CREATE INDEX trajectories_by_status ON trajectories (status, number);
CREATE VIRTUAL TABLE prompts USING fts5(
    words, content='', tokenize="porter unicode61 remove_diacritics 2"
);
CREATE VIRTUAL TABLE words USING fts5vocab(prompts, row);
CREATE VIRTUAL TABLE history USING fts5(
    words, content='', detail=none, tokenize="porter unicode61 remove_diacritics 2"
);
CREATE VIRTUAL TABLE history_words USING fts5vocab(history, row);
PRAGMA user_version = {_FORMAT};
"""


def check_library() -> None:
    """Check that the SQLite library keeps what it commits.

    Raises:
        ConfigError: the library is older than `OLDEST_SQLITE`.
    """
    found = apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")) < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise ConfigError(f"SQLite: expected {wanted} or later, which keeps what it has committed, got {found}")


def open_existing(path: Path) -> apsw.Connection | None:
    """Open the database for writing, or return None if it is missing, damaged or of another format."""
    if not path.exists():
        return None
    connection = None
    try:
        connection = _connect(path)
        if connection.pragma("user_version") == _FORMAT:
            return connection
    except apsw.Error:
        pass  # derived data: a damaged database is rebuilt, not reported
    if connection is not None:
        connection.close()
    return None


def create_database(path: Path, identity: Identity) -> None:
    """Create an empty database for a log, replacing any database that is there.

    Raises:
        apsw.Error: SQLite cannot create it.
        OSError: the old database cannot be removed.
    """
    remove_index(path)
    connection = _connect(path)
    try:
        with connection:
            connection.execute(_SCHEMA)
            connection.execute("INSERT INTO position VALUES (?, ?, 0)", identity)
    finally:
        connection.close()


def open_reader(path: Path) -> apsw.Connection:
    """Open a second, read-only connection to an index, for queries from another thread or process."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=_vfs())
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    return connection


def remove_index(path: Path) -> None:
    """Delete an index; it is rebuilt from the log the next time the log is opened."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=_vfs())
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    if not path.stat().st_size:
        reserve = ctypes.c_int(8)  # room for the checksum of each page; must be set before the first table is created
        connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(reserve))
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 4000", "cache_size = -16000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _vfs() -> str | None:
    """Return the VFS that keeps a checksum of each page, or None on platforms whose apsw wheel lacks it."""
    if _VFS not in apsw.vfs_names():
        try:
            with apsw.Connection(":memory:") as connection:
                sqlite_extra.load(connection, "cksumvfs")
        except (sqlite_extra.NotAvailable, apsw.Error):
            return None
    return _VFS
