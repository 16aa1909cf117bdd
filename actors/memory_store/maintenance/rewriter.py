"""Writing a log file again with some records of an older one, read back before it replaces anything; and its index."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Final

from actors.memory_store.index_db import remove_index
from actors.memory_store.log import Identity, LogEntry, create_log_file, pack_commit
from actors.memory_store.log_folder import INDEX_NAME, claim_folder
from actors.memory_store.maintenance.log_reader import check_has_log
from actors.memory_store.store import open_memory_store
from gems_actors.errors import ConfigError
from gems_actors.locks import sync_folder

_COMMIT_RECORDS: Final = 1024
_SPARE_BYTES: Final = 64 * 1024 * 1024


def check_room(folder: Path, size_bytes: int) -> None:
    """Check that the disk has room for a copy of a log.

    Raises:
        ConfigError: the disk is too full.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes + _SPARE_BYTES:
        needed = (size_bytes + _SPARE_BYTES) >> 20
        raise ConfigError(f"{folder}: expected {needed} MiB of free disk to rewrite the log, got {free >> 20}")


class LogRewriter:
    """A new log file that is verified before it gets its final name."""

    def __init__(self, path: Path, identity: Identity) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._file = create_log_file(path, identity)
        self._pending: list[LogEntry] = []
        self._sum = 0

    def add(self, entry: LogEntry) -> None:
        """Append one entry; entries must be added in sequence order."""
        previous = self._pending[-1] if self._pending else None
        if previous is not None and (previous.at != entry.at or previous.sequence + 1 != entry.sequence):
            self._write()  # a commit has one time and consecutive sequences
        self._pending.append(entry)
        self._sum ^= _fingerprint(entry)
        if len(self._pending) >= _COMMIT_RECORDS:
            self._write()

    def finish(self, path: Path | None) -> None:
        """Sync the file, read it back, and rename it to `path`, or delete it if `path` is None.

        Raises:
            ConfigError: the disk did not keep what was written.
        """
        self._write()
        self._file.sync()
        found = 0
        for entry in self._file.scan():
            found ^= _fingerprint(entry) if isinstance(entry, LogEntry) else 1
        self._file.close()
        if found != self._sum:
            raise ConfigError(f"{self.path}: expected a disk that keeps what is written, got one that does not")
        if path is None:
            self.path.unlink()
        else:
            self.path.replace(path)
            sync_folder(path.parent)

    def _write(self) -> None:
        entries = self._pending
        if entries:
            sequences = [entry.sequence for entry in entries]
            self._file.write(b"".join(pack_commit([entry.body for entry in entries], sequences, entries[0].at)))
            entries.clear()


def _fingerprint(entry: LogEntry) -> int:
    """Return a hash of a record's sequence, time and body; the hashes of a file are combined in any order."""
    data = f"{entry.sequence} {entry.at!r} ".encode() + entry.body
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def rebuild_index(folder: Path) -> int:
    """Rebuild the index of a log and return the number of records in it.

    Raises:
        ConfigError: the folder cannot be used, another process holds it, or the log is damaged.
    """
    check_has_log(folder)
    with ExitStack() as stack:
        claim_folder(stack, folder)
        remove_index(folder / INDEX_NAME)
    with open_memory_store(folder) as store:
        return store.last
