"""The log with its archives and its index as one thing: keeps records, and finds them again.

log               the live file, written by one process alone
archive/NNNN.log  finished runs that were moved out of it
index.db          derived; deleted at will
lock              names the process that has the folder, and the router where it can be asked
torn/             what was cut off behind the last whole commit after a crash, byte for byte
"""

from __future__ import annotations

import heapq
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import structlog

from actors.memory_store.filesystem import check_local
from actors.memory_store.index import LIVE, Extent, Index, IndexFailedError, Place, open_index, remove_index
from actors.memory_store.log import (
    HEADER_BYTES,
    Damage,
    Entry,
    Identity,
    LogFile,
    Tail,
    create_log_file,
    open_log_file,
    pack_commit,
)
from actors.memory_store.replay import step_of
from gems_actors.errors import ConfigError, LogError
from gems_actors.locks import LockHeldError, hold_lock
from protocol.codec import decode_record, encode_body
from protocol.errors import ProtocolError
from protocol.messages import AnyRecord, LoggedRecord, RunBegun, TrajectoryRecord

LOG_NAME: Final = "log"
INDEX_NAME: Final = "index.db"
LOCK_NAME: Final = "lock"
ARCHIVE_FOLDER: Final = "archive"
TORN_FOLDER: Final = "torn"
_VERIFIED_AT_ONCE_BYTES: Final = 1 << 30
"""Of the newest part of the log, while it is opened; what is older is verified beside the work."""
_FOLLOWED_AT_ONCE: Final = 2000

_log = structlog.get_logger()


Found = Entry | Damage | Tail


class Batch(NamedTuple):
    """Records that are written, and durable after the next sync."""

    places: list[tuple[int, bool]]
    """Of each record that was handed in: its sequence, and whether it is new."""
    new: list[tuple[AnyRecord, str | None]]
    """Those that are new, each with its step."""
    sizes: list[int]
    """Of their frames, the first of which stands at `offset`."""
    offset: int
    at: float
    checksum: int
    """CRC-32 of the open extent with them."""


