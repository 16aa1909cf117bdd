"""The log, its archives and its index together: keeps records and finds them again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import structlog

from actors.memory_store import log_folder
from actors.memory_store.index import DEFAULT_LIMITS, Index, IndexFailedError, StoreLimits, open_index
from actors.memory_store.index_db import remove_index
from actors.memory_store.index_rows import RecordLocation
from actors.memory_store.log import Damage, LogEntry, LogFile, Tail, pack_commit
from actors.memory_store.log_folder import LIVE, Extent, Found, describe_damage
from actors.memory_store.replay import step_of
from gems_actors.errors import ConfigError, LogError
from gems_actors.files import os_reason
from protocol.codec import encode_body
from protocol.messages import (
    AnyRecord,
    LoggedRecord,
    RunBegun,
    SkillTrial,
    SkillTried,
    TrajectoryEnded,
    TrajectoryRecord,
)

_INDEX_COMMIT_RECORDS: Final = 2000
"""Records that are indexed between two commits of the index while it catches up."""

_log = structlog.get_logger()


class WrittenBatch(NamedTuple):
    """Records that are written to the log and durable after the next sync."""

    outcomes: list[tuple[int, bool]]
    """Sequence of each record that was passed in, and whether it is new."""
    new: list[tuple[AnyRecord, str | None]]
    """The new records, each with the name of its step."""
    sizes: list[int]
    """Sizes of their frames in bytes; the first frame is at `offset`."""
    offset: int
    at: float
    checksum: int
    """CRC-32 of the open extent including these frames."""


class MemoryStore:
    """All records of all trajectories; create with `open_memory_store`. Not thread-safe."""

    def __init__(
        self,
        folder: Path,
        live: LogFile,
        archives: dict[int, LogFile],
        clock: Callable[[], float] = time.time,
        limits: StoreLimits = DEFAULT_LIMITS,
    ) -> None:
        self.folder = folder
        self.live = live
        self.archives = archives
        self.unverified: list[Extent] = []
        """Extents of the live file that were not verified when the store was opened."""
        self._clock = clock
        self._limits = limits
        self.index = self._open_index()

    @property
    def last(self) -> int:
        """Sequence of the newest record."""
        return self.index.last

    # ------------------------------------------------------------------------------------------------ writing

    def append(self, records: Sequence[AnyRecord]) -> list[tuple[int, bool]]:
        """Append records durably and return, for each, its sequence and whether it is new.

        Idempotent: a step that its trajectory already has keeps its first record.

        Raises:
            LogError: nothing was kept, because the disk is full or failed.
        """
        batch = self.write(records)
        self.live.sync()
        self.add_to_index(batch)
        return batch.outcomes

    def write(self, records: Sequence[AnyRecord]) -> WrittenBatch:
        """Write the new records. The caller must sync the log and call `add_to_index` before the next write.

        Raises:
            LogError: nothing was written, because the disk is full or failed.
        """
        first = self.last + 1
        fresh: dict[tuple[str, str], int] = {}
        outcomes: list[tuple[int, bool]] = []
        new: list[tuple[AnyRecord, str | None]] = []
        for record in records:
            step = step_of(record)
            if step is not None:
                owner, known = self._look_up(record, step)
                if not known and not (known := fresh.get((owner, step), 0)):
                    fresh[owner, step] = first + len(new)
                if known:
                    outcomes.append((known, False))
                    continue
            outcomes.append((first + len(new), True))
            new.append((record, step))
        at = self._clock()
        frames = pack_commit([encode_body(record) for record, _ in new], range(first, first + len(new)), at)
        data = b"".join(frames)
        offset = self.live.write(data) if data else 0
        checksum = crc32(data, self.index.open_extent(LIVE).checksum)
        return WrittenBatch(outcomes, new, list(map(len, frames)), offset, at, checksum)

    def add_to_index(self, batch: WrittenBatch) -> None:
        """Index records that are durable now.

        Raises:
            IndexFailedError: the index failed; the store must be opened again.
        """
        sequence, offset = self.last, batch.offset
        for (record, step), size in zip(batch.new, batch.sizes, strict=True):
            sequence += 1
            self.index.add(record, step, batch.at, RecordLocation(sequence, LIVE, offset, size))
            offset += size
        if batch.new:
            self.index.extend(LIVE, offset, batch.checksum)

    def is_only_record(self, record: AnyRecord) -> bool:
        """Return whether a kept record is the only one of its trajectory."""
        return isinstance(record, TrajectoryRecord) and len(self.index.trajectory(record.trajectory).locations) == 1

    def rounds_of(self, record: AnyRecord) -> int:
        """Return how many rounds a trajectory has that ended with a kept record; 0 for every other record."""
        return self.index.trajectory(record.trajectory).rounds if isinstance(record, TrajectoryEnded) else 0

    def _look_up(self, record: AnyRecord, step: str) -> tuple[str, int]:
        """Return the owner of a step, and the sequence of its first record, or 0 if there is none yet."""
        if isinstance(record, TrajectoryRecord):
            return record.trajectory, self.index.trajectory(record.trajectory).steps.get(step, 0)
        if isinstance(record, RunBegun):
            run = self.index.run(record.run)
            return f"run {record.run}", run.begun or 0 if run else 0
        return "", 0

    # ------------------------------------------------------------------------------------------------ reading

    def read_skill_trials(self) -> tuple[SkillTrial, ...]:
        """Return the latest trials of skills, oldest first.

        Raises:
            LogError: a record cannot be read.
        """
        found = map(self.read_at, self.index.skill_trials())
        return tuple(SkillTrial(at=item.at, trial=item.record) for item in found if isinstance(item.record, SkillTried))

    def read(self, trajectory: str) -> list[LoggedRecord]:
        """Return the records of a trajectory in log order; empty if no record names it.

        Raises:
            LogError: a record cannot be read.
        """
        found = [self.read_at(location) for location in self.index.locations(trajectory)]
        for item in found:
            if getattr(item.record, "trajectory", None) != trajectory:
                raise LogError(f"{self.index.path}: expected record {item.sequence} to be of trajectory {trajectory}")
        return found

    def read_at(self, location: RecordLocation) -> LoggedRecord:
        """Return the record at a location, verified.

        Raises:
            LogError: the record cannot be read, or its archive is missing.
        """
        file = self.live if location.file == LIVE else self.archives.get(location.file)
        if file is None:
            path = log_folder.archive_path(self.folder, location.file)
            raise LogError(f"{path}: expected this archive, which has record {location.sequence}, got no such file")
        return log_folder.logged_record(file, file.read(location.offset, location.size, location.sequence))

    def read_since(self, sequence: int, limit: int, max_bytes: int) -> list[LoggedRecord]:
        """Return records after a sequence, up to `limit` and, beyond the first, up to `max_bytes`.

        Raises:
            LogError: a record cannot be read.
        """
        starts = {number: self.index.extent_of(number, sequence) for number in (*self.archives, LIVE)}
        found: list[LoggedRecord] = []
        size = 0
        for number, item in log_folder.merge_files(self.archives, self.live, starts):
            if isinstance(item, Damage | Tail):
                raise LogError(f"{self.file(number).path}: {describe_damage(item)}")
            if sequence < item.sequence <= self.last:
                size += item.size
                if found and size > max_bytes:
                    break
                found.append(log_folder.logged_record(self.file(number), item))
                sequence = item.sequence  # after an interrupted move two files have the same record
                if len(found) == limit:
                    break
        return found

    def file(self, number: int) -> LogFile:
        """Return a file of the log by number."""
        return self.live if number == LIVE else self.archives[number]

    # ------------------------------------------------------------------------------------------------ opening

    def catch_up(self) -> None:
        """Verify the log, index it to its end, and cut off a torn last commit.

        Raises:
            ConfigError: the log is damaged; the message says where and names `gems memory check` and `repair`.
        """
        if set(self.archives) - self.index.archives():
            self.reset_index()
        for number in sorted(self.index.archives() - set(self.archives)):
            _log.warning("archive_missing", path=str(log_folder.archive_path(self.folder, number)))
        indexed = self.index.open_extent(LIVE)
        if indexed.end > self.live.end:
            raise log_folder.damage_error(
                self.live,
                f"expected record {self.last} to end at byte {indexed.end}, "
                f"got the end of the file at byte {self.live.end}",
            )
        self._verify()
        if self.last or not self.archives:
            self._index_items((LIVE, found) for found in self.live.scan_commits(indexed.end, self.last))
        else:
            self._index_all()
        self.index.commit()

    def _verify(self) -> None:
        left = self._limits.verified_at_open_bytes
        for extent in reversed(self.index.extents(LIVE)):
            if left <= 0:
                self.unverified.append(extent)
            elif problem := self.damage_in(extent):
                raise log_folder.damage_error(self.live, problem)
            left -= extent.end - extent.offset

    def damage_in(self, extent: Extent) -> str:
        """Return what is wrong with an extent of the live file, or an empty text if it is intact."""
        if self.live.checksum(extent.offset, extent.end) == extent.checksum:
            return ""
        for found in self.live.scan(extent.offset, extent.end, extent.after):
            if isinstance(found, Damage):
                return describe_damage(found)
        return f"expected bytes {extent.offset} to {extent.end} as they were written, got other bytes"

    def _index_all(self) -> None:
        """Fill an empty index; archives are noted last, so that a partial index is never taken for complete."""
        counts = dict.fromkeys(self.archives, 0)

        def counted() -> Iterator[tuple[int, Found]]:
            for number, found in log_folder.merge_files(self.archives, self.live):
                if number != LIVE and isinstance(found, LogEntry):
                    counts[number] += 1
                yield number, found

        self._index_items(counted())
        for number, count in counts.items():
            self.index.add_archive(number, count)

    def _index_items(self, items: Iterable[tuple[int, Found]]) -> None:
        """Index records, and cut off a torn last commit."""
        waiting = 0
        for number, found in items:
            if isinstance(found, Tail) and number == LIVE:
                self._cut(found)
            elif isinstance(found, LogEntry):
                self._index_entry(number, found)
                waiting += 1
                if waiting >= _INDEX_COMMIT_RECORDS and found.is_last:
                    self.index.commit()
                    waiting = 0
            elif number == LIVE:
                raise log_folder.damage_error(self.live, describe_damage(found))
            else:
                _log.error("archive_damaged", path=str(self.archives[number].path), reason=describe_damage(found))

    def _index_entry(self, number: int, entry: LogEntry) -> None:
        file, end = self.file(number), entry.offset + entry.size
        if entry.sequence > self.last:  # otherwise an archive has it too: a move was interrupted
            record = log_folder.decode_entry(file, entry)
            location = RecordLocation(entry.sequence, number, entry.offset, entry.size)
            self.index.add(record, step_of(record), entry.at, location)
        if entry.is_last:
            extent = self.index.open_extent(number)
            self.index.extend(number, end, file.checksum(extent.end, end, extent.checksum))

    def _cut(self, tail: Tail) -> None:
        """Cut off the bytes after the last whole commit, which was never acknowledged, and keep a copy of them."""
        folder = self.folder / log_folder.TORN_FOLDER
        aside = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{tail.offset}-{os.urandom(2).hex()}"
        try:
            folder.mkdir(exist_ok=True)
            self.live.copy_tail(tail.offset, aside)
            self.live.cut_off(tail)
        except OSError as error:
            raise ConfigError(f"{aside}: expected to save {tail.size} torn bytes here: {os_reason(error)}") from error
        _log.warning(
            "log_tail_cut",
            path=str(self.live.path),
            offset=tail.offset,
            size=tail.size,
            after_record=tail.after,
            reason=tail.problem,
            put_aside=str(aside),
        )

    def reset_index(self) -> None:
        """Replace the index with an empty one."""
        self.index.close()
        remove_index(self.index.path)
        self.index = self._open_index()

    def _open_index(self) -> Index:
        path = self.folder / log_folder.INDEX_NAME
        return open_index(path, self.live.identity, lambda found: self.read_at(found).record, self._limits)


@contextmanager
def open_memory_store(
    folder: Path, *, note: str = "", clock: Callable[[], float] = time.time, limits: StoreLimits = DEFAULT_LIMITS
) -> Iterator[MemoryStore]:
    """Open a memory folder exclusively, created if missing.

    Other processes that try to open it get `note`, such as the router's address; `clock` gives the time of new records.

    Raises:
        ConfigError: the folder is on a network file system or not writable, another process holds it, the log is
            damaged or not a memory log, or the SQLite library can lose data.
    """
    with ExitStack() as stack:
        log_folder.claim_folder(stack, folder, note)
        live = log_folder.open_live(folder)
        stack.callback(live.close)
        archives = log_folder.open_archives(stack, folder, live.identity.id)
        store = MemoryStore(folder, live, archives, clock, limits)
        try:
            _catch_up(store)
            yield store
        finally:
            try:
                store.index.commit()
            except LogError as error:  # what was not written is read from the log again
                _log.warning("index_not_written", reason=str(error))
            store.index.close()


def _catch_up(store: MemoryStore) -> None:
    try:
        try:
            store.catch_up()
        except IndexFailedError:  # a page of it is damaged
            store.reset_index()
            store.catch_up()
    except LogError as error:  # a record of a later version, or no room for the index: a restart fixes neither
        raise ConfigError(str(error)) from error
