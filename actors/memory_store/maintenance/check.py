"""Checking every byte of a log, its archives, and the pictures that its records name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from actors.memory_store.log import LogEntry, LogFile
from actors.memory_store.log_folder import LIVE, decode_entry, describe_damage, merge_files
from actors.memory_store.maintenance import log_reader
from actors.memory_store.replay import step_of
from gems_actors.blobs import BlobStore
from gems_actors.errors import BlobError, LogError
from protocol.codec import is_within_bounds
from protocol.messages import RecordsLost, TrajectoryRecord

_PROGRESS_BYTES: Final = 8 * 1024 * 1024
_MAX_NAMED: Final = 100
"""Records with values out of bounds that are named one by one."""

ReportProgress = Callable[[int, int], None]
"""Called with what was checked so far and the total, in bytes or in pictures."""


class Check(NamedTuple):
    """Result of checking a whole log."""

    records: int
    log_bytes: int
    archives: int
    archived: int
    """Number of records in archives."""
    problems: list[str]
    """Damage, one line each; empty if every acknowledged record can be read."""
    notes: list[str]


def check_log(folder: Path, *, report_progress: ReportProgress | None = None) -> Check:
    """Check every byte of a log and its archives.

    Raises:
        ConfigError: the folder has no log, or one of its files is not a memory log.
    """
    problems: list[str] = []
    notes: list[str] = []
    with log_reader.open_files(folder) as (live, archives):
        total = live.end + sum(file.end for file in archives.values())
        indexed = log_reader.last_indexed(folder)
        audit = RecordAudit(problems)
        counts = dict.fromkeys((LIVE, *archives), 0)
        done = reported = 0
        for number, found in merge_files(archives, live):
            file = live if number == LIVE else archives[number]
            done += found.size
            if report_progress is not None and done - reported >= _PROGRESS_BYTES:
                reported = done
                report_progress(done, total)
            if isinstance(found, LogEntry):
                counts[number] += 1
                audit.add(file, found)
            elif log_reader.is_unfinished(number, found, indexed):
                notes.append(
                    f"{file.path}: the {found.size} bytes after byte {found.offset} are a commit that is not whole: "
                    "it is being written, or a crash left it; it was never acknowledged"
                )
            else:
                problems.append(f"{file.path}: {describe_damage(found)}")
        audit.finish(indexed, live)
        archived = sum(count for number, count in counts.items() if number != LIVE)
        return Check(audit.records, live.end, len(archives), archived, problems, notes + audit.notes)


def check_logs(folders: Sequence[Path], *, report_progress: ReportProgress | None = None) -> Check:
    """Check every byte of the logs of several shards, and that no trajectory is in two of them.

    Raises:
        ConfigError: a folder has no log, or one of its files is not a memory log.
    """
    checks = [check_log(folder, report_progress=report_progress) for folder in folders]
    problems = [line for found in checks for line in found.problems]
    owners: dict[str, Path] = {}
    for folder in folders if len(folders) > 1 else ():
        for trajectory in log_reader.indexed_trajectories(folder):
            first = owners.setdefault(trajectory, folder)
            if first != folder:
                problems.append(f"{folder}: expected trajectory {trajectory} in one log, got it in {first} as well")
    return Check(
        records=sum(found.records for found in checks),
        log_bytes=sum(found.log_bytes for found in checks),
        archives=sum(found.archives for found in checks),
        archived=sum(found.archived for found in checks),
        problems=problems,
        notes=[line for found in checks for line in found.notes],
    )


async def check_images(folder: Path, blobs: BlobStore, *, report_progress: ReportProgress | None = None) -> list[str]:
    """Return a line for each picture that a record names, drawn or given, and that is missing or damaged.

    Raises:
        ConfigError: the folder has no log, or one of its files is not a memory log.
    """
    problems: list[str] = []
    named = log_reader.named_images(folder, problems)
    images = named.drawn | named.given
    for done, (digest, image) in enumerate(images.items(), 1):
        try:
            await blobs.get(image)
        except BlobError as error:
            hint = "; it was given to a task: give the same file again" if digest in named.given else ""
            problems.append(f"{error}{hint}")
        if report_progress is not None:
            report_progress(done, len(images))
    return problems


class RecordAudit:
    """Checks the records of all files together: each sequence once, each step once, no gaps; adds to `problems`."""

    def __init__(self, problems: list[str]) -> None:
        self.records = 0
        self.last = 0
        self.gaps: list[tuple[int, int]] = []
        """First and last sequence of each range that is in no file."""
        self.notes: list[str] = []
        self._problems = problems
        self._steps: set[bytes] = set()
        self._lost: list[tuple[int, int]] = []
        self._body = b""
        self._duplicates = 0
        self._odd = 0

    def add(self, file: LogFile, entry: LogEntry) -> None:
        """Check one record; records must be added in sequence order."""
        where = f"{file.path}: record {entry.sequence} at byte {entry.offset}"
        if entry.sequence <= self.last:
            self._duplicates += 1
            if entry.sequence < self.last or entry.body != self._body:
                self._problems.append(f"{where}: expected a unique sequence, got that of another record")
            return
        if entry.sequence > self.last + 1:
            self.gaps.append((self.last + 1, entry.sequence - 1))
        self.last, self._body = entry.sequence, entry.body
        self.records += 1
        try:
            record = decode_entry(file, entry)
        except LogError as error:
            self._problems.append(str(error))
            return
        if not is_within_bounds(entry.body):
            self._odd += 1
            if self._odd <= _MAX_NAMED:
                self.notes.append(
                    f"{where}: has values beyond today's bounds, as an earlier version wrote it; each is "
                    "shown as its bound"
                )
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
        """Add the gaps up to the last sequence in the index to the problems, except those that a repair recorded."""
        if indexed > self.last:
            self.gaps.append((self.last + 1, indexed))
        self.gaps = [gap for gap in self.gaps if not any(a <= gap[0] and gap[1] <= b for a, b in self._lost)]
        for first, last in self.gaps:
            self._problems.append(f"{live.path}: expected records {first} to {last}, which are in no file")
        for first, last in self._lost:
            self.notes.append(f"records {first} to {last} were lost, and the log was repaired")
        if self._odd > _MAX_NAMED:
            self.notes.append(f"{self._odd - _MAX_NAMED} more records have values beyond today's bounds")
        if self._duplicates:
            self.notes.append(
                f"{self._duplicates} records are in an archive and in the live file: a move was interrupted"
            )
