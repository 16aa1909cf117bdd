"""The folder of one log: its files by name, who holds it, and records decoded and merged across its files.

log               the live file, written by one process alone
archive/NNNN.log  finished runs that were moved out of the live file
index.db          derived from the files; can be deleted at any time
lock              names the process that holds the folder, and the router through which it can be asked
torn/             bytes cut off after the last whole commit following a crash, unchanged
damaged/          live files replaced by `gems memory repair`, unchanged
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from actors.memory_store import log
from actors.memory_store.filesystem import check_local
from actors.memory_store.log import Damage, Identity, LogEntry, LogFile, Tail
from gems_actors.errors import ConfigError, LogError
from gems_actors.files import os_reason
from gems_actors.locks import LockHeldError, hold_lock
from protocol.codec import decode_record
from protocol.errors import ProtocolError
from protocol.messages import AnyRecord, LoggedRecord

LOG_NAME: Final = "log"
INDEX_NAME: Final = "index.db"
LOCK_NAME: Final = "lock"
ARCHIVE_FOLDER: Final = "archive"
TORN_FOLDER: Final = "torn"
DAMAGED_FOLDER: Final = "damaged"
LIVE: Final = 0
"""Number of the live file; archives are numbered from 1."""

Found = LogEntry | Damage | Tail
"""What a scan of a log file yields."""


class Extent(NamedTuple):
    """A contiguous part of a log file that the index has read."""

    file: int
    offset: int
    end: int
    checksum: int
    """CRC-32 of its bytes."""
    after: int
    """Sequence of the record before it, or 0."""


def claim_folder(stack: ExitStack, folder: Path, note: str = "") -> None:
    """Lock a memory folder, created if missing, until the stack is closed.

    Raises:
        ConfigError: the folder cannot be used, or another process holds it.
    """
    check_local(folder)
    try:
        stack.enter_context(hold_lock(folder / LOCK_NAME, note))
    except LockHeldError as error:
        raise ConfigError(f"{folder}: expected a log that no process writes, got one {error}") from error
    except OSError as error:
        raise ConfigError(f"{folder}: expected a writable folder for memory: {os_reason(error)}") from error


def open_live(folder: Path) -> LogFile:
    """Open the live file for writing, created if the folder has no log yet.

    Raises:
        ConfigError: the file cannot be opened or created, is not a memory log, or is missing next to its archives.
    """
    path = folder / LOG_NAME
    if path.exists():
        return log.open_log_file(path, is_writer=True)
    if any((folder / ARCHIVE_FOLDER).glob("*.log")):
        raise ConfigError(f"{path}: expected the live log that the archives in this folder belong to, got none")
    try:
        return log.create_log_file(path, Identity(os.urandom(16), 1))
    except OSError as error:
        raise ConfigError(f"{folder}: expected a writable folder for memory: {os_reason(error)}") from error


def open_archives(stack: ExitStack, folder: Path, id_: bytes) -> dict[int, LogFile]:
    """Open the archives of a log for reading, by number, until the stack is closed.

    Raises:
        ConfigError: an archive cannot be opened, is not a memory log, or belongs to another log.
    """
    found: dict[int, LogFile] = {}
    for path in sorted((folder / ARCHIVE_FOLDER).glob("*.log")):
        match = re.fullmatch(r"(\d{4,9})\.log", path.name)
        if match is None or not int(match[1]):
            continue
        file = log.open_log_file(path)
        stack.callback(file.close)
        if file.identity.id != id_:
            raise ConfigError(
                f"{path}: expected an archive of the log {id_.hex()}, got one of {file.identity.id.hex()}"
            )
        found[int(match[1])] = file
    return found


def archive_path(folder: Path, number: int) -> Path:
    """Return the path of an archive by its number."""
    return folder / ARCHIVE_FOLDER / f"{number:04d}.log"


def merge_files(
    archives: Mapping[int, LogFile], live: LogFile, starts: Mapping[int, Extent] | None = None
) -> Iterator[tuple[int, Found]]:
    """Yield entries and damage of all files in sequence order, each with its file number.

    Of a record that is in an archive and in the live file, the archive's copy comes first.
    Each file is read from its extent in `starts` on; by default from its beginning.
    """

    def items(number: int, file: LogFile) -> Iterator[tuple[int, int, Found]]:
        start = starts[number] if starts else Extent(number, log.HEADER_BYTES, log.HEADER_BYTES, 0, 0)
        last = start.after
        for found in file.scan_commits(start.offset, last):
            last = found.sequence if isinstance(found, LogEntry) else last
            yield last, number, found

    sources = [items(number, file) for number, file in archives.items()] + [items(LIVE, live)]
    for _, number, found in heapq.merge(*sources, key=lambda item: item[0]):
        yield number, found


def logged_record(file: LogFile, entry: LogEntry) -> LoggedRecord:
    """Return the record of an entry with its sequence and time.

    Raises:
        LogError: the entry is intact but is not a record that this version knows.
    """
    return LoggedRecord(sequence=entry.sequence, at=entry.at, record=decode_entry(file, entry))


def decode_entry(file: LogFile, entry: LogEntry) -> AnyRecord:
    """Return the record of an entry.

    Raises:
        LogError: the entry is intact but is not a record that this version knows.
    """
    try:
        return decode_record(entry.body)
    except ProtocolError as error:
        raise LogError(f"{file.path}: record {entry.sequence} at byte {entry.offset}: {error}") from error


def damage_error(file: LogFile, problem: str) -> ConfigError:
    """Return the error for a log that is too damaged to be written to."""
    return ConfigError(
        f"{file.path}: {problem}; `gems memory check` lists all damage, `gems memory repair` continues without it"
    )


def describe_damage(damage: Damage | Tail) -> str:
    """Return what is wrong in a file and where, in one line."""
    return (
        f"expected a record after record {damage.after} at byte {damage.offset}, {damage.problem}; "
        f"{damage.size} bytes are lost, everything before them can be read"
    )