class MemoryStore:
    """All records of all trajectories; made by `open_memory_store`. One thread at a time."""

    def __init__(self, folder: Path, live: LogFile, archives: dict[int, LogFile], clock: Callable[[], float]) -> None:
        self.folder = folder
        self.live = live
        self.archives = archives
        self.unverified: list[Extent] = []
        """Stretches of the live file that opening it left to be looked at."""
        self._clock = clock
        self.index = self._open_index()

    @property
    def last(self) -> int:
        """Sequence of the newest record."""
        return self.index.last

    # ------------------------------------------------------------------------------------------------ writing

    def append(self, records: Sequence[AnyRecord]) -> list[tuple[int, bool]]:
        """Keep records and return, for each, its sequence and whether it is new; all are durable then.

        A step that stands in its trajectory already is kept as it was.

        Raises:
            LogError: nothing was kept; says why.
        """
        batch = self.write(records)
        self.live.sync()
        self.keep(batch)
        return batch.places

    def write(self, records: Sequence[AnyRecord]) -> Batch:
        """Write the records that are new; they count once they are synced and then given to `keep`, before the next.

        Raises:
            LogError: nothing was written; says why.
        """
        first = self.last + 1
        fresh: dict[tuple[str, str], int] = {}
        places: list[tuple[int, bool]] = []
        new: list[tuple[AnyRecord, str | None]] = []
        for record in records:
            step = step_of(record)
            if step is not None:
                owner, known = self._look_up(record, step)
                if not known and not (known := fresh.get((owner, step), 0)):
                    fresh[owner, step] = first + len(new)
                if known:
                    places.append((known, False))
                    continue
            places.append((first + len(new), True))
            new.append((record, step))
        at = self._clock()
        frames = pack_commit([encode_body(record) for record, _ in new], range(first, first + len(new)), at)
        data = b"".join(frames)
        offset = self.live.write(data) if data else 0
        checksum = crc32(data, self.index.open_extent(LIVE).checksum)
        return Batch(places, new, list(map(len, frames)), offset, at, checksum)

    def keep(self, batch: Batch) -> None:
        """Let records that are durable now be found.

        Raises:
            IndexFailedError: the index failed; the store must be opened anew.
        """
        sequence, offset = self.last, batch.offset
        for (record, step), size in zip(batch.new, batch.sizes, strict=True):
            sequence += 1
            self.index.take(record, step, batch.at, Place(sequence, LIVE, offset, size))
            offset += size
        if batch.new:
            self.index.extend(LIVE, offset, batch.checksum)

    def is_alone(self, record: AnyRecord) -> bool:
        """Return whether a record that is kept is the only one of its trajectory."""
        return isinstance(record, TrajectoryRecord) and len(self.index.trajectory(record.trajectory).places) == 1

    def _look_up(self, record: AnyRecord, step: str) -> tuple[str, int]:
        """Return whose step a record is, and where that step stands already, 0 where it does not."""
        if isinstance(record, TrajectoryRecord):
            return record.trajectory, self.index.trajectory(record.trajectory).steps.get(step, 0)
        if isinstance(record, RunBegun):
            run = self.index.run(record.run)
            return f"run {record.run}", run.begun or 0 if run else 0
        return "", 0

    # ------------------------------------------------------------------------------------------------ reading

    def read(self, trajectory: str) -> list[LoggedRecord]:
        """Return the records of a trajectory in the order in which they were kept; none where no record names it.

        Raises:
            LogError: a record cannot be read.
        """
        found = [self.read_place(place) for place in self.index.places(trajectory)]
        for item in found:
            if getattr(item.record, "trajectory", None) != trajectory:
                raise LogError(f"{self.index.path}: expected record {item.sequence} to be of trajectory {trajectory}")
        return found

    def read_place(self, place: Place) -> LoggedRecord:
        """Return the record at a place, verified.

        Raises:
            LogError: it cannot be read.
        """
        file = self.live if place.file == LIVE else self.archives.get(place.file)
        if file is None:
            path = self.folder / ARCHIVE_FOLDER / archive_name(place.file)
            raise LogError(f"{path}: expected this archive, which has record {place.sequence}; it is not there")
        return logged_record(file, file.read(place.offset, place.size, place.sequence))

    def read_since(self, sequence: int, limit: int, max_bytes: int) -> list[LoggedRecord]:
        """Return the records behind a sequence, at most `limit` and, from the second on, at most so many bytes.

        Raises:
            LogError: a record cannot be read.
        """
        starts = {number: self.index.extent_of(number, sequence) for number in (*self.archives, LIVE)}
        found: list[LoggedRecord] = []
        size = 0
        for number, item in merged(self.archives, self.live, starts):
            if isinstance(item, Damage | Tail):
                raise LogError(f"{self.file(number).path}: {words_of(item)}")
            if sequence < item.sequence <= self.last:
                size += item.size
                if found and size > max_bytes:
                    break
                found.append(logged_record(self.file(number), item))
                sequence = item.sequence  # of one that two files have, as after a move that was interrupted, one
                if len(found) == limit:
                    break
        return found

    def file(self, number: int) -> LogFile:
        """Return a file of the log by its number."""
        return self.live if number == LIVE else self.archives[number]

    # ------------------------------------------------------------------------------------------------ opening

    def catch_up(self) -> None:
        """Let the index follow the log, verified, to its end, and cut off what a crash left behind that.

        Raises:
            ConfigError: the log is damaged; says where, and what can be done.
        """
        if set(self.archives) - self.index.archives():
            self.begin_index_anew()
        for number in sorted(self.index.archives() - set(self.archives)):
            _log.warning("archive_missing", path=str(self.folder / ARCHIVE_FOLDER / archive_name(number)))
        followed = self.index.open_extent(LIVE)
        if followed.end > self.live.end:
            raise damaged(
                self.live,
                f"expected record {self.last} to end at byte {followed.end}, "
                f"got the end of the file at byte {self.live.end}",
            )
        self._verify()
        if self.last or not self.archives:
            self._follow((LIVE, found) for found in self.live.scan_commits(followed.end, self.last))
        else:
            self._follow_all()
        self.index.commit()

    def _verify(self) -> None:
        left = _VERIFIED_AT_ONCE_BYTES
        for extent in reversed(self.index.extents(LIVE)):
            if left <= 0:
                self.unverified.append(extent)
            elif problem := self.damage_in(extent):
                raise damaged(self.live, problem)
            left -= extent.end - extent.offset

    def damage_in(self, extent: Extent) -> str:
        """Say what is wrong with a stretch of the live file; nothing where it is whole."""
        if self.live.checksum(extent.offset, extent.end) == extent.checksum:
            return ""
        for found in self.live.scan(extent.offset, extent.end, extent.after):
            if isinstance(found, Damage):
                return words_of(found)
        return f"expected bytes {extent.offset} to {extent.end} as they were written, got others"

    def _follow_all(self) -> None:
        """Take all there is into an empty index; archives count only in the end, so a half is never taken for it."""
        counts = dict.fromkeys(self.archives, 0)

        def counted() -> Iterator[tuple[int, Found]]:
            for number, found in merged(self.archives, self.live):
                if number != LIVE and isinstance(found, Entry):
                    counts[number] += 1
                yield number, found

        self._follow(counted())
        for number, count in counts.items():
            self.index.add_archive(number, count)

    def _follow(self, items: Iterable[tuple[int, Found]]) -> None:
        """Take records into the index, and cut off what a crash left behind the last commit."""
        waiting = 0
        for number, found in items:
            if isinstance(found, Tail) and number == LIVE:
                self._cut(found)
            elif isinstance(found, Entry):
                self._take(number, found)
                waiting += 1
                if waiting >= _FOLLOWED_AT_ONCE and found.place == found.commit - 1:
                    self.index.commit()
                    waiting = 0
            elif number == LIVE:
                raise damaged(self.live, words_of(found))
            else:
                _log.error("archive_damaged", path=str(self.archives[number].path), reason=words_of(found))

    def _take(self, number: int, entry: Entry) -> None:
        file, end = self.file(number), entry.offset + entry.size
        if entry.sequence > self.last:  # else an archive has it too: a move was interrupted
            record = decoded(file, entry)
            place = Place(entry.sequence, number, entry.offset, entry.size)
            self.index.take(record, step_of(record), entry.at, place)
        if entry.place == entry.commit - 1:
            extent = self.index.open_extent(number)
            self.index.extend(number, end, file.checksum(extent.end, end, extent.checksum))

    def _cut(self, tail: Tail) -> None:
        """Put aside what stands behind the last whole commit: nobody was told that it is kept."""
        folder = self.folder / TORN_FOLDER
        aside = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{tail.offset}-{os.urandom(2).hex()}"
        try:
            folder.mkdir(exist_ok=True)
            self.live.copy_tail(tail.offset, aside)
            self.live.cut_off(tail)
        except OSError as error:
            raise ConfigError(f"{aside}: expected to put {tail.size} torn bytes aside: {error.strerror}") from error
        _log.warning(
            "log_tail_cut",
            path=str(self.live.path),
            offset=tail.offset,
            size=tail.size,
            after_record=tail.after,
            reason=tail.problem,
            put_aside=str(aside),
        )

    def begin_index_anew(self) -> None:
        """Put an empty index in the place of the one there is."""
        self.index.close()
        remove_index(self.index.path)
        self.index = self._open_index()

    def _open_index(self) -> Index:
        return open_index(self.folder / INDEX_NAME, self.live.identity, lambda place: self.read_place(place).record)


