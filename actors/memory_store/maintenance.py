"""What is done with a log that nobody writes: look at all of it, derive its index anew, move runs out, repair it.

Whatever changes something takes the folder for itself. Looking does not: a log only grows, and what is being written is
told from what is damaged by what comes behind it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from actors.memory_store.index import LIVE, open_reader, remove_index
from actors.memory_store.log import (
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
from actors.memory_store.store import (
    ARCHIVE_FOLDER,
    INDEX_NAME,
    LOG_NAME,
    MemoryStore,
    archive_name,
    claim_folder,
    damaged,
    decoded,
    logged_record,
    merged,
    open_archives,
    open_memory_store,
    words_of,
)
from gems_actors.blobs import BlobFolder, BlobStore
from gems_actors.errors import BlobError, ConfigError, LogError
from gems_actors.locks import sync_folder
from protocol.codec import encode_body
from protocol.messages import (
    AnyRecord,
    AttemptVerified,
    ImageRef,
    ListRuns,
    LoggedRecord,
    RecordsLost,
    RunBegun,
    Runs,
    RunSummary,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryRecord,
)

DAMAGED_FOLDER: Final = "damaged"
_TOLD_EACH_BYTES: Final = 8 * 1024 * 1024
_MAX_COMMIT: Final = 1024
_SPARE_BYTES: Final = 64 * 1024 * 1024

Tell = Callable[[int, int], None]
"""Is told how many bytes were looked at, and of how many."""


class Check(NamedTuple):
    """What a look at a whole log found."""

    records: int
    log_bytes: int
    archives: int
    archived: int
    """Records in archives."""
    problems: list[str]
    """Empty where every record that was kept can be read."""
    notes: list[str]


class Garbage(NamedTuple):
    """Pictures that no record names."""

    blobs: int
    bytes: int
    kept: int


class Archived(NamedTuple):
    """Runs that were moved to an archive, or would be."""

    path: Path | None
    """None where there was nothing to move."""
    runs: list[str]
    records: int
    kept: list[str]
    """Runs of that time that stay, each with the reason."""
    live_bytes_before: int
    live_bytes_after: int


class Repaired(NamedTuple):
    """A log that goes on without what was damaged, or would."""

    set_aside: Path | None
    """Where the damaged file is now; None where there was no damage."""
    records: int
    """Those that are whole."""
    lost: list[str]


# ---------------------------------------------------------------------------------------------------- looking


def check_log(folder: Path, *, tell: Tell | None = None) -> Check:
    """Look at every byte of a log and its archives.

    Raises:
        ConfigError: there is no log of ours.
    """
    problems: list[str] = []
    notes: list[str] = []
    with _open_files(folder) as (live, archives):
        total = live.end + sum(file.end for file in archives.values())
        indexed = _index_last(folder)
        seen = _Seen(problems)
        counts = dict.fromkeys((LIVE, *archives), 0)
        done = told = 0
        for number, found in merged(archives, live):
            file = live if number == LIVE else archives[number]
            done += found.size
            if tell is not None and done - told >= _TOLD_EACH_BYTES:
                told = done
                tell(done, total)
            if isinstance(found, Entry):
                counts[number] += 1
                seen.take(file, found)
            elif _is_unfinished(number, found, indexed):
                notes.append(
                    f"{file.path}: behind byte {found.offset} stand {found.size} bytes of a commit that is not whole: "
                    "it is being written, or a crash left it, and nobody was told that it is kept"
                )
            else:
                problems.append(f"{file.path}: {words_of(found)}")
        seen.finish(indexed, live)
        archived = sum(count for number, count in counts.items() if number != LIVE)
        return Check(seen.records, live.end, len(archives), archived, problems, notes + seen.notes)


def check_logs(folders: Sequence[Path], *, tell: Tell | None = None) -> Check:
    """Look at every byte of the logs of several shards, and that no trajectory is in two of them.

    Raises:
        ConfigError: there is no log of ours.
    """
    checks = [check_log(folder, tell=tell) for folder in folders]
    problems = [line for found in checks for line in found.problems]
    keepers: dict[str, Path] = {}
    for folder in folders if len(folders) > 1 else ():
        for trajectory in _indexed_trajectories(folder):
            first = keepers.setdefault(trajectory, folder)
            if first != folder:
                problems.append(f"{folder}: expected trajectory {trajectory} in one log, got one that {first} has too")
    return Check(
        records=sum(found.records for found in checks),
        log_bytes=sum(found.log_bytes for found in checks),
        archives=sum(found.archives for found in checks),
        archived=sum(found.archived for found in checks),
        problems=problems,
        notes=[line for found in checks for line in found.notes],
    )


async def check_images(folder: Path, blobs: BlobStore, *, tell: Tell | None = None) -> list[str]:
    """Return a line for each picture that a record names and that is missing or damaged.

    Raises:
        ConfigError: there is no log of ours.
    """
    problems: list[str] = []
    images = _named_images(folder, problems)
    for place, image in enumerate(images.values(), 1):
        try:
            await blobs.get(image)
        except BlobError as error:
            problems.append(str(error))
        if tell is not None:
            tell(place, len(images))
    return problems


def export_records(folder: Path, *, run: str | None = None) -> Iterator[LoggedRecord | str]:
    """Yield all records in their order, those of archives among them, or those of one run; damage as a line of words.

    Raises:
        ConfigError: there is no log of ours.
    """
    with _open_files(folder) as (live, archives):
        ours: set[str] = set()
        last = 0
        indexed = _index_last(folder)
        for number, found in merged(archives, live):
            file = live if number == LIVE else archives[number]
            if not isinstance(found, Entry):
                if not _is_unfinished(number, found, indexed):
                    yield f"{file.path}: {words_of(found)}"
            elif found.sequence > last:
                last = found.sequence
                try:
                    logged = logged_record(file, found)
                except LogError as error:
                    yield str(error)
                    continue
                if run is None or _is_of_run(logged.record, run, ours):
                    yield logged


# ---------------------------------------------------------------------------------------------------- changing


def rebuild_index(folder: Path) -> int:
    """Derive the index of a log anew and return how many records it has.

    Raises:
        ConfigError: the folder cannot be used, another process has it, or the log is damaged.
    """
    _check_there(folder)
    with ExitStack() as stack:
        claim_folder(stack, folder)
        remove_index(folder / INDEX_NAME)
    with open_memory_store(folder) as store:
        return store.last


def collect_garbage(folders: Sequence[Path], blobs: BlobFolder, *, is_dry_run: bool) -> Garbage:
    """Remove the pictures that no record names, or count them.

    Args:
        folders: of all logs whose pictures these are; what a log names that is not among them would be removed.
        blobs: the pictures.
        is_dry_run: only count.

    Raises:
        ConfigError: the folder cannot be used, or another process has it and may be about to name a picture.
        LogError: not all records can be read, so that a picture they name might be taken for garbage.
    """
    with ExitStack() as stack:
        problems: list[str] = []
        named: set[str] = set()
        for folder in folders:
            if not is_dry_run:
                claim_folder(stack, folder)
            archives = folder / ARCHIVE_FOLDER
            problems += (f"{archives / archive_name(number)}: is missing" for number in _missing(folder))
            named |= _named_images(folder, problems).keys()
        if problems:
            raise LogError(f"expected to read every record before any picture is removed: {problems[0]}")
        kept = count = size = 0
        for path in (*(blobs.folder / "sha256").glob("??/??/*"), *(blobs.folder / "partial").glob("*")):
            if path.parent.name != "partial" and f"sha256:{path.name}" in named:
                kept += 1
                continue
            count += 1
            size += path.stat().st_size
            if not is_dry_run:
                path.unlink()
        return Garbage(count, size, kept)


def runs_under_way(folder: Path, before: float) -> set[str]:
    """Return the runs of a log that are not finished, or that something was added to since a time.

    Raises:
        ConfigError: the folder cannot be used, another process has it, or the log is damaged.
    """
    _check_there(folder)
    with open_memory_store(folder) as store:
        finished, _ = _finished_runs(store, before)
        return {run.run for run in _all_runs(store)} - finished


def archive_runs(folder: Path, before: float, *, is_dry_run: bool, staying: AbstractSet[str] = frozenset()) -> Archived:
    """Move the records of finished runs that nothing was added to since a time out of the live file, into an archive.

    A crash at any moment leaves every record in the live file, in the archive, or in both; run again, it goes on.

    Args:
        folder: of the log.
        before: Unix time.
        is_dry_run: only say what would be moved.
        staying: runs that are not to be moved, such as those that are under way in another log.

    Raises:
        ConfigError: the folder cannot be used, another process has it, or the log is damaged.
    """
    _check_there(folder)
    with open_memory_store(folder) as store:
        finished, kept = _finished_runs(store, before)
        sorter = _Sorter(store, finished - staying)
        moved: set[str] = set()
        records = doubled = 0
        for found in store.live.scan():
            _, run, is_staying = sorter.sort(found)
            if run is not None:
                records += 1
                moved.add(run)
            elif not is_staying:
                doubled += 1
        runs, size = sorted(moved), store.live.end
        if is_dry_run or not (records or doubled):
            return Archived(None, runs, records, kept, size, size)
        _check_room(folder, size)
        path = folder / ARCHIVE_FOLDER / archive_name(max(store.archives, default=0) + 1)
        path.parent.mkdir(exist_ok=True)
        identity = store.live.identity
        out = _Rewriter(path.with_suffix(".part"), identity)
        stay = _Rewriter(folder / f"{LOG_NAME}.part", identity._replace(generation=identity.generation + 1))
        for found in store.live.scan():
            entry, run, is_staying = sorter.sort(found)
            if run is not None:
                out.add(entry)
            elif is_staying:
                stay.add(entry)
        out.finish(path if records else None)
        stay.finish(store.live.path)  # in this order a record is always in one of them
    rebuild_index(folder)
    return Archived(path if records else None, runs, records, kept, size, (folder / LOG_NAME).stat().st_size)


def repair_log(folder: Path, *, is_dry_run: bool) -> Repaired:
    """Put a damaged live file aside, as it is, and go on with a new one that has all records that are whole.

    What is lost is written down in the new one.

    Raises:
        ConfigError: the folder cannot be used, another process has it, or there is no log.
    """
    _check_there(folder)
    with ExitStack() as stack:
        claim_folder(stack, folder)
        live = _open_damaged(folder)
        stack.callback(live.close)
        archives = open_archives(stack, folder, live.identity.id)
        indexed = _index_last(folder)
        seen = _Seen([])
        damages: list[Damage | Tail] = []
        for number, found in merged(archives, live):
            if isinstance(found, Entry):
                seen.take(live if number == LIVE else archives[number], found)
            elif number == LIVE and not _is_unfinished(number, found, indexed):
                damages.append(found)
        seen.finish(indexed, live)
        if not damages and not seen.gaps and _is_head_whole(live.path):
            return Repaired(None, seen.records, [])
        lost = [f"records {first} to {last}" if last > first else f"record {first}" for first, last in seen.gaps]
        aside = folder / DAMAGED_FOLDER / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}.log"
        if is_dry_run:
            return Repaired(aside, seen.records, lost)
        _check_room(folder, live.end)
        new = _Rewriter(folder / f"{LOG_NAME}.part", live.identity._replace(generation=live.identity.generation + 1))
        for found in live.scan():
            if isinstance(found, Entry):
                new.add(found)
        reason = words_of(damages[0]) if damages else "got the end of the file too early"
        sequence = max(seen.last, indexed)
        for first, last in seen.gaps:
            sequence += 1
            body = encode_body(RecordsLost(first=first, last=last, reason=reason))
            new.add(Entry(sequence, time.time(), body, 0, 0, 0, 0))
        aside.parent.mkdir(exist_ok=True)
        os.link(live.path, aside)
        sync_folder(aside.parent)
        new.finish(live.path)
        remove_index(folder / INDEX_NAME)
    rebuild_index(folder)
    return Repaired(aside, seen.records, lost)


# ---------------------------------------------------------------------------------------------------- inside


class _Seen:
    """What the records that were looked at add up to: each place once, each step once, no gap."""

    def __init__(self, problems: list[str]) -> None:
        self.records = 0
        self.last = 0
        self.gaps: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self._problems = problems
        self._steps: set[bytes] = set()
        self._lost: list[tuple[int, int]] = []
        self._body = b""
        self._twice = 0

    def take(self, file: LogFile, entry: Entry) -> None:
        """Look at one record; they come in the order of their places."""
        where = f"{file.path}: record {entry.sequence} at byte {entry.offset}"
        if entry.sequence <= self.last:
            self._twice += 1
            if entry.sequence < self.last or entry.body != self._body:
                self._problems.append(f"{where}: expected a place of its own, got one that another record has")
            return
        if entry.sequence > self.last + 1:
            self.gaps.append((self.last + 1, entry.sequence - 1))
        self.last, self._body = entry.sequence, entry.body
        self.records += 1
        try:
            record = decoded(file, entry)
        except LogError as error:
            self._problems.append(str(error))
            return
        if isinstance(record, RecordsLost):
            self._lost.append((record.first, record.last))
        step = step_of(record)
        if step is not None:
            owner = record.trajectory if isinstance(record, TrajectoryRecord) else getattr(record, "run", "")
            name = blake2b(f"{owner}\0{step}".encode(), digest_size=16).digest()
            if name in self._steps:
                self._problems.append(f"{where}: expected the step {step!r} of {owner} once, got it again")
            self._steps.add(name)

    def finish(self, indexed: int, live: LogFile) -> None:
        """Say which places are in no file.

        Args:
            indexed: the last place that the index has seen, 0 where there is no index.
            live: the file that is written to.
        """
        if indexed > self.last:
            self.gaps.append((self.last + 1, indexed))
        self.gaps = [gap for gap in self.gaps if not any(a <= gap[0] and gap[1] <= b for a, b in self._lost)]
        for first, last in self.gaps:
            self._problems.append(f"{live.path}: expected records {first} to {last}, which are in no file")
        for first, last in self._lost:
            self.notes.append(f"records {first} to {last} were lost, and the log was repaired")
        if self._twice:
            self.notes.append(f"{self._twice} records stand in an archive and in the live file: a move was interrupted")


class _Rewriter:
    """A new file of a log, filled with records of an older one, and looked at before it counts."""

    def __init__(self, path: Path, identity: Identity) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._file = create_log_file(path, identity)
        self._entries: list[Entry] = []
        self._sum = 0

    def add(self, entry: Entry) -> None:
        before = self._entries[-1] if self._entries else None
        if before is not None and (before.at != entry.at or before.sequence + 1 != entry.sequence):
            self._write()  # a commit has one time, and its places follow one another
        self._entries.append(entry)
        self._sum ^= _fingerprint(entry)
        if len(self._entries) >= _MAX_COMMIT:
            self._write()

    def finish(self, path: Path | None) -> None:
        """Give the file its name once it is on disk and was read back; without one it is dropped.

        Raises:
            ConfigError: the disk did not keep it.
        """
        self._write()
        self._file.sync()
        found = 0
        for entry in self._file.scan():
            found ^= _fingerprint(entry) if isinstance(entry, Entry) else 1
        self._file.close()
        if found != self._sum:
            raise ConfigError(f"{self.path}: expected a disk that keeps what is written, got one that does not")
        if path is None:
            self.path.unlink()
        else:
            self.path.replace(path)
            sync_folder(path.parent)

    def _write(self) -> None:
        entries = self._entries
        if entries:
            sequences = [entry.sequence for entry in entries]
            self._file.write(b"".join(pack_commit([entry.body for entry in entries], sequences, entries[0].at)))
            entries.clear()


@contextmanager
def _open_files(folder: Path) -> Iterator[tuple[LogFile, dict[int, LogFile]]]:
    """Open a log and its archives for reading; what is written meanwhile is not seen."""
    _check_there(folder)
    with ExitStack() as stack:
        live = open_log_file(folder / LOG_NAME)
        stack.callback(live.close)
        yield live, open_archives(stack, folder, live.identity.id)


def _check_there(folder: Path) -> None:
    if not (folder / LOG_NAME).exists():
        raise ConfigError(f"{folder}: expected a memory log, got none")


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_BYTES:
        needed = (size + _SPARE_BYTES) >> 20
        raise ConfigError(f"{folder}: expected {needed} MiB of free disk to write the log anew, got {free >> 20}")


def _is_unfinished(number: int, found: Damage | Tail, indexed: int) -> bool:
    """Whether it is the end of the live file, of which nobody was told that it is kept."""
    return number == LIVE and isinstance(found, Tail) and found.after >= indexed


def _index_position(folder: Path) -> tuple[Identity, int] | None:
    """Return of which file the index of a folder is, and the last record it has seen; None where it cannot be asked."""
    path = folder / INDEX_NAME
    if not path.exists():
        return None
    try:
        with closing(open_reader(path)) as connection:
            ((id_, generation, last),) = connection.execute("SELECT log_id, generation, sequence FROM position")
    except (apsw.Error, ValueError):
        return None
    return Identity(id_, generation), last


def _index_last(folder: Path) -> int:
    position = _index_position(folder)
    return position[1] if position else 0


def _indexed_trajectories(folder: Path) -> Iterator[str]:
    """Yield the trajectories that the index of a folder knows; none where it cannot be asked."""
    with suppress(apsw.Error, ValueError), closing(open_reader(folder / INDEX_NAME)) as connection:
        for (id_,) in connection.execute("SELECT id FROM trajectories"):
            yield id_


def _missing(folder: Path) -> list[int]:
    """Return the numbers of the archives that the index has seen and that are not there."""
    try:
        with closing(open_reader(folder / INDEX_NAME)) as connection:
            numbers = [number for (number,) in connection.execute("SELECT number FROM archives")]
    except apsw.Error:
        return []
    return [number for number in numbers if not (folder / ARCHIVE_FOLDER / archive_name(number)).exists()]


def _named_images(folder: Path, problems: list[str]) -> dict[str, ImageRef]:
    """Return the pictures that records name, by their digests, and add what cannot be read to the problems."""
    images: dict[str, ImageRef] = {}
    for found in export_records(folder):
        if isinstance(found, str):
            problems.append(found)
        elif isinstance(found.record, AttemptVerified):
            image = found.record.attempt.image
            images[image.digest] = image
    return images


def _is_of_run(record: AnyRecord, run: str, trajectories: set[str]) -> bool:
    """Whether a record is of a run, whose trajectories are noted as they come by."""
    if isinstance(record, TrajectoryBegun) and record.task.run == run:
        trajectories.add(record.trajectory)
    if isinstance(record, TrajectoryRecord):
        return record.trajectory in trajectories
    return isinstance(record, RunBegun) and record.run == run


class _Sorter:
    """Tells which records of the live file are to be moved to an archive."""

    def __init__(self, store: MemoryStore, finished: set[str]) -> None:
        self._store = store
        self._finished = finished
        self._runs: dict[str, str] = {}
        """Of the trajectories that have begun and not ended so far."""
        self._moved = {
            found.sequence for file in store.archives.values() for found in file.scan() if isinstance(found, Entry)
        }
        """Those that an interrupted move has left in the live file, too."""

    def sort(self, found: Entry | Damage) -> tuple[Entry, str | None, bool]:
        """Return a record, the run of which it is to be moved, and whether it stays; neither: an archive has it."""
        live = self._store.live
        if isinstance(found, Damage):
            raise damaged(live, words_of(found))
        run = self._run_of(decoded(live, found))
        if found.sequence in self._moved:
            return found, None, False
        return (found, run, False) if run in self._finished else (found, None, True)

    def _run_of(self, record: AnyRecord) -> str | None:
        if isinstance(record, TrajectoryBegun):
            self._runs[record.trajectory] = record.task.run
        if isinstance(record, TrajectoryRecord):
            run = self._runs.get(record.trajectory)
            if run is None:
                run = self._store.index.trajectory(record.trajectory).of_run
            if isinstance(record, TrajectoryEnded):
                self._runs.pop(record.trajectory, None)
            return run
        return record.run if isinstance(record, RunBegun) else None


def _finished_runs(store: MemoryStore, before: float) -> tuple[set[str], list[str]]:
    """Return the runs of the time before, of which nothing is under way, and those that stay, each with the reason."""
    finished: set[str] = set()
    kept: list[str] = []
    for run in _all_runs(store):
        if run.last_at < before and run.running:
            kept.append(f"{run.run}: {run.running} trajectories are not finished")
        elif run.last_at < before:
            finished.add(run.run)
    return finished, kept


def _all_runs(store: MemoryStore) -> Iterator[RunSummary]:
    page = Runs(runs=(), next=2**62)
    while page.next is not None:
        page = store.index.list_runs(ListRuns(before=page.next, limit=1000))
        yield from page.runs


def _fingerprint(entry: Entry) -> int:
    """Return a number that differs where a record's place, time or body does; their sum does not mind the order."""
    data = f"{entry.sequence} {entry.at!r} ".encode() + entry.body
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def _is_head_whole(path: Path) -> bool:
    try:
        open_log_file(path).close()
    except ConfigError:
        return False
    return True


def _open_damaged(folder: Path) -> LogFile:
    """Open a live file even if its head is damaged: which log it is its index or an archive tells, too."""
    path = folder / LOG_NAME
    try:
        return open_log_file(path)
    except ConfigError:
        position = _index_position(folder)
        identities = [position[0]] if position else []
        for archive in (folder / ARCHIVE_FOLDER).glob("*.log"):
            with suppress(ConfigError), closing(open_log_file(archive)) as file:
                identities.append(file.identity)
        identity = identities[0] if identities else Identity(os.urandom(16), 1)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return LogFile(path, descriptor, identity, os.fstat(descriptor).st_size)