@contextmanager
def open_memory_store(folder: Path, *, note: str = "", clock: Callable[[], float] = time.time) -> Iterator[MemoryStore]:
    """Open a folder of memory for this process alone, made anew where there is none.

    Args:
        folder: of the log, its archives and its index.
        note: said to other processes that would open it.
        clock: gives the time of records.

    Raises:
        ConfigError: the folder is on a network file system or cannot be written, another process has it, the log is
            damaged or none of ours, or the SQLite library is one that can lose data.
    """
    with ExitStack() as stack:
        claim_folder(stack, folder, note)
        live = _open_live(folder)
        stack.callback(live.close)
        archives = open_archives(stack, folder, live.identity.id)
        store = MemoryStore(folder, live, archives, clock)
        try:
            _catch_up(store)
            yield store
        finally:
            close_index(store)


def _catch_up(store: MemoryStore) -> None:
    try:
        try:
            store.catch_up()
        except IndexFailedError:  # one of its pages is damaged
            store.begin_index_anew()
            store.catch_up()
    except LogError as error:  # a record of a later version, or no room for the index: starting again mends neither
        raise ConfigError(str(error)) from error


def claim_folder(stack: ExitStack, folder: Path, note: str = "") -> None:
    """Hold a folder of memory, made where it is missing, until the stack is closed.

    Raises:
        ConfigError: it cannot be used, or another process has it.
    """
    check_local(folder)
    try:
        stack.enter_context(hold_lock(folder / LOCK_NAME, note))
    except LockHeldError as error:
        raise ConfigError(f"{folder}: expected a log that nobody writes, got one {error}") from error
    except OSError as error:
        raise ConfigError(f"{folder}: expected a writable folder for memory: {error.strerror}") from error


def open_archives(stack: ExitStack, folder: Path, id_: bytes) -> dict[int, LogFile]:
    """Open the archives of a log for reading, by their numbers, until the stack is closed.

    Raises:
        ConfigError: one of them is of another log, or of none.
    """
    found: dict[int, LogFile] = {}
    for path in sorted((folder / ARCHIVE_FOLDER).glob("*.log")):
        match = re.fullmatch(r"(\d{4,9})\.log", path.name)
        if match is None or not int(match[1]):
            continue
        file = open_log_file(path)
        stack.callback(file.close)
        if file.identity.id != id_:
            raise ConfigError(
                f"{path}: expected an archive of the log {id_.hex()}, got one of {file.identity.id.hex()}"
            )
        found[int(match[1])] = file
    return found


def archive_name(number: int) -> str:
    """Return the file name of an archive."""
    return f"{number:04d}.log"


def close_index(store: MemoryStore) -> None:
    """Write and close the index; where it fails, it is derived again."""
    try:
        store.index.commit()
    except LogError as error:
        _log.warning("index_not_written", reason=str(error))
    store.index.close()


def damaged(file: LogFile, problem: str) -> ConfigError:
    """Return the error of a log that must not be written as it is."""
    return ConfigError(
        f"{file.path}: {problem}; `gems memory check` lists all damage, `gems memory repair` goes on without it"
    )


def words_of(damage: Damage | Tail) -> str:
    """Say what is wrong in a file, and where."""
    return (
        f"expected a record behind record {damage.after} at byte {damage.offset}, {damage.problem}; "
        f"{damage.size} bytes are lost, what stands before them can be read"
    )


def logged_record(file: LogFile, entry: Entry) -> LoggedRecord:
    """Return the record in an entry of a file.

    Raises:
        LogError: its bytes are whole and no record of this version.
    """
    return LoggedRecord(sequence=entry.sequence, at=entry.at, record=decoded(file, entry))


def decoded(file: LogFile, entry: Entry) -> AnyRecord:
    """Return the record in an entry of a file.

    Raises:
        LogError: its bytes are whole and no record of this version.
    """
    try:
        return decode_record(entry.body)
    except ProtocolError as error:
        raise LogError(f"{file.path}: record {entry.sequence} at byte {entry.offset}: {error}") from error


def _open_live(folder: Path) -> LogFile:
    path = folder / LOG_NAME
    if path.exists():
        return open_log_file(path, is_writer=True)
    if any((folder / ARCHIVE_FOLDER).glob("*.log")):
        raise ConfigError(f"{path}: expected the log that the archives beside it belong to, got none")
    try:
        return create_log_file(path, Identity(os.urandom(16), 1))
    except OSError as error:
        raise ConfigError(f"{folder}: expected a writable folder for memory: {error.strerror}") from error


def merged(
    archives: Mapping[int, LogFile], live: LogFile, starts: Mapping[int, Extent] | None = None
) -> Iterator[tuple[int, Found]]:
    """Yield what the files have in the order of the records; of one that stands in two the archive's comes first.

    Args:
        archives: by their numbers.
        live: the file that is written to.
        starts: where to begin in each file, else at its beginning.
    """

    def items(number: int, file: LogFile) -> Iterator[tuple[int, int, Found]]:
        start = starts[number] if starts else Extent(number, HEADER_BYTES, HEADER_BYTES, 0, 0)
        last = start.after
        for found in file.scan_commits(start.offset, last):
            last = found.sequence if isinstance(found, Entry) else last
            yield last, number, found

    sources = [items(number, file) for number, file in archives.items()] + [items(LIVE, live)]
    for _, number, found in heapq.merge(*sources, key=lambda item: item[0]):
        yield number, found
